/**
 * Looks for the log that begins before a position and goes on beyond it: behind a snapshot that was made in the midst of
 * a log, and where logs were merged.
 */
import type { Position } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import { keyOf } from './log-facts.js'
import { canTake } from './log-positions.js'
import type { ReadAhead } from './read-ahead.js'
import type { StoredLog } from './store.js'

/** A log that covers a position, and cannot be taken there. */
export interface Mismatch {
  readonly stored: StoredLog
  readonly startFrameNo: number
  readonly nextFrameNo: number
  readonly pageSize: number
  readonly epoch: number
  /** Merged, and of the same history as far as can be told: only not to be taken at this very position. */
  readonly isBetween: boolean
  /** Where it can be taken next. */
  readonly boundaries: readonly number[]
}

/** Without the checksum where the chain has gone on from there: nobody asks for it. */
type LogEnd = Pick<Position, 'nextFrameNo'> & Partial<Position>

export class CoveringLogs {
  readonly #reads: ReadAhead
  /** Where logs end that were read, by object: none of them is read twice. */
  readonly #ends = new Map<string, LogEnd>()

  constructor(reads: ReadAhead) {
    this.#reads = reads
  }

  /** The log was given out, or taken: it ends where the chain goes on, or went on. */
  noteEnd(stored: StoredLog, end: LogEnd): void {
    this.#ends.set(keyOf(stored), end)
  }

  /**
   * Of logs that begin before the position, the last one that can be taken there, the caller's to close; otherwise which
   * ones go beyond it, and whether one ends there. `isEnd`: then that one will do, nothing else is looked for.
   */
  async find(
    candidates: readonly StoredLog[],
    at: Position & { readonly pageSize: number },
    isEnd: boolean,
  ): Promise<{ readonly log?: Log; readonly mismatches: readonly Mismatch[]; readonly isJoined: boolean }> {
    const mismatches: Mismatch[] = []
    let isJoined = false
    for (const stored of [...candidates].reverse()) {
      if (stored.startFrameNo >= at.nextFrameNo) continue
      const known = this.#ends.get(keyOf(stored))
      const log =
        known === undefined || known.nextFrameNo > at.nextFrameNo ? await this.#reads.take(stored) : undefined
      const end = known ?? { nextFrameNo: log!.nextFrameNo, checksum: log!.endChecksum }
      this.#ends.set(keyOf(stored), end)
      let isTaken = false
      try {
        if (end.nextFrameNo <= at.nextFrameNo) {
          isJoined ||= end.nextFrameNo === at.nextFrameNo && end.checksum === at.checksum
          if (isJoined && isEnd) break
          continue
        }
        isTaken = log!.pageSize === at.pageSize && (await canTake(log!, at))
        if (isTaken) return { log: log!, mismatches, isJoined }
        mismatches.push(mismatchOf(log!, stored, at))
      } finally {
        if (!isTaken) await log?.close()
      }
    }
    return { mismatches, isJoined }
  }
}

function mismatchOf(
  log: Log,
  stored: StoredLog,
  { nextFrameNo, pageSize }: Position & { pageSize: number },
): Mismatch {
  const boundaries = log.boundaries.map(({ frameNo }) => frameNo)
  const isBetween = log.isMerged && log.pageSize === pageSize && !boundaries.includes(nextFrameNo)
  const { startFrameNo, epoch } = log
  return {
    stored,
    startFrameNo,
    nextFrameNo: log.nextFrameNo,
    pageSize: log.pageSize,
    epoch,
    isBetween,
    boundaries,
  }
}
