/**
 * Snapshots of a primary go into its store as logs add up, so that nobody has to read all logs since the beginning.
 * Writers go on meanwhile.
 *
 * A snapshot of a primary holds writes that are not saved yet, and would be restored instead of the logs. So it is
 * stored only once all of its frames are: then it is true to the history, also if the primary is fenced meanwhile.
 */
import type { FrameNo } from '../../protocol/frame.js'
import { snapshotRetryMs } from '../../protocol/limits.js'
import type { ArchiveStats } from '../stats.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { archiveChannel, traced } from '../tracing.js'
import type { Archive, Archived } from './archiver.js'
import { attempt, untilDone } from './attempts.js'

export class SnapshotArchiver {
  readonly #archive: Archive
  readonly #primary: Archived
  /** Stores all that is committed. */
  readonly #storeLogs: () => Promise<unknown>
  readonly #stopped: AbortSignal
  /** Since the last snapshot. */
  #logBytes: number
  #isMaking = false
  /** Runs while something is not in a snapshot. */
  #timer: NodeJS.Timeout | undefined
  #isLate = false
  #pendingFrameNo: FrameNo | undefined
  #snapshotCount = 0
  #lastSnapshotFrameNo: FrameNo | undefined
  #lastError: unknown

  constructor(archive: Archive, primary: Archived, storeLogs: () => Promise<unknown>, stopped: AbortSignal) {
    this.#archive = archive
    this.#primary = primary
    this.#storeLogs = storeLogs
    this.#stopped = stopped
    this.#logBytes = archive.logBytes
    stopped.addEventListener('abort', () => clearTimeout(this.#timer), { once: true })
    this.#wait()
  }

  /** Behind the snapshot that is being stored. */
  get pendingFrameNo(): FrameNo | undefined {
    return this.#pendingFrameNo
  }

  logStored(byteLength: number): void {
    this.#logBytes += byteLength
    this.#wait()
    this.#makeWhenDue()
  }

  stats(): Pick<ArchiveStats, 'snapshotCount' | 'lastSnapshotFrameNo' | 'lastSnapshotError' | 'logBytes'> {
    return {
      snapshotCount: this.#snapshotCount,
      lastSnapshotFrameNo: this.#lastSnapshotFrameNo,
      lastSnapshotError: this.#lastError,
      logBytes: this.#logBytes,
    }
  }

  /** Only when there is something that the last snapshot does not have. */
  #wait(): void {
    const { everyMs } = this.#archive.schedule.snapshot
    if (this.#timer !== undefined || this.#logBytes === 0 || everyMs === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => {
      this.#isLate = true
      this.#makeWhenDue()
    }, everyMs)
  }

  #makeWhenDue(): void {
    const isDue = this.#isLate || this.#logBytes >= this.#archive.schedule.snapshot.everyBytes
    if (this.#isMaking || !isDue || this.#stopped.aborted) return
    this.#isMaking = true
    const failed = (error: unknown) => {
      this.#lastError = error
    }
    const done = () => {
      this.#isMaking = false
    }
    untilDone(() => this.#make(), snapshotRetryMs, { signal: this.#stopped, failed }).then(() => {
      done()
      this.#wait()
      this.#makeWhenDue()
      // It rejects when the primary has ended.
    }, done)
  }

  async #make(): Promise<void> {
    const { store, epoch, schedule } = this.#archive
    const path = await temporaryPath('.db')
    const logBytesBefore = this.#logBytes
    try {
      const snapshot = await this.#primary.snapshot(path)
      this.#pendingFrameNo = (snapshot.lastFrameNo ?? -1) + 1
      await this.#storeLogs()
      const { lastFrameNo, byteLength } = snapshot
      const trace = () => ({
        operation: 'putSnapshot' as const,
        url: store.url,
        epoch,
        path: this.#primary.path,
        lastFrameNo,
        byteLength,
      })
      const limits = { store, timeoutMs: schedule.snapshot.timeoutMs, signal: this.#stopped }
      const put = () =>
        attempt('store a snapshot', limits, (signal) => store.putSnapshot(snapshot, { signal }))
      await traced(archiveChannel, trace, put)
      this.#logBytes -= logBytesBefore
      clearTimeout(this.#timer)
      this.#timer = undefined
      this.#isLate = false
      this.#snapshotCount += 1
      this.#lastSnapshotFrameNo = lastFrameNo
      this.#lastError = undefined
    } finally {
      this.#pendingFrameNo = undefined
      await removeTemporaryFile(path)
    }
  }
}
