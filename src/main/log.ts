import { Readable } from 'node:stream'
import type { Frame, FrameBatch, FrameNo } from '../protocol/frame.js'
import { pageSizeDefaultBytes } from '../protocol/limits.js'
import { type LogFile, logByteLength, logNextFrameNo, logRecordCount } from '../protocol/log-format.js'
import type { LogBoundary } from '../protocol/merge-table.js'
import type { OpenedLog } from '../protocol/tasks.js'
import {
  checkBoolean,
  checkBytes,
  checkChecksum,
  checkFrameNo,
  checkFrameNos,
  checkOptions,
  checkPageSize,
  checkPath,
  oneOf,
  optional,
  withDefault,
} from './arguments.js'
import { withLogFiles } from './log-files.js'
import {
  adopt,
  appendTask,
  checkCrateCopy,
  checkMergeable,
  continued,
  emptyLog,
  logOfBytes,
  refuseMerged,
  toBatch,
} from './log-input.js'
import type { LogCopyOptions, LogCreateOptions, LogMergeOptions, LogOpenOptions } from './log-options.js'
import { LogReader } from './log-reader.js'
import { OperationGate } from './operation-gate.js'
import { runTask } from './task-pool.js'
import { OwnedFile, removeTemporaryFile, temporaryPath } from './temporary-files.js'

/**
 * A log: consecutive frames, whole transactions only, in a file or in memory; a merged one (`Log.merge`) has only the last
 * version of each page.
 *
 * The file that was given to `Log.open` is never changed: the first `pushFrames` or `truncate` moves the log to a
 * temporary file, and `copyTo` keeps it. Reading and checking happen off the main thread. Reads overlap; a change
 * waits for reads that have begun and the other way round, in the order of the calls.
 *
 * Every method rejects with ERR_CLOSED after `close()`, with ERR_IO when the system refuses and with a TypeError
 * for bad arguments.
 *
 * @example
 * const log = await Log.open('logs/000000000042.log')
 * for await (const frame of log.frames()) console.log(frame.frameNo, frame.pageNo)
 */
export class Log {
  #file: LogFile
  #endChecksum: bigint
  readonly #own = new OwnedFile(this)
  /** Empty, and nobody said which history it belongs to: the first frames do. */
  #adoptsLineage: boolean
  readonly #gate = new OperationGate(this, 'The log')

  private constructor({ file, endChecksum }: OpenedLog, isTemporary: boolean, adoptsLineage = false) {
    this.#file = file
    this.#endChecksum = endChecksum
    this.#adoptsLineage = adoptsLineage
    if (isTemporary && 'path' in file.location) this.#own.take(file.location.path)
  }

  /**
   * Opens a log file of version 3 or 2 (the Rust crate's). All checksums are verified in a task thread, unless
   * `verify` is false.
   *
   * @example const log = await Log.open('42.log')
   * @throws ERR_NOT_A_LOG (a segment of a FileStore too), ERR_VERSION, ERR_CORRUPT (details: path, byteOffset, frameNo),
   * ERR_IO (missing file too)
   */
  static async open(path: string | URL, options?: LogOpenOptions): Promise<Log> {
    const file = checkPath(path, 'path')
    const { verify } = checkOptions(options, { verify: withDefault(checkBoolean, true) }, 'Log.open')
    return new Log(await runTask({ kind: 'openLog', path: file, verify }), false)
  }

  /**
   * Opens all logs of a file: those of a segment, in which a FileStore keeps many small ones one behind the other, or the
   * one that there is. Logs of a segment are read into memory.
   *
   * @example for (const log of await Log.openAll('history/logs/0000000000000042.log')) console.log(log.startFrameNo)
   * @throws as open
   */
  static async openAll(path: string | URL, options?: LogOpenOptions): Promise<Log[]> {
    const file = checkPath(path, 'path')
    const { verify } = checkOptions(options, { verify: withDefault(checkBoolean, true) }, 'Log.openAll')
    return (await runTask({ kind: 'openLogs', path: file, verify })).map((opened) => new Log(opened, false))
  }

  /**
   * An empty log to push frames to. They are kept in a temporary file.
   *
   * @example
   * const log = await Log.create(primary.savedFrameNo + 1)
   * await log.pushFrames(batch)
   */
  static async create(startFrameNo: FrameNo, options?: LogCreateOptions): Promise<Log> {
    const first = checkFrameNo(startFrameNo, 'startFrameNo')
    const { pageSize, startChecksum } = checkOptions(
      options,
      { pageSize: withDefault(checkPageSize, pageSizeDefaultBytes), startChecksum: optional(checkChecksum) },
      'Log.create',
    )
    return new Log(emptyLog(first, pageSize, startChecksum ?? 0n), false, startChecksum === undefined)
  }

  /**
   * A log in memory, such as one that came from an object store. The bytes are kept, not copied (unless they are a
   * part of a larger buffer): do not change them afterwards.
   *
   * @example const log = await Log.from(await response.arrayBuffer())
   * @throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT
   */
  static async from(bytes: Uint8Array | ArrayBuffer, options?: LogOpenOptions): Promise<Log> {
    const checkedBytes = checkBytes(bytes, 'bytes')
    const { verify } = checkOptions(options, { verify: withDefault(checkBoolean, true) }, 'Log.from')
    const opened = logOfBytes(checkedBytes)
    if (verify) await runTask({ kind: 'verifyLog', file: opened.file })
    return new Log(opened, false)
  }

  /**
   * Makes one log of several that follow each other, with only the last version of each page: it takes a database from the
   * start of the first to the end of the last one in one step. A database that stands at the start of one of the others takes
   * it as well; one that stands elsewhere in between does not (`boundaries`). Every byte is checked. `createdAt` and `epoch`
   * are those of the last log. The new log is in a temporary file: copy it, or put it into a store.
   *
   * @example
   * const log = await Log.merge([await Log.open('0.log'), await Log.open('1.log'), await Log.open('2.log')])
   * await log.copyTo('merged/0.log')
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE when they do not follow each other; ERR_VERSION for a log of version 2;
   * ERR_CORRUPT (details: path, frameNo, byteOffset), ERR_IO
   */
  static async merge(logs: readonly Log[], options?: LogMergeOptions): Promise<Log> {
    const list = checkMergeable(logs, Log)
    const { at } = checkOptions(options, { at: withDefault(checkFrameNos, []) }, 'Log.merge')
    const path = await temporaryPath('.log')
    const file = await withLogFiles(list, (files) => runTask({ kind: 'mergeLogs', logs: files, at, path }))
    return Log.fromFile(file, { temporary: true })
  }

  /** @internal A log that a worker of this library has written. */
  static fromFile(file: LogFile, { temporary }: { temporary: boolean }): Log {
    return new Log({ file, endChecksum: file.header.endChecksum ?? file.header.startChecksum }, temporary)
  }

  /** Number of the first frame, or of the one that would be the first in an empty log. */
  get startFrameNo(): FrameNo {
    return this.#file.header.startFrameNo
  }

  /** Number of the frame after the last one. */
  get nextFrameNo(): FrameNo {
    return logNextFrameNo(this.#file.header)
  }

  /** Number of the last frame; undefined when the log is empty. */
  get lastFrameNo(): FrameNo | undefined {
    return this.isEmpty ? undefined : this.nextFrameNo - 1
  }

  /** Frames that it takes a database ahead by. */
  get frameCount(): number {
    return this.#file.header.frameCount
  }

  /** Frames that are in it: all of `frameCount`, fewer in a merged log. */
  get recordCount(): number {
    return logRecordCount(this.#file.header)
  }

  /** Whether only the last version of each page is in it: made by `Log.merge`. */
  get isMerged(): boolean {
    return this.#file.header.merged !== undefined
  }

  /** Of a merged log: the positions besides its start at which it can be applied. Otherwise empty. */
  get boundaries(): readonly LogBoundary[] {
    return this.#file.header.merged?.boundaries ?? []
  }

  get isEmpty(): boolean {
    return this.frameCount === 0
  }

  /** Bytes of the log as a file. */
  get byteLength(): number {
    return logByteLength(this.#file.header)
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.#file.header.pageSize
  }

  /** Format version: 3, or 2 for a log of the Rust crate. */
  get version(): 2 | 3 {
    return this.#file.header.version
  }

  /** Lineage: checksum of the frame before the first one, 0n before frame 0 and in version 2. */
  get startChecksum(): bigint {
    return this.#file.header.startChecksum
  }

  /** Checksum of the last frame; `startChecksum` when the log is empty. */
  get endChecksum(): bigint {
    return this.#endChecksum
  }

  /** When the log was sealed or created; undefined in version 2. */
  get createdAt(): Date | undefined {
    const { createdAtMs } = this.#file.header
    return createdAtMs === undefined ? undefined : new Date(createdAtMs)
  }

  /** Term of the primary that wrote it, counted by its store from 1; 0 when it was not written to a store. */
  get epoch(): number {
    return this.#file.header.epoch
  }

  /** @internal What worker threads are told. */
  get file(): LogFile {
    if (this.#gate.isClosed) throw this.#gate.closedError()
    return this.#file
  }

  /** @internal The log was made of `file`, which is its own from now on; a log that has ended or moved needs it no more. */
  takeOver({ location }: LogFile): void {
    if (!('path' in location)) return
    const isHere = 'path' in this.#file.location && this.#file.location.path === location.path
    if (isHere && !this.#gate.isClosed) this.#own.take(location.path)
    else removeTemporaryFile(location.path)
  }

  /** @internal What is being done with it, as OperationGate tells it. */
  readonly underWay = () => this.#gate.underWay()

  /** @internal Runs an operation on the log's file, which is neither changed nor removed until it has settled. */
  use<T>(operation: (file: LogFile) => Promise<T>): Promise<T> {
    return this.#gate.shared(() => operation(this.#file))
  }

  /**
   * Reads one frame.
   *
   * @example const { pageNo, data } = await log.readFrame(log.startFrameNo)
   * @throws RangeError when the log does not hold it (a merged one left it out); ERR_CORRUPT when the file is shorter now
   */
  async readFrame(frameNo: FrameNo): Promise<Frame> {
    checkFrameNo(frameNo, 'frameNo')
    return this.#reading((reader) => reader.frame(frameNo))
  }

  /**
   * All frames, in order, as of the moment when iteration begins. Read in pieces of about 1 MiB; the pages are views
   * on them. Of a merged log those that are in it; their checksums, and which frame ends a transaction, are its own and not
   * those of the history.
   *
   * @example for await (const { frameNo, pageNo, sizeAfter } of log.frames()) { ... }
   * @throws ERR_CORRUPT when the file has become shorter
   */
  frames(): AsyncGenerator<Frame, void, undefined> {
    return this.#readingAll((reader) => reader.frames())
  }

  /**
   * Appends frames that continue the log, all or none, after checking their numbers and checksums: what a Frames
   * subscription delivers, or single frames that end a transaction. The log must not be a file of yours: one that was
   * opened by path is copied to a temporary file first.
   *
   * @example for await (const batch of primary.captureFrames()) await log.pushFrames(batch)
   * @throws ERR_LOG_GAP (details: expected, actual), ERR_LINEAGE, ERR_CORRUPT, ERR_PAGE_SIZE; ERR_REFUSED for a merged log
   */
  async pushFrames(frames: FrameBatch | Iterable<Frame>): Promise<void> {
    const batch = toBatch(frames)
    return this.#gate.exclusive(async () => {
      refuseMerged(this.#file, 'be appended to')
      if (batch === undefined || batch.frameCount === 0) return
      const file = this.#adoptsLineage
        ? adopt(this.#file, batch)
        : continued(this.#file, this.#endChecksum, batch)
      this.#moveTo(await runTask(appendTask(file, this.#endChecksum, batch, await this.#ownPath())))
      this.#adoptsLineage = false
    })
  }

  /**
   * Removes the frames before `startFrameNo`. Beyond the end, the log becomes an empty one that starts there; at or
   * before its start, nothing happens. A log that starts inside a transaction can be applied only to a database
   * that has the beginning of it.
   *
   * @example await log.truncate(checkpointedFrameNo + 1)
   * @throws ERR_REFUSED for a merged log
   */
  async truncate(startFrameNo: FrameNo): Promise<void> {
    checkFrameNo(startFrameNo, 'startFrameNo')
    return this.#gate.exclusive(async () => {
      refuseMerged(this.#file, 'lose its beginning')
      if (startFrameNo <= this.startFrameNo) return
      const leavesGap = startFrameNo > this.nextFrameNo
      const adopts = leavesGap || (this.isEmpty && this.#adoptsLineage)
      const file = this.#file
      const path = await temporaryPath('.log')
      const task = { file, version: this.version, fromFrameNo: startFrameNo, path }
      this.#moveTo(await runTask({ kind: 'writeLog', ...task, durably: false }))
      this.#adoptsLineage = adopts && this.version === 3
    })
  }

  /**
   * Writes the log to a file, which is there complete or not at all, also after a loss of power; one that is there
   * is replaced. Written as another version, the frames are the same and the chain of checksums starts at 0.
   *
   * @example
   * await log.copyTo('backup/42.log')
   * await log.copyTo('for-the-crate/42.log', { version: 2 })
   * @throws ERR_PAGE_SIZE for version 2 when pages are not of 4096 bytes, ERR_REFUSED when the log is merged; ERR_CORRUPT
   */
  async copyTo(path: string | URL, options?: LogCopyOptions): Promise<void> {
    const target = checkPath(path, 'path')
    const known = { version: withDefault<2 | 3>(oneOf(2, 3), this.version) }
    const { version } = checkOptions(options, known, 'Log.copyTo')
    await this.use(async (file) => {
      if (version === 2) checkCrateCopy(file)
      const fromFrameNo = file.header.startFrameNo
      return runTask({ kind: 'writeLog', file, version, fromFrameNo, path: target, durably: true })
    })
  }

  /** The log as a file's bytes. @throws ERR_CORRUPT when the file has become shorter */
  bytes(): Promise<Uint8Array> {
    return this.#reading((reader) => reader.bytes())
  }

  /**
   * The log as a stream of a file's bytes, as of the moment when it is first read.
   *
   * @example await pipeline(log.stream(), createWriteStream('42.log'))
   */
  stream(): Readable {
    const chunks = this.#readingAll((reader) => reader.byteChunks())
    return Readable.from(chunks, { objectMode: false })
  }

  /** Verifies every checksum in a task thread. @throws ERR_CORRUPT with details path, frameNo and byteOffset */
  async verify(): Promise<void> {
    await this.use((file) => runTask({ kind: 'verifyLog', file }))
  }

  /** Closes the log after what is under way; a temporary file is removed. Again: does nothing. */
  close(): Promise<void> {
    return this.#gate.close(() => this.#own.remove())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *#readingAll<T>(
    read: (reader: LogReader) => AsyncGenerator<T, void, undefined>,
  ): AsyncGenerator<T, void, undefined> {
    const reader = await this.#openReader()
    try {
      yield* read(reader)
    } finally {
      await reader.close()
    }
  }

  async #reading<T>(read: (reader: LogReader) => Promise<T>): Promise<T> {
    const reader = await this.#openReader()
    try {
      return await read(reader)
    } finally {
      await reader.close()
    }
  }

  #openReader(): Promise<LogReader> {
    return this.#gate.shared(() => LogReader.open(this.#file))
  }

  /** A temporary file that may be changed. */
  async #ownPath(): Promise<string> {
    return this.#own.path ?? temporaryPath('.log')
  }

  /** The log is in this temporary file from now on. */
  #moveTo({ file, endChecksum }: OpenedLog): void {
    this.#file = file
    this.#endChecksum = endChecksum
    if ('path' in file.location) this.#own.take(file.location.path)
  }
}
