/**
 * Archiving: the logs of a primary go into its store by themselves. There is one append at a time, what is written
 * meanwhile gathers for the next one, and a log counts as saved only when the store has it and the primary's epoch was
 * still the newest after that. So `ack.durable()` means: every later primary of this store begins behind the write.
 *
 * When an append finds that a newer primary has taken over, the primary ends with ERR_FENCED: what it has not saved
 * by then is no part of the history.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, frameHeaderBytes } from '../../protocol/frame.js'
import { archiveRetryMs, epochFreshMs, tailPauseMs } from '../../protocol/limits.js'
import type { SegmentTail } from '../../protocol/segment-format.js'
import type { StoredInTail } from '../../protocol/wire.js'
import { reviveError } from '../actor-thread.js'
import type { ArchiveLog } from '../checkpoints.js'
import type { Log } from '../log.js'
import type { SealedLog } from '../sealer.js'
import type { Snapshot } from '../snapshot.js'
import type { ArchiveStats } from '../stats.js'
import { archiveChannel, traced } from '../tracing.js'
import type { ArchiveSchedule } from './archive-options.js'
import { attempt, isFenced, isFinal, untilDone } from './attempts.js'
import { EpochWatch } from './epoch-watch.js'
import { Maintenance } from './maintenance.js'
import { SnapshotArchiver } from './snapshot-archiver.js'
import type { AppendedLog, Store } from './store.js'

/** Where a primary keeps its history, and how it stands with it when it opens. */
export interface Archive {
  readonly store: Store
  readonly epoch: number
  readonly schedule: ArchiveSchedule
  /** Bytes of the logs behind the newest snapshot in the store. */
  readonly logBytes: number
}

/** What archiving needs of its primary. */
export interface Archived {
  /** Working file. */
  readonly path: string
  /** Bytes. */
  readonly pageSize: number
  checkpoint(archiveLog: ArchiveLog): Promise<FrameNo | undefined>
  /** Its thread stores small logs there from now on, as long as they fit; undefined: it stores none. */
  takeTail(tail: SegmentTail | undefined): void
  snapshot(path: string): Promise<Snapshot>
  /** Ends it: nothing of it will be acknowledged any more. */
  fenced(error: MylibsqlError): void
}

export class Archiver {
  readonly archive: Archive
  readonly #primary: Archived
  readonly #snapshots: SnapshotArchiver
  readonly #maintenance: Maintenance
  readonly #epoch: EpochWatch
  readonly #stopped = new AbortController()
  /** Frames that are gathered at most while no append is under way. */
  readonly #frameCountMax: number
  /** Frames before these are in the store; in a log that was handed over; known to be committed. */
  #storedNextFrameNo: FrameNo
  #sealedNextFrameNo: FrameNo
  #committedNextFrameNo: FrameNo
  /** Like stored, but the epoch was not looked at yet. */
  #appendedNextFrameNo: FrameNo
  /** When the oldest write was made that is in the log under way, and behind it. */
  #savingSinceMs: number | undefined
  #gatheringSinceMs: number | undefined
  /** Callbacks that hold the connection: what they commit is told when they end, if at all. */
  #leaseCount = 0
  #mayHaveMore = false
  /** A write was asked for that a log is to be sealed behind. */
  #isRequested = false
  #timer: NodeJS.Timeout | undefined
  #runningCount = 0
  #queue: Promise<unknown> = Promise.resolve()
  /** A run that has not begun: what is committed now will be in it. */
  #waiting: Promise<FrameNo | undefined> | undefined
  /** When the last log was stored. */
  #storedMs = Number.NEGATIVE_INFINITY
  /** Room in the store that the primary's thread adds logs to. */
  #tail: SegmentTail | undefined
  #tailTimer: NodeJS.Timeout | undefined
  #appendCount = 0
  #appendedBytes = 0
  #failureCount = 0
  #lastError: unknown

  constructor(archive: Archive, primary: Archived, nextFrameNo: FrameNo) {
    const { bytes, frames, timeoutMs, fenceCheckMs } = archive.schedule.checkpoint
    this.archive = archive
    this.#primary = primary
    this.#frameCountMax = Math.min(
      frames,
      Math.max(1, Math.ceil(bytes / (frameHeaderBytes + primary.pageSize))),
    )
    this.#storedNextFrameNo = nextFrameNo
    this.#sealedNextFrameNo = nextFrameNo
    this.#appendedNextFrameNo = nextFrameNo
    this.#committedNextFrameNo = nextFrameNo
    this.#snapshots = new SnapshotArchiver(archive, primary, () => this.run(), this.#stopped.signal)
    const pendingFrameNo = () => this.#snapshots.pendingFrameNo
    this.#maintenance = new Maintenance(archive, primary.path, pendingFrameNo, this.#stopped.signal)
    const { store, epoch } = archive
    const watched = { store, epoch, timeoutMs, fenceCheckMs }
    this.#epoch = new EpochWatch(watched, (error) => primary.fenced(error), this.#stopped.signal)
  }

  /** Why nothing is stored any more: ERR_FENCED, or what has ended the primary. */
  get stopped(): unknown {
    return this.#stopped.signal.reason
  }

  /** The primary was asked to write: where each write is stored at once, the log is sealed behind this one. */
  requested(): void {
    if (this.#frameCountMax > 1 || this.#stopped.signal.aborted) return
    if (this.#runningCount === 0) this.#start()
    else this.#isRequested = true
  }

  /** The primary has committed frames. */
  committed(frameNo: FrameNo): void {
    if (frameNo < this.#committedNextFrameNo) return
    this.#committedNextFrameNo = frameNo + 1
    this.#gatheringSinceMs ??= performance.now()
    this.#plan()
  }

  /** A callback has the connection, and commits without telling. */
  during(lease: Promise<unknown>): void {
    this.#leaseCount += 1
    this.#mayHaveMore = true
    this.#plan()
    const done = () => {
      this.#leaseCount -= 1
      this.#mayHaveMore = true
      this.#plan()
    }
    lease.then(done, done)
  }

  /**
   * Resolves when all that is committed now is in the store, with the last frame, undefined when it was there already.
   * Those who ask before the run has begun share it.
   */
  run(): Promise<FrameNo | undefined> {
    if (this.#waiting === undefined) {
      this.#runningCount += 1
      this.#waiting = this.#queue.then(() => this.#run())
      this.#queue = this.#waiting.catch(() => {})
    }
    return this.#waiting
  }

  /** The same for at most so long, and without a failure: the rest is stored later. Resolves with why it is not. */
  async flush(timeoutMs: number): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    const run = this.run().then(
      () => undefined,
      (error: unknown) => error,
    )
    const failure = await Promise.race([run, timeout])
    clearTimeout(timer)
    return failure
  }

  /** Stores what is left, for at most so long, then stops. Resolves with an error that says what is not stored, if any. */
  async close(timeoutMs: number, isAnswering: boolean): Promise<MylibsqlError | undefined> {
    if (this.#stopped.signal.aborted) return undefined
    const startMs = performance.now()
    const failure = await this.flush(timeoutMs)
    this.stop(new MylibsqlError('ERR_CLOSED', 'The primary is closed'))
    if (this.#runningCount === 0) await this.endTail(timeoutMs)
    if (this.#storedNextFrameNo >= this.#committedNextFrameNo) return undefined
    if (isFenced(failure)) return failure
    const waitedMs = Math.round(performance.now() - startMs)
    const cause = failure ?? this.#lastError
    const silent = isAnswering ? 'it did not answer' : 'the thread of the database did not answer'
    const reason = cause instanceof Error ? cause.message : String(cause ?? silent)
    const message =
      `Frames ${this.#storedNextFrameNo} to ${this.#committedNextFrameNo - 1} are not known to be in ` +
      `${this.archive.store.url} ${waitedMs} ms after close() was called: ${reason}. The primary is closed`
    return new MylibsqlError('ERR_SAVE_PENDING', message, { frameNo: this.#storedNextFrameNo }, { cause })
  }

  /**
   * Nothing is added to the segment any more. Only between two logs: what is just being stored would come to lie behind the
   * end. If that cannot be said, whoever comes next says it.
   */
  async endTail(timeoutMs: number): Promise<void> {
    const tail = this.#tail
    this.#tail = undefined
    if (tail === undefined) return
    this.#primary.takeTail(undefined)
    const { store } = this.archive
    const limits = { store, timeoutMs, signal: new AbortController().signal }
    const end = async (signal: AbortSignal) => store.endTail?.(tail, { signal })
    await attempt('end its segment', limits, end).catch(() => {})
  }

  /** Whoever compacts and prunes need not wait for the next log. */
  #endTailWhenIdle(): void {
    if (this.#tail === undefined) return
    this.#tailTimer ??= setTimeout(() => {
      if (this.#runningCount > 0) this.#tailTimer?.refresh()
      else void this.endTail(this.archive.schedule.checkpoint.timeoutMs)
    }, tailPauseMs).unref()
    this.#tailTimer.refresh()
  }

  /** Ends everything that is under way. */
  stop(error: unknown): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#tailTimer)
    if (!this.#stopped.signal.aborted) this.#stopped.abort(error)
  }

  stats(nextFrameNo: FrameNo): ArchiveStats {
    const oldestMs = this.#savingSinceMs ?? this.#gatheringSinceMs
    return {
      url: this.archive.store.url,
      epoch: this.archive.epoch,
      lagFrames: Math.max(0, nextFrameNo - this.#storedNextFrameNo),
      lagMs: oldestMs === undefined ? 0 : performance.now() - oldestMs,
      appendCount: this.#appendCount,
      appendedBytes: this.#appendedBytes,
      failureCount: this.#failureCount,
      lastError: isFenced(this.stopped) ? this.stopped : this.#lastError,
      ...this.#epoch.stats(),
      ...this.#snapshots.stats(),
      ...this.#maintenance.stats(),
    }
  }

  /** The next run: now when enough has gathered, else when the oldest write is old enough. */
  #plan(): void {
    if (this.#runningCount > 0 || this.#stopped.signal.aborted) return
    const frameCount = this.#committedNextFrameNo - this.#storedNextFrameNo
    if (frameCount >= this.#frameCountMax || this.#isRequested) this.#start()
    else if (this.#timer === undefined && (frameCount > 0 || this.#mayHaveMore)) {
      const ageMs = this.#gatheringSinceMs === undefined ? 0 : performance.now() - this.#gatheringSinceMs
      const { intervalMs } = this.archive.schedule.checkpoint
      this.#timer = setTimeout(() => this.#start(), Math.max(0, intervalMs - ageMs))
    }
  }

  #start(): void {
    // Whoever waits for a write hears of it; the rest is in stats() and in the trace.
    this.run().catch(() => {})
  }

  async #run(): Promise<FrameNo | undefined> {
    this.#waiting = undefined
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#mayHaveMore = this.#leaseCount > 0
    this.#isRequested = false
    const { signal } = this.#stopped
    const before = this.#storedNextFrameNo
    const checkpoint = () => this.#primary.checkpoint((log, stored) => this.#save(log, stored))
    try {
      await untilDone(checkpoint, archiveRetryMs, { signal, failed: (error) => this.#failed(error) })
      this.#lastError = undefined
    } catch (error) {
      if (!isFinal(error) || signal.aborted) throw error
      const ended = isFenced(error) ? error : this.#storeClosed(error)
      this.#primary.fenced(ended)
      throw ended
    } finally {
      this.#runningCount -= 1
      this.#plan()
    }
    return this.#storedNextFrameNo > before ? this.#storedNextFrameNo - 1 : undefined
  }

  #storeClosed(cause: unknown): MylibsqlError {
    const message =
      `${this.archive.store.url} was closed while its primary was open: what was not stored by then is given up. ` +
      'Close replicas and primaries before their store'
    return new MylibsqlError('ERR_CLOSED', message, { frameNo: this.#storedNextFrameNo }, { cause })
  }

  /** One attempt. When it fails, the next one is handed the same log. */
  async #save(log: Log, stored: SealedLog['stored']): Promise<void> {
    // Nothing is acknowledged any more, though it may be stored: the segment has its end.
    this.#stopped.signal.throwIfAborted()
    const { store, epoch, schedule } = this.archive
    const { lastFrameNo, nextFrameNo, byteLength } = log
    this.#noteSealed(nextFrameNo)
    const { path } = this.#primary
    const trace = () => ({
      operation: 'append' as const,
      url: store.url,
      epoch,
      path,
      lastFrameNo,
      byteLength,
    })
    const { timeoutMs } = schedule.checkpoint
    const limits = { store, timeoutMs, signal: this.#stopped.signal }
    await traced(archiveChannel, trace, async () => {
      if (stored?.ok === true) this.#noteInTail(stored.value, nextFrameNo)
      else {
        if (stored !== undefined) this.#failed(reviveError(stored.error))
        await attempt('store a log', limits, (signal) => this.#append(log, signal))
      }
    })
    this.#storedNextFrameNo = nextFrameNo
    this.#storedMs = performance.now()
    this.#endTailWhenIdle()
    this.#savingSinceMs = undefined
    this.#appendCount += 1
    this.#appendedBytes += byteLength
    this.#snapshots.logStored(byteLength)
  }

  /** The primary's thread has stored a log by itself. Throws ERR_FENCED. */
  #noteInTail({ newestEpoch, lookedAtMs }: StoredInTail, nextFrameNo: FrameNo): void {
    this.#epoch.note(newestEpoch, lookedAtMs - performance.timeOrigin)
    this.#appendedNextFrameNo = nextFrameNo
  }

  async #append(log: Log, signal: AbortSignal): Promise<void> {
    const { store, epoch } = this.archive
    // Only the epoch is left to be looked at when that was what has failed the last time.
    if (log.nextFrameNo > this.#appendedNextFrameNo) {
      // For the sake of a newer primary that has stored nothing yet, and would find this log in its way: after a pause
      // of this process that is likely.
      if (this.#epoch.ageMs > epochFreshMs) await this.#epoch.check(signal)
      const askedMs = performance.now()
      let appended: AppendedLog
      try {
        const takesTail = store.endTail !== undefined && performance.now() - this.#storedMs < tailPauseMs
        appended = await store.append(log, epoch, takesTail ? { signal, takesTail } : { signal })
      } catch (error) {
        throw isFenced(error) ? await this.#explain(error, log, signal) : error
      }
      const { newestEpoch = store.fencesAppends === true ? epoch : undefined, tail } = appended
      this.#appendedNextFrameNo = log.nextFrameNo
      // What counts is that it is the newest after the append: only then has whoever comes next seen the log.
      if (newestEpoch === undefined) await this.#epoch.check(signal)
      else this.#epoch.note(newestEpoch, askedMs)
      this.#tail = tail
      if (tail !== undefined) this.#primary.takeTail(tail)
    } else await this.#epoch.check(signal)
  }

  /** Another log is where the next one should be: that of a newer primary, or of an older one that was late. */
  async #explain(cause: MylibsqlError, log: Log, signal: AbortSignal): Promise<MylibsqlError> {
    const { store, epoch } = this.archive
    const newestEpoch = await store.currentEpoch({ signal }).catch(() => undefined)
    if (newestEpoch !== undefined && newestEpoch !== epoch) return this.#epoch.takenOver(newestEpoch, cause)
    const message =
      `Another log begins at frame ${log.startFrameNo} in ${store.url}: an older primary stored it after this one ` +
      'was opened. What this one has not saved is given up: open it again'
    return new MylibsqlError('ERR_FENCED', message, { frameNo: log.startFrameNo }, { cause })
  }

  #noteSealed(nextFrameNo: FrameNo): void {
    if (nextFrameNo <= this.#sealedNextFrameNo) return
    this.#sealedNextFrameNo = nextFrameNo
    this.#savingSinceMs = this.#gatheringSinceMs ?? performance.now()
    this.#gatheringSinceMs = undefined
    if (this.#committedNextFrameNo > nextFrameNo) this.#gatheringSinceMs = performance.now()
    else this.#committedNextFrameNo = nextFrameNo
  }

  #failed(error: unknown): void {
    this.#failureCount += 1
    this.#lastError = error
  }
}
