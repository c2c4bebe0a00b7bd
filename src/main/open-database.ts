/** A database that is open: its actor thread, its reader threads and its files. Goes with the role changes. */
import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import { MylibsqlError } from '../protocol/errors.js'
import {
  busyTimeoutMsDefault,
  closeTimeoutMsDefault,
  idleTimeoutMsDefault,
  requestBytesMaxDefault,
  requestsMaxDefault,
  subscriberBytesMaxDefault,
  unsavedBytesMaxDefault,
} from '../protocol/limits.js'
import { besides, openLogPath } from '../protocol/temporary.js'
import type { OpenReply, Polling, Position, Role } from '../protocol/wire.js'
import { ActorThread } from './actor-thread.js'
import {
  checkBoolean,
  checkInstance,
  checkOptions,
  checkPath,
  checkPositiveInteger,
  checkTimeoutMs,
  optional,
  withDefault,
  wrong,
} from './arguments.js'
import { Cancellations, interruptRepeatedly } from './cancellations.js'
import { Log } from './log.js'
import { withLogFiles } from './log-files.js'
import { ReaderPool } from './reader-pool.js'
import { Snapshot } from './snapshot.js'
import { removeTemporaryFile, temporaryPath } from './temporary-files.js'

export interface OpenOptions {
  /**
   * Where the working file is kept. Default: a temporary file, removed on close. A file that is left there by an
   * earlier opening is rebuilt; one that mylibsql did not make is never touched (ERR_PATH_EXISTS).
   */
  path?: string | URL
  /** Reader threads, started with the first read. Default: one for each core but one, from 1 to 4. */
  readers?: number
  /** Integers as bigint, as in better-sqlite3. Default false. */
  safeIntegers?: boolean
  /** How long a write waits while a limit holds writers back, and SQLite for a lock. Default 30,000 ms. */
  busyTimeoutMs?: number
  /** Longest pause between two statements of an interactive connection or of an iteration. Default 30,000 ms. */
  idleTimeoutMs?: number
  /**
   * How long close() waits for what is under way before it is interrupted, and after that once more (2 s at least). Default
   * 5,000 ms.
   */
  closeTimeoutMs?: number
}

export interface PrimaryOptions extends OpenOptions {
  /** Bytes of frames in no saved log yet at which writers are held back. Default 1 GiB. */
  unsavedBytesMax?: number
  /** Bytes of frames that a subscriber has not taken at which writers are held back. Default 64 MiB. */
  subscriberBytesMax?: number
  /** Calls that may wait for the writer before `ready()` waits. Default 65,536. */
  requestsMax?: number
  /** Bytes of their parameters, likewise. Default 64 MiB. */
  requestBytesMax?: number
  /**
   * Low latency: the writer's thread polls for a few microseconds before it sleeps (true), or never does (false).
   * Default: on more than one core it polls while the next write has lately come that soon, which saves more processor
   * time than it costs.
   */
  spin?: boolean
  /** Module of procedures for `call`: `new URL('./procedures.js', import.meta.url)`. */
  procedures?: URL
}

const readersMax = 4
/** In which a thread whose statement was interrupted rolls its transaction back, and closes the database. */
const interruptedMsMin = 2_000
const whatOpens: Record<Role, string> = {
  primary: 'a Snapshot, or options with a store: Primary.open({ store })',
  replica: 'a Snapshot (Replica.follow(store) opens one from a store)',
}

/** @internal Checks of all options of `Primary.open`, and of `Replica.open`: each can become the other. */
export const openChecks = {
  path: optional(checkPath),
  readers: withDefault(checkPositiveInteger, Math.min(readersMax, Math.max(1, availableParallelism() - 1))),
  safeIntegers: withDefault(checkBoolean, false),
  busyTimeoutMs: withDefault(checkTimeoutMs, busyTimeoutMsDefault),
  idleTimeoutMs: withDefault(checkTimeoutMs, idleTimeoutMsDefault),
  closeTimeoutMs: withDefault(checkTimeoutMs, closeTimeoutMsDefault),
  unsavedBytesMax: withDefault(checkPositiveInteger, unsavedBytesMaxDefault),
  subscriberBytesMax: withDefault(checkPositiveInteger, subscriberBytesMaxDefault),
  requestsMax: withDefault(checkPositiveInteger, requestsMaxDefault),
  spin: optional(checkBoolean),
  requestBytesMax: withDefault(checkPositiveInteger, requestBytesMaxDefault),
  procedures: optional(checkModuleUrl),
}

/** The options of an opening, checked, with defaults. */
export type OpenSettings = ReturnType<typeof checkOptions<typeof openChecks>>

export class OpenDatabase {
  readonly thread: ActorThread
  readonly readers: ReaderPool
  readonly cancellations: Cancellations
  readonly path: string
  readonly pageSize: number
  /** To open another one in its place. */
  readonly options: OpenSettings
  readonly #files: OpenFiles
  readonly #connectionId: number
  #closing: Promise<void> | undefined

  private constructor(
    thread: ActorThread,
    readers: ReaderPool,
    cancellations: Cancellations,
    files: OpenFiles,
    { pageSize, connectionId }: OpenReply,
    options: OpenSettings,
  ) {
    this.thread = thread
    this.readers = readers
    this.cancellations = cancellations
    this.#files = files
    this.path = files.path
    this.pageSize = pageSize
    this.#connectionId = connectionId
    this.options = options
  }

  /** Opens the database in a thread of its own. On any error nothing is left behind. */
  static async open(
    role: Role,
    snapshot: Snapshot,
    logs: readonly Log[],
    options: PrimaryOptions | OpenSettings | undefined,
  ): Promise<{ database: OpenDatabase; position: Position }> {
    const method = role === 'primary' ? 'Primary.open' : 'Replica.open'
    if (!(snapshot instanceof Snapshot)) throw wrong('snapshot', whatOpens[role], snapshot)
    if (!Array.isArray(logs)) throw wrong('logs', 'an array of logs', logs)
    const list = logs.map((log: unknown, index) => checkInstance(log, Log, `logs[${index}]`))
    const checked = checkOptions(options, openChecks, method)
    const path = checked.path ?? (await temporaryPath('.sqlite'))
    const { safeIntegers, busyTimeoutMs, idleTimeoutMs } = checked
    const logPathPrefix = await temporaryPath('.log-')
    const cancellations = new Cancellations()
    const files = new OpenFiles(path, checked.path === undefined, logPathPrefix)
    const toReaders = new MessageChannel()
    const thread = new ActorThread({ runsForeignCode: checked.procedures !== undefined })
    try {
      const opened = await snapshot.use((snapshotFile) =>
        withLogFiles(list, (logFiles) =>
          thread.callWith([toReaders.port2], 'open', {
            role,
            snapshot: snapshotFile,
            logs: logFiles,
            path,
            keepFiles: !files.isTemporary,
            logPathPrefix,
            safeIntegers,
            busyTimeoutMs,
            idleTimeoutMs,
            unsavedBytesMax: checked.unsavedBytesMax,
            subscriberBytesMax: checked.subscriberBytesMax,
            proceduresUrl: checked.procedures?.href,
            cancelTable: cancellations.table.buffer,
            doorbell: thread.doorbell,
            polling: pollingOf(checked.spin),
            readers: toReaders.port2,
          }),
        ),
      )
      const readers = new ReaderPool(
        { path, safeIntegers, idleTimeoutMs },
        cancellations,
        checked.readers,
        toReaders.port1,
      )
      const kept = { ...checked, path: files.isTemporary ? undefined : path }
      const database = new OpenDatabase(thread, readers, cancellations, files, opened, kept)
      return { database, position: opened.position }
    } catch (error) {
      toReaders.port1.close()
      // Without procedures nothing runs there that could take its time.
      if (checked.procedures === undefined) await thread.close().catch(() => {})
      await thread.terminate()
      await files.remove()
      throw error
    }
  }

  get closeTimeoutMs(): number {
    return this.options.closeTimeoutMs
  }

  /** As of the last committed or applied frame. Throws ERR_IO, ERR_CLOSED. */
  async snapshot(path: string): Promise<Snapshot> {
    const unfinishedPath = besides(path)
    try {
      const file = await this.thread.call('snapshot', path, unfinishedPath)
      return Snapshot.fromFile(file, { temporary: false })
    } catch (error) {
      // A thread that was ended has left it there.
      await removeTemporaryFile(unfinishedPath)
      throw error
    }
  }

  /** Stops readers, closes the database in its thread, leaves the thread, removes temporary files. */
  close(reason: MylibsqlError): Promise<void> {
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  async #close(reason: MylibsqlError): Promise<void> {
    this.cancellations.table.close()
    await this.readers.close(reason)
    const closed = this.thread.close()
    try {
      await this.#unlessLate(closed)
    } catch (error) {
      // A thread that is gone has nothing left to close.
      if (!(error instanceof MylibsqlError)) throw error
      if (error.code !== 'ERR_CLOSED' && error.code !== 'ERR_WORKER_EXITED') throw error
    } finally {
      await this.thread.terminate()
      await this.#files.remove()
    }
  }

  /** Waits for so long, interrupts what runs, and waits for as long again. */
  async #unlessLate(closed: Promise<void>): Promise<void> {
    const isOpen = Symbol('open')
    const late = new AbortController()
    const wait = (ms: number) => delay(ms, isOpen, { signal: late.signal })
    let interrupts: ReturnType<typeof interruptRepeatedly> | undefined
    try {
      if ((await Promise.race([closed, wait(this.closeTimeoutMs)])) !== isOpen) return
      // Not before: an interrupt would also end the last fold of a file that is kept.
      interrupts = interruptRepeatedly(() => [this.#connectionId])
      await Promise.race([closed, interrupts.begun])
      // A thread that is ended inside SQLite takes the process with it: there has to be time to come out.
      await Promise.race([closed, wait(Math.max(this.closeTimeoutMs, interruptedMsMin))])
    } finally {
      interrupts?.stop()
      late.abort()
    }
  }
}

/** The files of an open database. Its thread removes them at the end, unless it dies before that. */
class OpenFiles {
  readonly path: string
  readonly isTemporary: boolean
  readonly #logPathPrefix: string

  constructor(path: string, isTemporary: boolean, logPathPrefix: string) {
    this.path = path
    this.isTemporary = isTemporary
    this.#logPathPrefix = logPathPrefix
  }

  /** Removes those that are temporary, as far as they are still there. */
  async remove(): Promise<void> {
    const database = this.isTemporary ? ['', '-wal', '-shm'].map((suffix) => `${this.path}${suffix}`) : []
    for (const path of [...database, openLogPath(this.#logPathPrefix)]) await removeTemporaryFile(path)
  }
}

/** Polling takes the core that the caller needs when there is only one. */
function pollingOf(spin: boolean | undefined): Polling {
  if (spin !== undefined) return spin ? 'always' : 'never'
  return availableParallelism() > 1 ? 'adaptive' : 'never'
}

function checkModuleUrl(value: unknown, name: string): URL {
  if (!(value instanceof URL)) throw wrong(name, "a URL: new URL('./procedures.js', import.meta.url)", value)
  return value
}
