import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import type { FrameNo } from '../protocol/frame.js'
import { ioError } from '../protocol/io-error.js'
import { pageSizeDefaultBytes } from '../protocol/limits.js'
import { type SnapshotFile, snapshotTrailerBytes } from '../protocol/snapshot-format.js'
import type { ImportProgress } from '../protocol/tasks.js'
import {
  checkBoolean,
  checkFunction,
  checkInstance,
  checkOptions,
  checkPageSize,
  checkPath,
  oneOf,
  optional,
  withDefault,
  wrong,
} from './arguments.js'
import { Log } from './log.js'
import { withLogFiles } from './log-files.js'
import { OperationGate } from './operation-gate.js'
import { runTask } from './task-pool.js'
import {
  keepWhenCollected,
  removeTemporaryFile,
  removeWhenCollected,
  temporaryPath,
} from './temporary-files.js'

export interface SnapshotOpenOptions {
  /** Read the whole file and check its checksum. Default: true. */
  verify?: boolean | undefined
  /** 'crate': a snapshot of the Rust crate, which is any SQLite file without a trailer. Default: 'mylibsql'. */
  format?: 'mylibsql' | 'crate' | undefined
}

export interface SnapshotBlankOptions {
  /** Bytes, a power of two from 512 to 65536. Default: 4096. */
  pageSize?: number | undefined
}

export interface SnapshotImportOptions {
  /** Called now and then with pages copied so far and pages in all, the last time when all are. */
  onProgress?: ((progress: ImportProgress) => void) | undefined
}

/**
 * A snapshot: the whole database as of one frame, in a file that any SQLite tool can open (to read it: a write
 * makes it something else). Its position in the history is in a trailer behind the last page.
 *
 * Reading, checking and copying happen in task threads. Every method rejects with ERR_CLOSED after `close()`, with
 * ERR_IO when the system refuses and with a TypeError for bad arguments.
 *
 * @example
 * const snapshot = await Snapshot.open('base.db')
 * const newer = await snapshot.append([await Log.open('1.log'), await Log.open('2.log')])
 * await newer.moveTo('base.db')
 */
export class Snapshot {
  #file: SnapshotFile
  #isTemporary: boolean
  /** A sync has failed: the next one may succeed though what could not be written is lost. */
  #isSyncInDoubt = false
  readonly #gate = new OperationGate(this, 'The snapshot')

  private constructor(file: SnapshotFile, isTemporary: boolean) {
    this.#file = file
    this.#isTemporary = isTemporary
    if (isTemporary) removeWhenCollected(this, file.path)
  }

  /**
   * Opens a snapshot. Its pages are checked in a task thread, unless `verify` is false.
   *
   * @example const snapshot = await Snapshot.open('base.db')
   * @throws ERR_NOT_A_SNAPSHOT (a database without trailer too), ERR_VERSION, ERR_CORRUPT, ERR_IO (missing file too)
   */
  static async open(path: string | URL, options?: SnapshotOpenOptions): Promise<Snapshot> {
    const checkedPath = checkPath(path, 'path')
    const known = {
      verify: withDefault(checkBoolean, true),
      format: withDefault<SnapshotFile['format']>(oneOf('mylibsql', 'crate'), 'mylibsql'),
    }
    const checked = checkOptions(options, known, 'Snapshot.open')
    return new Snapshot(await runTask({ kind: 'openSnapshot', path: checkedPath, ...checked }), false)
  }

  /**
   * The blank database, in WAL mode and without tables, in a temporary file: where the history starts when there is
   * no database yet.
   *
   * @example const primary = await Primary.open(await Snapshot.blank())
   */
  static async blank(options?: SnapshotBlankOptions): Promise<Snapshot> {
    const known = { pageSize: withDefault(checkPageSize, pageSizeDefaultBytes) }
    const { pageSize } = checkOptions(options, known, 'Snapshot.blank')
    return new Snapshot(
      await runTask({ kind: 'blankSnapshot', pageSize, path: await temporaryPath('.db') }),
      true,
    )
  }

  /**
   * Imports any SQLite database as the start of a history: a consistent copy, page for page, that is set to WAL mode.
   * The source is only read, and may be in use: writers go on meanwhile when it is in WAL mode, otherwise they wait. (What a
   * program that crashed has left of a transaction SQLite rolls back first, as whoever opens the database next does.)
   * Without `target` the snapshot is in a temporary file; one that is there is replaced.
   *
   * @example
   * const snapshot = await Snapshot.fromDatabase('app.db', 'base.db', {
   *   onProgress: ({ pagesDone, pageCount }) => console.log(pagesDone / pageCount),
   * })
   * @throws ERR_NOT_A_SNAPSHOT when the source is no database, ERR_IO, SqliteError
   */
  static async fromDatabase(
    path: string | URL,
    target?: string | URL,
    options?: SnapshotImportOptions,
  ): Promise<Snapshot> {
    const source = checkPath(path, 'path')
    const targetPath = target === undefined ? undefined : checkPath(target, 'target')
    if (targetPath === source) throw wrong('target', 'another file than the database', target)
    const known = { onProgress: optional(checkFunction) }
    const { onProgress } = checkOptions(options, known, 'Snapshot.fromDatabase')
    if (targetPath !== undefined) {
      return new Snapshot(await importDatabase(source, targetPath, onProgress), false)
    }
    const temporary = await temporaryPath('.db')
    try {
      return new Snapshot(await importDatabase(source, temporary, onProgress), true)
    } catch (error) {
      // The import may have been done, and only the callback have thrown.
      await removeTemporaryFile(temporary)
      throw error
    }
  }

  /** @internal A snapshot that a worker of this library has written. */
  static fromFile(file: SnapshotFile, { temporary }: { temporary: boolean }): Snapshot {
    return new Snapshot(file, temporary)
  }

  /** Where the file is; absolute. */
  get path(): string {
    return this.#file.path
  }

  /** Number of the last frame in it; undefined when the history has not begun. */
  get lastFrameNo(): FrameNo | undefined {
    return this.#file.trailer.lastFrameNo
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.#file.trailer.pageSize
  }

  get pageCount(): number {
    return this.#file.trailer.pageCount
  }

  /** Bytes of the file. */
  get byteLength(): number {
    return this.pageCount * this.pageSize + (this.#file.format === 'crate' ? 0 : snapshotTrailerBytes)
  }

  /** Lineage: checksum of the last frame, 0n when there is none (and in snapshots of the crate). */
  get checksum(): bigint {
    return this.#file.trailer.checksum
  }

  /** When the snapshot was made; undefined for snapshots of the crate. */
  get createdAt(): Date | undefined {
    return this.#file.format === 'crate' ? undefined : new Date(this.#file.trailer.createdAtMs)
  }

  /** @internal What worker threads are told. */
  get file(): SnapshotFile {
    if (this.#gate.isClosed) throw this.#gate.closedError()
    return this.#file
  }

  /** @internal Whether the file is gone with the snapshot anyway. */
  get isTemporary(): boolean {
    return this.#isTemporary
  }

  /** @internal Runs an operation on the file, which is neither moved nor removed until it has settled. */
  use<T>(operation: (file: SnapshotFile) => Promise<T>): Promise<T> {
    return this.#gate.shared(() => operation(this.#file))
  }

  /**
   * Moves the file; `path` follows. Durable: the file is synced before it gets its name. A file that is there
   * is replaced; between file systems the snapshot is copied.
   *
   * @example await snapshot.moveTo('base.db')
   */
  async moveTo(path: string | URL): Promise<void> {
    const target = checkPath(path, 'path')
    return this.#gate.exclusive(async () => {
      const file = this.#file
      if (target !== file.path) await this.#move(file, target)
      // Again when it failed the last time, though the file was there already.
      await syncPath(dirname(target)).catch((error) => {
        throw ioError(error, 'sync the folder of', target)
      })
    })
  }

  /**
   * Copies the snapshot into a file that is there complete or not at all; one that is there is replaced.
   *
   * @example await snapshot.copyTo('backup.db')
   * @throws ERR_CORRUPT when the pages were changed since the snapshot was opened
   */
  async copyTo(path: string | URL): Promise<void> {
    const target = checkPath(path, 'path')
    await this.use((file) => runTask({ kind: 'copySnapshot', file, path: target }))
  }

  /**
   * A new snapshot in a temporary file: this one with the frames of `logs` applied. The logs must follow in order;
   * what is in the snapshot already is passed over. All of them are checked before the first is applied.
   *
   * @example const newer = await snapshot.append([log1, log2])
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT
   */
  async append(logs: readonly Log[]): Promise<Snapshot> {
    if (!Array.isArray(logs)) throw wrong('logs', 'an array of logs', logs)
    const list = logs.map((log: unknown, index) => checkInstance(log, Log, `logs[${index}]`))
    const path = await temporaryPath('.db')
    const file = await this.use((snapshotFile) =>
      withLogFiles(list, (logFiles) =>
        runTask({ kind: 'appendLogs', file: snapshotFile, logs: logFiles, path }),
      ),
    )
    return new Snapshot(file, true)
  }

  /** Closes the snapshot after what is under way; a temporary file is removed. Again: does nothing. */
  async close(): Promise<void> {
    await this.#gate.close(async () => {
      if (!this.#isTemporary) return
      keepWhenCollected(this)
      await removeTemporaryFile(this.#file.path)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #move(file: SnapshotFile, target: string): Promise<void> {
    const isRenamed = await this.#rename(file.path, target)
    // Checks the pages on the way.
    if (!isRenamed) await runTask({ kind: 'copySnapshot', file, path: target })
    this.#isSyncInDoubt = false
    this.#file = { ...file, path: target }
    const wasTemporary = this.#isTemporary
    if (wasTemporary) keepWhenCollected(this)
    this.#isTemporary = false
    if (isRenamed) return
    if (wasTemporary) return removeTemporaryFile(file.path)
    try {
      await rm(file.path, { force: true })
    } catch (error) {
      throw ioError(error, 'remove', file.path)
    }
  }

  /** False when it has to be copied instead. */
  async #rename(from: string, to: string): Promise<boolean> {
    if (this.#isSyncInDoubt) return false
    try {
      await syncPath(from)
    } catch (error) {
      this.#isSyncInDoubt = (error as NodeJS.ErrnoException).syscall === 'fsync'
      throw ioError(error, 'sync', from)
    }
    try {
      await rename(from, to)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EXDEV') return false
      throw ioError(error, 'move the snapshot to', to)
    }
  }
}

async function importDatabase(
  source: string,
  path: string,
  // biome-ignore lint/complexity/noBannedTypes: checked to be a function, which is all there is to know
  onProgress: Function | undefined,
): Promise<SnapshotFile> {
  if (onProgress === undefined) return runTask({ kind: 'importDatabase', source, path, progress: undefined })
  const { port1, port2 } = new MessageChannel()
  let failure: { error: unknown } | undefined
  port1.on('message', (progress: ImportProgress) => {
    try {
      if (failure === undefined) onProgress(progress)
    } catch (error) {
      failure = { error }
    }
  })
  // The thread closes its end when it is done, after the last message.
  const closed = new Promise((resolve) => port1.once('close', resolve))
  const file = await runTask({ kind: 'importDatabase', source, path, progress: port2 }, [port2])
  await closed
  if (failure !== undefined) throw (failure as { error: unknown }).error
  return file
}

async function syncPath(path: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'r')
    await handle.sync()
  } finally {
    await handle?.close()
  }
}
