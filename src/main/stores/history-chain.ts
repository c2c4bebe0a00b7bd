/**
 * The chain: log behind log, each beginning where the one before ends, by frame number and by lineage (its start checksum
 * is the end checksum of the one before). Epochs mostly go up along it. They go down where a primary was paused between
 * its claim and its look at the history: it goes on behind what a newer one has stored, once, and finds itself fenced.
 * What it stored is not acknowledged, but it continues the history, and the newer one finds its next place taken.
 *
 * What may lie about besides, and is no part of it: a log that a paused primary appended, late, at a start frame where
 * the log of its successor had been pruned. It begins before the end of the chain and does not continue it, so it is
 * passed over. Only to somebody who stands at that very frame does it look right: a replica that was cut off for long.
 * For it (`isKept` false) a log of an older epoch counts, where a snapshot goes further, only if the next log
 * continues it: nothing ever continues a late log, because its primary finds itself fenced then. A store that fences
 * appends itself has no late logs.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { Position } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import { headOf } from './log-head.js'
import type { ReadableStore } from './patient-store.js'
import { named, ReadAhead } from './read-ahead.js'
import type { CallLimits, StoredLog, StoredSnapshot } from './store.js'

/** Where a restore ends. Default: with the newest frame. */
export interface Target {
  /** The last whole transaction at or before this frame. */
  readonly to?: FrameNo | undefined
  /** The last log that was sealed at or before this time. */
  readonly at?: Date | undefined
}

export interface ChainStart extends Position {
  /** Bytes. */
  readonly pageSize: number
  /** Of the last log before, 0: not known. */
  readonly epoch: number
  /** It stands behind a snapshot of the store, which keeps the logs behind it as long as the snapshot. */
  readonly isKept: boolean
}

export interface ChainOptions extends CallLimits {
  readonly target?: Target
  /** Listed before the logs are. The chain has to reach them, or there is a hole in it. Default: asked of the store. */
  readonly snapshots?: readonly StoredSnapshot[]
  /** The logs to look at, which begin at the start or behind it. Default: all that the store has now. */
  readonly logs?: readonly StoredLog[]
}

export class HistoryChain {
  readonly #store: ReadableStore
  readonly #target: Target
  readonly #limits: CallLimits
  readonly #reads: ReadAhead
  #snapshots: readonly StoredSnapshot[] | undefined
  #laterSnapshots: readonly StoredSnapshot[] | undefined
  #at: ChainStart
  #listed: readonly StoredLog[] | undefined
  /** Whether it was looked for a log that begins before the start. */
  #isStarted: boolean
  #isDone = false

  constructor(store: ReadableStore, start: ChainStart, options: ChainOptions = {}) {
    this.#store = store
    this.#at = start
    this.#target = options.target ?? {}
    this.#snapshots = options.snapshots
    this.#listed = options.logs
    this.#isStarted = options.logs !== undefined
    this.#limits = options.signal === undefined ? {} : { signal: options.signal }
    this.#reads = new ReadAhead(store, this.#limits)
  }

  /** Of the next frame behind what was given out. */
  get nextFrameNo(): FrameNo {
    return this.#at.nextFrameNo
  }

  /** Bytes, as stored, of the logs that were listed and begin behind the present end of the chain. */
  get bytesAhead(): number {
    return this.#behind().reduce((sum, { byteLength }) => sum + byteLength, 0)
  }

  /** Where the newest log that was listed begins. */
  get newestStartFrameNo(): FrameNo | undefined {
    return this.#listed?.at(-1)?.startFrameNo
  }

  /**
   * The next log, the caller's to close; undefined at the target, or at the end of what was there at the first call.
   *
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_NOT_A_LOG, each naming the object; ERR_NOT_FOUND
   * when the target is a frame that is not there yet; ERR_STORE
   */
  async next(): Promise<Log | undefined> {
    this.#limits.signal?.throwIfAborted()
    const { to } = this.#target
    if (this.#isDone || (to !== undefined && this.#at.nextFrameNo > to)) return undefined
    if (this.#listed === undefined) {
      // Snapshots first: what is removed in between is what the newest one has made superfluous.
      this.#snapshots ??= await this.#store.snapshots(this.#limits)
      await this.#list(this.#at.nextFrameNo)
    }
    const log = await this.#continuation()
    this.#isStarted = true
    if (log === undefined) {
      this.#checkEnd()
      this.#isDone = true
      return undefined
    }
    return this.#untilTarget(log)
  }

  /** Closes what was read ahead. */
  async close(): Promise<void> {
    this.#isDone = true
    await this.#reads.close()
  }

  async #list(from?: FrameNo): Promise<void> {
    const logs = await this.#store.logs({ ...this.#limits, ...(from === undefined ? {} : { from }) })
    this.#listed = [...logs].sort((a, b) => a.startFrameNo - b.startFrameNo)
  }

  #behind(): readonly StoredLog[] {
    return (this.#listed ?? []).filter(({ startFrameNo }) => startFrameNo >= this.#at.nextFrameNo)
  }

  async #continuation(): Promise<Log | undefined> {
    const behind = this.#behind()
    this.#reads.begin(behind)
    const stored = behind[0]
    if (stored === undefined || stored.startFrameNo !== this.#at.nextFrameNo) {
      // Further on, the log before has just ended here.
      return this.#isStarted ? undefined : this.#covering()
    }
    // Asked for after the log was seen: an older epoch could not have been written any more.
    const isSure = this.#at.isKept || this.#store.fencesAppends === true
    const currentEpoch = isSure ? undefined : this.#store.currentEpoch(this.#limits)
    currentEpoch?.catch(() => {})
    const log = await this.#reads.take(stored)
    try {
      if (log.isEmpty) throw this.#gap(`${named(this.#store, stored)} is empty`, stored)
      this.#checkPages(log, stored)
      if (log.startChecksum !== this.#at.checksum) throw this.#otherHistory(stored, 'its start checksum')
      if (currentEpoch !== undefined && log.epoch < (await currentEpoch)) await this.#checkFence(log, stored)
      return log
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** The log that begins before the position and goes on beyond it, with the frame before in it. */
  async #covering(): Promise<Log | undefined> {
    const found = await this.#coveringOf(this.#before())
    if (found !== 'unknown') return found
    // What was listed before the position is something else: look at everything there is.
    await this.#list()
    const all = await this.#coveringOf(this.#before())
    return all === 'unknown' ? undefined : all
  }

  /** Newest first. */
  #before(): readonly StoredLog[] {
    return this.#listed!.filter(({ startFrameNo }) => startFrameNo < this.#at.nextFrameNo).reverse()
  }

  async #coveringOf(candidates: readonly StoredLog[]): Promise<Log | undefined | 'unknown'> {
    const { nextFrameNo, checksum } = this.#at
    if (nextFrameNo === 0) return undefined
    for (const stored of candidates) {
      const log = await this.#reads.take(stored)
      let isKept = false
      try {
        if (log.nextFrameNo === nextFrameNo && log.endChecksum === checksum) return undefined
        if (log.nextFrameNo <= nextFrameNo) continue
        if (log.pageSize === this.#at.pageSize) {
          const before = await log.readFrame(nextFrameNo - 1)
          isKept = before.checksum === checksum && before.sizeAfter !== 0
        }
        if (isKept) return log
        // The newest primary writes nothing that is out of the chain: it is the position that is.
        const currentEpoch = await this.#store.currentEpoch(this.#limits)
        if (log.epoch > 0 && log.epoch >= Math.max(this.#at.epoch, currentEpoch)) {
          this.#checkPages(log, stored)
          throw this.#otherHistory(stored, `its checksum of frame ${nextFrameNo - 1}`)
        }
      } finally {
        if (!isKept) await log.close()
      }
    }
    return 'unknown'
  }

  async #untilTarget(log: Log): Promise<Log | undefined> {
    const { to, at } = this.#target
    const isLate = at !== undefined && log.createdAt !== undefined && log.createdAt > at
    const isLong = to !== undefined && log.nextFrameNo - 1 > to
    const wanted = isLate ? undefined : isLong ? await headOf(log, to) : log
    if (isLate || isLong) this.#isDone = true
    if (wanted === undefined || wanted.nextFrameNo <= this.#at.nextFrameNo) {
      await log.close()
      return undefined
    }
    const { nextFrameNo, endChecksum: checksum, epoch } = wanted
    this.#at = { ...this.#at, nextFrameNo, checksum, epoch }
    return wanted
  }

  #checkPages(log: Log, stored: StoredLog): void {
    if (log.pageSize === this.#at.pageSize) return
    const message =
      `${named(this.#store, stored)} has pages of ${log.pageSize} bytes, the history before it of ` +
      `${this.#at.pageSize}`
    const details = { path: stored.id, expected: this.#at.pageSize, actual: log.pageSize }
    throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
  }

  /** See above: whether this may be a late log at a start frame that was pruned away. */
  async #checkFence(log: Log, stored: StoredLog): Promise<void> {
    // Asked for after the logs were listed: where a late log is seen, the snapshot that let its place be pruned is too.
    this.#laterSnapshots ??= await this.#store.snapshots(this.#limits)
    const further = this.#snapshotBeyond(this.#laterSnapshots)
    if (further === undefined) return
    const next = this.#behind().find(({ startFrameNo }) => startFrameNo === log.nextFrameNo)
    if (next !== undefined) {
      const successor = await this.#reads.look(next)
      if (successor.startChecksum === log.endChecksum) return
    }
    const message =
      `${named(this.#store, stored)} is of epoch ${log.epoch}, and no log continues it, though the history goes on to ` +
      `snapshot ${further.id}`
    throw this.#gap(message, stored)
  }

  #snapshotBeyond(snapshots = this.#snapshots): StoredSnapshot | undefined {
    return snapshots?.find(({ lastFrameNo }) => (lastFrameNo ?? -1) >= this.#at.nextFrameNo)
  }

  /** Nothing continues the chain: whether that is its end. */
  #checkEnd(): void {
    const { nextFrameNo } = this.#at
    const [next] = this.#behind()
    if (next !== undefined) {
      throw this.#gap(
        `Frame ${nextFrameNo} is in no log of the history: it goes on with ${named(this.#store, next)}`,
        next,
      )
    }
    const further = this.#snapshotBeyond()
    if (further !== undefined) {
      const message = `The logs end before frame ${nextFrameNo}, snapshot ${named(this.#store, further)} goes further`
      throw this.#gap(message, further)
    }
    const { to } = this.#target
    if (to === undefined) return
    const message = `Frame ${to} is not in ${this.#store.url}: the history there ends before frame ${nextFrameNo}`
    throw new MylibsqlError('ERR_NOT_FOUND', message, { frameNo: to })
  }

  #gap(message: string, { id }: StoredLog | StoredSnapshot): MylibsqlError {
    return new MylibsqlError('ERR_LOG_GAP', message, { path: id, expected: this.#at.nextFrameNo })
  }

  #otherHistory(stored: StoredLog, what: string): MylibsqlError {
    const message =
      `${named(this.#store, stored)} belongs to another history: ${what} is not what comes before ` +
      `frame ${this.#at.nextFrameNo} here`
    return new MylibsqlError('ERR_LINEAGE', message, { path: stored.id, frameNo: this.#at.nextFrameNo })
  }
}
