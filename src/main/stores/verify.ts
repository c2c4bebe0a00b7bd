/** Whether what a store holds can be restored: every object is read, and nothing is written. */
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { Position } from '../../protocol/wire.js'
import { checkFunction, checkOptions, checkSignal, optional } from '../arguments.js'
import type { Snapshot } from '../snapshot.js'
import { checkStore } from './archive-options.js'
import { noSnapshot, readUsable, startOf } from './history.js'
import { HistoryChain } from './history-chain.js'
import { patient, type ReadableStore } from './patient-store.js'
import type { CallLimits, Store, StoredSnapshot } from './store.js'
import { isUnusable } from './unusable.js'

export interface VerifyOptions extends CallLimits {
  onProgress?: (progress: VerifyProgress) => void
}

export interface VerifyProgress {
  /** As stored. */
  readonly bytesDone: number
  readonly bytesTotal: number
}

/** Frames that a restore can go to, from the state of a snapshot on. */
export interface RestorableSpan {
  /** Of the snapshot; undefined: of the blank database before frame 0. */
  readonly from: FrameNo | undefined
  readonly to: FrameNo | undefined
}

export interface VerifyResult {
  /** Found whole. */
  readonly snapshotCount: number
  /** Found whole, and part of the history. Those that the oldest snapshot does not need are not looked at. */
  readonly logCount: number
  /** One, when all is well. Inside a merged log only its boundaries can be restored. */
  readonly spans: readonly RestorableSpan[]
  /** What is damaged, missing or of another history, each naming the object. None: all is well. */
  readonly problems: readonly MylibsqlError[]
}

/**
 * Reads every snapshot of a store and every log that a restore may need, and checks each byte, that each log continues the
 * one before, and that each snapshot is a state of that same history. What is wrong is in the result, and the rest is
 * looked at all the same. Safe beside primaries, compactions and prunes. Runs in task threads.
 *
 * @example
 * const { problems, spans } = await verify(new FileStore('/var/lib/app/history'))
 * for (const problem of problems) console.error(problem.message)
 * @throws ERR_NOT_FOUND for a store without a snapshot; ERR_STORE when it cannot be read; ERR_IO; the signal's reason
 */
export async function verify(store: Store, options?: VerifyOptions): Promise<VerifyResult> {
  checkStore(store, 'store')
  const { signal } = checkOptions(
    options,
    { onProgress: optional(checkFunction), signal: optional(checkSignal) },
    'verify',
  )
  const limits: CallLimits = signal === undefined ? {} : { signal }
  signal?.throwIfAborted()
  const verification = new Verification(patient(store), limits, options?.onProgress)
  for (let planNo = 1; ; planNo += 1) {
    const snapshots = await store.snapshots(limits)
    if (snapshots.length === 0) throw noSnapshot(store)
    const result = await verification.of(snapshots)
    if (!result.problems.some(mayBeRemoved) || planNo === plansMax) return result
    // What was pruned under its hands is missing by right.
    const now = new Set((await store.snapshots(limits)).map(({ id }) => id))
    if (snapshots.every(({ id }) => now.has(id))) return result
  }
}

const nowhere: Position = { nextFrameNo: -1, checksum: 0n }
/** Times that everything is looked at while snapshots are removed. */
const plansMax = 5

function mayBeRemoved({ code }: MylibsqlError): boolean {
  return code === 'ERR_LOG_GAP' || code === 'ERR_NOT_FOUND'
}

class Verification {
  readonly #store: ReadableStore
  readonly #limits: CallLimits
  readonly #onProgress: VerifyOptions['onProgress']
  #bytesDone = 0
  #bytesTotal = 0
  #logBytes = new Map<FrameNo, number>()
  #snapshotCount = 0
  #logCount = 0
  #problems: MylibsqlError[] = []
  #spans: RestorableSpan[] = []
  /** Behind the span that was found last. */
  #end: Position = nowhere

  constructor(store: ReadableStore, limits: CallLimits, onProgress: VerifyOptions['onProgress']) {
    this.#store = store
    this.#limits = limits
    this.#onProgress = onProgress
  }

  async of(snapshots: readonly StoredSnapshot[]): Promise<VerifyResult> {
    const logs = await this.#store.logs(this.#limits)
    this.#logBytes = new Map(logs.map(({ startFrameNo, byteLength }) => [startFrameNo, byteLength]))
    this.#bytesDone = 0
    this.#bytesTotal = [...snapshots, ...logs].reduce((sum, { byteLength }) => sum + byteLength, 0)
    this.#snapshotCount = 0
    this.#logCount = 0
    this.#problems = []
    this.#spans = []
    this.#end = nowhere
    for (const stored of snapshots) {
      const snapshot = await readUsable(this.#store, stored, this.#limits, this.#problems)
      this.#report(stored.byteLength)
      if (snapshot === undefined) continue
      this.#snapshotCount += 1
      try {
        await this.#from(snapshot, snapshots)
      } finally {
        await snapshot.close()
      }
    }
    this.#report(this.#bytesTotal - this.#bytesDone)
    return {
      snapshotCount: this.#snapshotCount,
      logCount: this.#logCount,
      spans: this.#spans,
      problems: this.#problems,
    }
  }

  async #from(snapshot: Snapshot, snapshots: readonly StoredSnapshot[]): Promise<void> {
    const start = startOf(snapshot)
    const chain = new HistoryChain(this.#store, start, { ...this.#limits, snapshots })
    try {
      // The logs behind it were read already: whether they continue this snapshot, too.
      if (start.nextFrameNo < this.#end.nextFrameNo) await chain.begin()
      else await this.#behind(start, chain)
    } catch (error) {
      if (!isUnusable(error)) throw error
      // From each snapshot before a damaged log one comes to it.
      if (this.#problems.every(({ message }) => message !== error.message)) this.#problems.push(error)
    } finally {
      await chain.close()
    }
  }

  /** All logs of the chain. */
  async #behind(start: Position, chain: HistoryChain): Promise<void> {
    const isNext = start.nextFrameNo === this.#end.nextFrameNo
    if (isNext && start.checksum !== this.#end.checksum) throw this.#otherHistory(start)
    const from = isNext ? this.#spans.pop()!.from : lastFrameNo(start)
    this.#end = start
    try {
      for (let log = await chain.next(); log !== undefined; log = await chain.next()) {
        try {
          this.#limits.signal?.throwIfAborted()
          await log.verify()
          this.#end = { nextFrameNo: log.nextFrameNo, checksum: log.endChecksum }
        } finally {
          await log.close()
        }
        this.#logCount += 1
        this.#report(this.#logBytes.get(log.startFrameNo) ?? 0)
      }
    } finally {
      this.#spans.push({ from, to: lastFrameNo(this.#end) })
    }
  }

  #otherHistory({ nextFrameNo }: Position): MylibsqlError {
    const frameNo = nextFrameNo - 1
    const message = `The snapshot of frame ${frameNo} in ${this.#store.url} belongs to another history than the logs that end there`
    return new MylibsqlError('ERR_LINEAGE', message, { frameNo })
  }

  #report(byteCount: number): void {
    this.#bytesDone = Math.min(this.#bytesDone + byteCount, this.#bytesTotal)
    this.#onProgress?.({ bytesDone: this.#bytesDone, bytesTotal: this.#bytesTotal })
  }
}

function lastFrameNo({ nextFrameNo }: Position): FrameNo | undefined {
  return nextFrameNo === 0 ? undefined : nextFrameNo - 1
}
