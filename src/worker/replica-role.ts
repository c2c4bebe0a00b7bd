/**
 * What an actor does as a replica: injects logs and batches of frames into the WAL, where each is checked on the
 * way and readers see it as one step. The WAL is folded meanwhile; the injector starts it over when it can.
 */
import { setImmediate } from 'node:timers/promises'
import { MylibsqlError, toWireError, type WireError } from '../protocol/errors.js'
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import {
  stepBytesMax,
  stepLogsMax,
  walForcedBytes,
  walResetBytes,
  walTailBytesMax,
} from '../protocol/limits.js'
import { type LogHeader, logHeader, logRecordsByteLength } from '../protocol/log-format.js'
import { planLog } from '../protocol/log-sequence.js'
import type { SnapshotFile } from '../protocol/snapshot-format.js'
import type {
  AppliedLogs,
  FromReplica,
  LogsAtHand,
  NextLogsEnd,
  NextLogsRequest,
  Position,
  RoleStats,
} from '../protocol/wire.js'
import { isDiskFull } from './disk-full.js'
import { injectLog, type OpenedLog } from './log-source.js'
import { NextLogs } from './next-logs.js'
import type { ReaderGap } from './reader-gap.js'
import { framesStart, withFramesTo } from './snapshot-frames.js'
import { LastFile, undoubtedLog } from './stored-logs.js'
import type { ThreadTimes } from './thread-times.js'
import { snapshotPosition } from './working-copy.js'
import type { WorkingDatabase } from './working-database.js'

export class ReplicaRole {
  readonly #database: WorkingDatabase
  readonly #times: ThreadTimes
  readonly #gap: ReaderGap
  readonly #recordBytes: number
  #position: Position
  #isClosed = false
  #folding: Promise<void> | undefined
  #foldAtBytes = walResetBytes
  #appliedCount = 0
  #lastError: WireError | undefined
  readonly #post: (message: FromReplica) => void
  #nextLogs: NextLogs | undefined

  constructor(
    database: WorkingDatabase,
    position: Position,
    times: ThreadTimes,
    gap: ReaderGap,
    post: (message: FromReplica) => void,
  ) {
    this.#database = database
    this.#gap = gap
    this.#times = times
    this.#position = position
    this.#post = post
    this.#recordBytes = frameHeaderBytes + database.pageSize
  }

  position(): Position {
    return this.#position
  }

  /** Throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_IO; then nothing was applied. */
  applyLog(file: OpenedLog): Position {
    const startMs = performance.now()
    const next = this.#inject(file)
    if (next === undefined) return this.#position
    this.#times.note(this.#times.applyUs, startMs)
    this.#times.record()
    return this.#advance(next)
  }

  /** In steps, between which the thread does other things. Never throws: whoever looks closer at the log that was not applied finds out why. */
  async applyStoredLogs({ locations, behind, epochMin }: LogsAtHand): Promise<AppliedLogs> {
    const { pageSize } = this.#database
    let last: LogHeader | undefined
    let appliedCount = 0
    let stepBytes = 0
    let stepEnd = stepLogsMax
    const files = new LastFile()
    try {
      for (const [index, location] of locations.entries()) {
        if (stepBytes >= stepBytesMax || index === stepEnd) {
          await setImmediate()
          stepBytes = 0
          stepEnd = index + stepLogsMax
        }
        if (this.#isClosed) break
        const expected = { ...this.#position, pageSize, epochMin }
        const file = undoubtedLog(location, expected, locations[index + 1] ?? behind, files)
        if (file === undefined || !this.#isApplied(file)) break
        last = file.header
        appliedCount += 1
        stepBytes += logRecordsByteLength(last)
      }
    } finally {
      files.close()
    }
    const { epoch = 0, createdAtMs } = last ?? {}
    return { position: this.#position, appliedCount, epoch, createdAtMs }
  }

  /** Until it does not find its way any more: then the whole store is looked at. */
  followNextLogs(request: NextLogsRequest): Promise<NextLogsEnd> {
    this.#nextLogs ??= new NextLogs(request.storePath, {
      position: () => this.#position,
      isApplied: (file) => this.#isApplied(file),
      told: (logs) => this.#post({ kind: 'applied', logs }),
    })
    return this.#nextLogs.follow(request)
  }

  stopNextLogs(): void {
    this.#nextLogs?.stop()
    this.#nextLogs = undefined
  }

  /** The same for a batch of records, which is a log without a header. */
  applyFrames(bytes: Uint8Array, pageSize: number, startFrameNo: FrameNo, startChecksum: bigint): Position {
    const recordBytes = frameHeaderBytes + pageSize
    if (bytes.byteLength % recordBytes !== 0) {
      const message = `${bytes.byteLength} bytes are not a whole number of frames of ${recordBytes} bytes`
      throw new MylibsqlError('ERR_CORRUPT', message, { frameNo: startFrameNo })
    }
    const frameCount = bytes.byteLength / recordBytes
    const header = logHeader({ pageSize, startFrameNo, frameCount, startChecksum, endChecksum: undefined })
    // The header is not in the bytes: records start at 0.
    return this.applyLog({ location: { bytes }, header: { ...header, headerBytes: 0 } })
  }

  /**
   * Makes the database what a newer snapshot holds, in one step. Nothing happens when it is not newer. Throws
   * ERR_LINEAGE for one of the same frame but another history, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_IO; then nothing was
   * applied.
   */
  async applySnapshot(file: SnapshotFile, pathPrefix: string): Promise<Position> {
    const next = snapshotPosition(file.trailer)
    const { pageSize } = this.#database
    // What was applied while the frames were made is not in them.
    for (let isApplied = false; !isApplied; ) {
      const from = this.#position
      const header = { pageSize: file.trailer.pageSize, startFrameNo: 0, frameCount: next.nextFrameNo }
      const asLog = logHeader({ ...header, startChecksum: 0n, endChecksum: next.checksum })
      if (planLog({ ...from, pageSize }, asLog, { path: file.path }).kind === 'skip') break
      await withFramesTo(file, this.#database, pathPrefix, (frames) => {
        if (this.#isClosed) throw new MylibsqlError('ERR_CLOSED', 'The replica is closed')
        if (this.#position !== from) return
        injectLog(frames, framesStart, this.#database)
        isApplied = true
        this.#advance(next)
      })
    }
    return this.#position
  }

  stats(): RoleStats {
    return {
      position: this.#position,
      pageSize: this.#database.pageSize,
      walBytes: this.#walBytes(),
      unsavedBytes: 0,
      transactionCount: this.#appliedCount,
      requestCount: this.#appliedCount,
      lastWalError: this.#lastError,
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.stopNextLogs()
    this.#gap.cancel()
    await this.#folding
  }

  /** On a full disk the WAL is folded, however small it is: the log that is tried again may find the room for it there. */
  #inject(file: OpenedLog): Position | undefined {
    try {
      return injectLog(file, this.#position, this.#database)
    } catch (error) {
      if (isDiskFull(error)) this.#folding ??= this.#fold()
      throw error
    }
  }

  #isApplied(file: OpenedLog): boolean {
    try {
      this.applyLog(file)
      return true
    } catch {
      return false
    }
  }

  #advance(next: Position): Position {
    this.#position = next
    this.#appliedCount += 1
    if (this.#walBytes() >= this.#foldAtBytes) this.#folding ??= this.#fold()
    return next
  }

  #walBytes(): number {
    return this.#database.wal.position().frameCount * this.#recordBytes
  }

  async #fold(): Promise<void> {
    // The answer leaves first: whoever waits for it is woken before the fold takes a processor.
    await setImmediate()
    let isFolded = false
    try {
      isFolded = this.#isClosed || (await this.#foldAll()) || (await this.#foldInGap())
      this.#lastError = undefined
    } catch (error) {
      this.#lastError = toWireError(error)
    }
    this.#folding = undefined
    // A WAL that readers keep from being folded goes on growing: no attempt at every log.
    this.#foldAtBytes = isFolded ? walResetBytes : this.#walBytes() + walResetBytes / 4
  }

  /** False also when it is not time for one. */
  async #foldInGap(): Promise<boolean> {
    if (this.#isClosed) return false
    return this.#gap.folding(this.#database.wal, this.#walBytes(), () => this.#foldAll())
  }

  /** False when a reader is in the way. */
  async #foldAll(): Promise<boolean> {
    const { wal } = this.#database
    const { salt1 } = wal.position()
    for (;;) {
      const { frameCount, foldedCount } = await wal.fold()
      if (foldedCount < frameCount) return false
      const after = wal.position()
      const restBytes = (after.frameCount - foldedCount) * this.#recordBytes
      // A log that came when all was folded has started it over.
      if (restBytes === 0 || after.salt1 !== salt1) return true
      // Under a steady stream something is always left: it is folded between two logs.
      if (restBytes > walTailBytesMax && this.#walBytes() < walForcedBytes) continue
      const rest = wal.foldSync('passive')
      return rest.foldedCount === rest.frameCount
    }
  }
}
