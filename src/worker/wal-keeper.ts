/**
 * Keeps the WAL of a primary: copies committed frames out of it into the open log, folds it into the database
 * file and has SQLite start it over, without making writers wait and without losing a frame.
 *
 * Why no frame is lost. SQLite starts a WAL over at the first write after all of it was folded. It does not get the locks for that
 * while there are frames that were not copied out (native/writer_locks.h), whoever has folded them: this class, or
 * another program that the authorizer cannot refuse. When that has happened all the same, `Capture` notices.
 *
 * Why writers do not wait. Copying and folding run on libuv threads. Under a steady load there are always newer
 * frames when a fold ends, so that the WAL would never be reset; once what is left is small it is therefore
 * copied and folded on the writer's own thread between two transactions, which takes about a millisecond. Writers that
 * are faster than that wait: a WAL beyond `walForcedBytes` is folded there whatever is left of it.
 *
 * A reader keeps the WAL from being folded beyond its own state of the database. When there is always another one, a large WAL is
 * folded in a gap between them (`ReaderGap`).
 */
import { setTimeout as delay } from 'node:timers/promises'
import { toWireError, type WireError } from '../protocol/errors.js'
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import {
  logMemoryBytesMax,
  readerGapTransactionMs,
  walForcedBytes,
  walResetBytes,
  walTailBytesMax,
} from '../protocol/limits.js'
import { encodeLogHeader, type LogFile, logHeader, logHeaderBytesV3 } from '../protocol/log-format.js'
import type { Position } from '../protocol/wire.js'
import { Capture } from './capture.js'
import { OpenLog } from './open-log.js'
import type { ReaderGap } from './reader-gap.js'
import type { WorkingDatabase } from './working-database.js'

export class WalKeeper {
  readonly #database: WorkingDatabase
  readonly #gap: ReaderGap
  readonly #capture: Capture
  readonly #recordBytes: number
  #openLog: OpenLog
  readonly #logPathPrefix: string
  /** Frames before this one are in logs that were saved. */
  #savedFrameNo: FrameNo
  #drainAtBytes = walResetBytes
  #draining: Promise<void> | undefined
  /** The rest of the WAL could not be folded because a transaction was open: that is tried once it has ended. */
  #restDue: { isFolded: boolean | undefined } | undefined
  #isClosed = false
  #queue: Promise<unknown> = Promise.resolve()
  /** Operations in the queue. */
  #underWayCount = 0
  #lastError: WireError | undefined

  constructor(database: WorkingDatabase, position: Position, logPathPrefix: string, gap: ReaderGap) {
    this.#database = database
    this.#gap = gap
    this.#logPathPrefix = logPathPrefix
    this.#capture = new Capture(database.wal, position.nextFrameNo)
    this.#recordBytes = frameHeaderBytes + database.pageSize
    this.#openLog = this.#nextLog(position)
    this.#savedFrameNo = position.nextFrameNo
    this.#noteCopied()
  }

  get nextFrameNo(): FrameNo {
    return this.#capture.nextFrameNo
  }

  get walBytes(): number {
    return this.#capture.walFrameCount * this.#recordBytes
  }

  /** Bytes of the frames that no saved log holds. */
  get unsavedBytes(): number {
    return (this.#capture.nextFrameNo - this.#savedFrameNo) * this.#recordBytes
  }

  get #uncopiedBytes(): number {
    return (this.#capture.nextFrameNo - this.#openLog.end.nextFrameNo) * this.#recordBytes
  }

  /** What went wrong while the WAL was kept in the background, until it goes well again. */
  get lastError(): WireError | undefined {
    return this.#lastError
  }

  /** To be called after each commit. Returns the number of the next frame. Throws ERR_WAL_RESET. */
  advance(): FrameNo {
    const nextFrameNo = this.#capture.advance(this.#openLog.end.nextFrameNo)
    if (this.#restDue !== undefined && this.#underWayCount === 0) this.#foldDueRest(this.#restDue)
    if (this.walBytes >= this.#drainAtBytes) this.#draining ??= this.#drainInBackground()
    return nextFrameNo
  }

  /** A disk is full: what is in the WAL is folded, whose room can be used again, at the next commit or attempt. */
  spareRoom(): void {
    this.#drainAtBytes = 0
  }

  /** Where the history stands: reads the checksums of what is not copied out yet. */
  position(): Position {
    const copied = this.#openLog.end
    const nextFrameNo = this.#capture.nextFrameNo
    const checksum = this.readFrames(undefined, copied, nextFrameNo)
    return { nextFrameNo, checksum }
  }

  /** Reads frames that are still in the WAL as records; returns the checksum of the last one. */
  readFrames(target: Uint8Array | undefined, from: Position, nextFrameNo: FrameNo): bigint {
    const frameCount = nextFrameNo - from.nextFrameNo
    if (frameCount === 0) return from.checksum
    const { wal } = this.#database
    return wal.readFrames(
      target,
      this.#capture.walIndex(from.nextFrameNo),
      frameCount,
      from.nextFrameNo,
      from.checksum,
    )
  }

  /** The log of all frames since the last one that was sealed; undefined when there are none. A small one is there at once. */
  seal(): LogFile | undefined | Promise<LogFile | undefined> {
    const isIdle = this.#underWayCount === 0 && this.#openLog.isEmpty
    if (isIdle && this.#uncopiedBytes <= logMemoryBytesMax) return this.#sealInMemory()
    return this.#exclusively(async () => {
      await this.#copyOut(this.#capture.advance(this.#openLog.end.nextFrameNo))
      if (this.#openLog.isEmpty) return undefined
      const file = this.#openLog.seal()
      this.#openLog = this.#nextLog(this.#openLog.end)
      return file
    })
  }

  /** A small log needs no file and no other thread: it is read here and now. */
  #sealInMemory(): LogFile | undefined {
    const start = this.#openLog.end
    const { nextFrameNo } = this.#capture
    const frameCount = nextFrameNo - start.nextFrameNo
    if (frameCount === 0) return undefined
    const bytes = new Uint8Array(logHeaderBytesV3 + frameCount * this.#recordBytes)
    const checksum = this.readFrames(bytes.subarray(logHeaderBytesV3), start, nextFrameNo)
    const header = logHeader({
      pageSize: this.#database.pageSize,
      startFrameNo: start.nextFrameNo,
      frameCount,
      startChecksum: start.checksum,
      endChecksum: checksum,
    })
    bytes.set(encodeLogHeader(header))
    // It can have a file: one that could not be written to.
    this.#openLog.discard()
    this.#openLog = this.#nextLog({ nextFrameNo, checksum })
    this.#noteCopied()
    return { location: { bytes }, header }
  }

  logSaved(nextFrameNo: FrameNo): void {
    this.#savedFrameNo = Math.max(this.#savedFrameNo, nextFrameNo)
  }

  /** Waits for what runs in the background and drops what was not sealed. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#gap.cancel()
    await this.#draining
    await this.#exclusively(async () => this.#openLog.discard())
    this.#database.wal.allowRestartAt(undefined)
  }

  async #drainInBackground(): Promise<void> {
    let isFolded = false
    try {
      isFolded = (await this.#drain()) || (await this.#drainInGap())
      this.#lastError = undefined
    } catch (error) {
      this.#lastError = toWireError(error)
    }
    this.#draining = undefined
    // When a reader is in the way the WAL goes on growing: no attempt at every commit.
    this.#drainAtBytes = isFolded ? walResetBytes : this.walBytes + walResetBytes / 4
  }

  /** Folds all that is committed, in rounds while much is left, then at once. False: something is in the way. */
  async #drain(): Promise<boolean> {
    const { wal } = this.#database
    this.#restDue = undefined
    for (;;) {
      const target = this.#capture.advance(this.#openLog.end.nextFrameNo)
      // A log may be copied and sealed while this folds.
      await this.#exclusively(() => this.#copyOut(target))
      const { frameCount, foldedCount } = await wal.fold()
      if (foldedCount < frameCount) return false
      const isFolded = await this.#exclusively(async () => this.#foldRest())
      if (isFolded !== undefined) return isFolded
    }
  }

  /** False also when it is not time for one. */
  async #drainInGap(): Promise<boolean> {
    if (this.#isClosed) return false
    return this.#gap.folding(this.#database.wal, this.walBytes, async () => {
      if (await this.#drain()) return true
      const due = this.#restDue
      if (due === undefined) return false
      // It cannot be waited for as long as readers can: it may wait for a read itself.
      const untilMs = performance.now() + readerGapTransactionMs
      while (due.isFolded === undefined && performance.now() < untilMs) await delay(1)
      return due.isFolded === true
    })
  }

  async #copyOut(nextFrameNo: FrameNo): Promise<void> {
    await this.#openLog.copy(this.#database.wal, this.#capture, nextFrameNo)
    this.#noteCopied()
  }

  /** Copies and folds what is left, here and now. Undefined: that is too much; false: something is in the way. */
  #foldRest(): boolean | undefined {
    const { wal, connection } = this.#database
    const unfoldedBytes = (this.#capture.walFrameCount - wal.position().foldedCount) * this.#recordBytes
    const restBytes = Math.max(unfoldedBytes, this.#uncopiedBytes)
    if (restBytes > walTailBytesMax && this.walBytes < walForcedBytes) return undefined
    // A transaction that began on an unfolded WAL does not start it over: it has to be folded between two.
    if (connection.inTransaction) {
      this.#restDue = { isFolded: undefined }
      return false
    }
    this.#openLog.copySync(wal, this.#capture, this.#capture.nextFrameNo)
    this.#noteCopied()
    const { frameCount, foldedCount } = wal.foldSync('passive')
    return foldedCount === frameCount
  }

  /** Frames that are in the open log, or in one that was sealed, may go: others hold the WAL, whoever has folded them. */
  #noteCopied(): void {
    const uncopiedCount = this.#capture.nextFrameNo - this.#openLog.end.nextFrameNo
    const { walFrameCount, salt1 } = this.#capture
    this.#database.wal.allowRestartAt(uncopiedCount > 0 ? 0 : walFrameCount, salt1)
  }

  #foldDueRest(due: { isFolded: boolean | undefined }): void {
    this.#restDue = undefined
    due.isFolded = false
    try {
      due.isFolded = this.#foldRest() === true
      if (due.isFolded) this.#drainAtBytes = walResetBytes
    } catch (error) {
      this.#lastError = toWireError(error)
    }
  }

  #nextLog(start: Position): OpenLog {
    return new OpenLog(this.#logPathPrefix, this.#database.pageSize, start)
  }

  #exclusively<T>(operation: () => Promise<T>): Promise<T> {
    this.#underWayCount += 1
    const result = this.#queue.then(operation).finally(() => {
      this.#underWayCount -= 1
    })
    this.#queue = result.catch(() => {})
    return result
  }
}
