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
import { besides } from '../protocol/temporary.js'
import type { OpenReply, OpenSource, Polling, Position, RestoredFile, Role } from '../protocol/wire.js'
import { ActorThread } from './actor-thread.js'
import {
  checkBoolean,
  checkInstance,
  checkOptions,
  checkPositiveInteger,
  checkTimeoutMs,
  checkWorkingPath,
  optional,
  withDefault,
  wrong,
} from './arguments.js'
import { Cancellations, interruptRepeatedly } from './cancellations.js'
import { type KnownStats, LastStats } from './last-stats.js'
import { Log } from './log.js'
import { withLogFiles } from './log-files.js'
import { ReaderPool } from './reader-pool.js'
import { Snapshot } from './snapshot.js'
import { removeTemporaryFile } from './temporary-files.js'
import { WorkingFile } from './working-file.js'

export interface OpenOptions {
  /**
   * Where the working file is kept. Default: a temporary file, removed on close. A file that is left there by an
   * earlier opening is replaced, once a store has given what replaces it; one that mylibsql did not make is never
   * touched (ERR_PATH_EXISTS).
   */
  path?: string | URL | undefined
  /**
   * Reader threads, started with the first read. Default: one for each core but one, from 2 to 4: behind a slow query of one
   * thread nothing waits that another one can do.
   */
  readers?: number | undefined
  /**
   * Module whose default export `(connection) => void` sets up each connection before it is used, the one that writes and those
   * of readers: functions, collations, extensions, pragmas. `new URL('./setup.js', import.meta.url)`.
   */
  setup?: URL | undefined
  /** Integers as bigint, as in better-sqlite3. Default false. */
  safeIntegers?: boolean | undefined
  /** How long a write waits while a limit holds writers back, and SQLite for a lock. Default 30,000 ms. */
  busyTimeoutMs?: number | undefined
  /** Longest pause between two statements of an interactive connection or of an iteration. Default 30,000 ms. */
  idleTimeoutMs?: number | undefined
  /**
   * How long close() waits for what is under way before it is interrupted, and after that once more (2 s at least). Default
   * 5,000 ms.
   */
  closeTimeoutMs?: number | undefined
}

export interface PrimaryOptions extends OpenOptions {
  /** Bytes of frames in no saved log yet at which writers are held back. Default 1 GiB. */
  unsavedBytesMax?: number | undefined
  /** Bytes of frames that a subscriber has not taken at which writers are held back. Default 64 MiB. */
  subscriberBytesMax?: number | undefined
  /** Calls that may wait for the writer before `ready()` waits. Default 65,536. */
  requestsMax?: number | undefined
  /** Bytes of their parameters, likewise. Default 64 MiB. */
  requestBytesMax?: number | undefined
  /**
   * Low latency: the writer's thread polls for a few microseconds before it sleeps (true), or never does (false).
   * Default: on more than one core it polls while the next write has lately come that soon, which saves more processor
   * time than it costs.
   */
  spin?: boolean | undefined
  /** Module of procedures for `call`: `new URL('./procedures.js', import.meta.url)`. */
  procedures?: URL | undefined
}

const readersDefault = Math.min(4, Math.max(2, availableParallelism() - 1))
/** In which a thread whose statement was interrupted rolls its transaction back, and closes the database. */
const interruptedMsMin = 2_000
const whatOpens: Record<Role, string> = {
  primary: 'a Snapshot, or options with a store: Primary.open({ store })',
  replica: 'a Snapshot (Replica.follow(store) opens one from a store)',
}

/** @internal Checks of all options of `Primary.open`, and of `Replica.open`: each can become the other. */
export const openChecks = {
  path: optional(checkWorkingPath),
  readers: withDefault(checkPositiveInteger, readersDefault),
  setup: optional(checkModuleUrl),
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

interface Opened {
  readonly database: OpenDatabase
  readonly position: Position
}

export class OpenDatabase {
  readonly thread: ActorThread
  readonly readers: ReaderPool
  readonly cancellations: Cancellations
  readonly path: string
  readonly pageSize: number
  /** To open another one in its place. */
  readonly options: OpenSettings
  readonly #file: WorkingFile
  readonly #connectionId: number
  readonly #stats: LastStats
  #closing: Promise<void> | undefined

  private constructor(
    thread: ActorThread,
    readers: ReaderPool,
    cancellations: Cancellations,
    file: WorkingFile,
    { pageSize, connectionId, stats }: OpenReply,
    options: OpenSettings,
  ) {
    this.thread = thread
    this.readers = readers
    this.cancellations = cancellations
    this.#file = file
    this.path = file.path
    this.pageSize = pageSize
    this.#connectionId = connectionId
    this.#stats = new LastStats(() => thread.call('stats'), stats)
    this.options = options
  }

  /** Opens the database in a thread of its own. On any error nothing is left behind. */
  static async open(
    role: Role,
    snapshot: Snapshot,
    logs: readonly Log[],
    options: PrimaryOptions | OpenSettings | undefined,
  ): Promise<Opened> {
    const method = role === 'primary' ? 'Primary.open' : 'Replica.open'
    if (!(snapshot instanceof Snapshot)) throw wrong('snapshot', whatOpens[role], snapshot)
    if (!Array.isArray(logs)) throw wrong('logs', 'an array of logs', logs)
    const list = logs.map((log: unknown, index) => checkInstance(log, Log, `logs[${index}]`))
    const settings = checkOptions(options, openChecks, method)
    const file = await WorkingFile.take(settings.path)
    return OpenDatabase.#open(role, file, settings, (start) =>
      snapshot.use((snapshotFile) =>
        withLogFiles(list, (logFiles) => start({ snapshot: snapshotFile, logs: logFiles })),
      ),
    )
  }

  /** The same with the file that `restore` makes at the path that it is given, which is nobody else's by then. */
  static async openRestored<T extends { readonly file: RestoredFile }>(
    role: Role,
    settings: OpenSettings,
    restore: (path: string) => Promise<T>,
  ): Promise<Opened & { readonly restored: T }> {
    const file = await WorkingFile.take(settings.path)
    let restored: T
    try {
      restored = await restore(file.restoringPath)
    } catch (error) {
      await file.release()
      throw error
    }
    const opened = await OpenDatabase.#open(role, file, settings, (start) =>
      start({ restored: restored.file }),
    )
    return { ...opened, restored }
  }

  /** The file is released when it throws. */
  static async #open(
    role: Role,
    file: WorkingFile,
    settings: OpenSettings,
    withSource: (start: (source: OpenSource) => Promise<OpenReply>) => Promise<OpenReply>,
  ): Promise<Opened> {
    const { safeIntegers, busyTimeoutMs, idleTimeoutMs, unsavedBytesMax, subscriberBytesMax } = settings
    const { path, logPathPrefix, isTemporary } = file
    const cancellations = new Cancellations()
    const toReaders = new MessageChannel()
    let thread: ActorThread | undefined
    try {
      const started = new ActorThread({ runsForeignCode: runsForeignCode(settings) })
      thread = started
      const opened = await withSource((source) =>
        started.callWith([toReaders.port2], 'open', {
          role,
          source,
          path,
          keepFiles: !isTemporary,
          logPathPrefix,
          safeIntegers,
          busyTimeoutMs,
          idleTimeoutMs,
          unsavedBytesMax,
          subscriberBytesMax,
          setupUrl: settings.setup?.href,
          proceduresUrl: settings.procedures?.href,
          cancelTable: cancellations.table.buffer,
          doorbell: started.doorbell,
          polling: pollingOf(settings.spin),
          readers: toReaders.port2,
        }),
      )
      const readers = new ReaderPool(
        { path, safeIntegers, idleTimeoutMs, setupUrl: settings.setup?.href },
        cancellations,
        settings.readers,
        toReaders.port1,
      )
      const kept = { ...settings, path: isTemporary ? undefined : path }
      const database = new OpenDatabase(started, readers, cancellations, file, opened, kept)
      return { database, position: opened.position }
    } catch (error) {
      toReaders.port1.close()
      // Without it nothing runs there that could take its time.
      if (!runsForeignCode(settings)) await thread?.close().catch(() => {})
      await thread?.terminate()
      await file.release()
      throw error
    }
  }

  get closeTimeoutMs(): number {
    return this.options.closeTimeoutMs
  }

  /** What the thread counts. Throws ERR_CLOSED. */
  stats(): Promise<KnownStats> {
    return this.#stats.get()
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

  /** What has not begun never does, and what runs is interrupted. False: the thread does not answer all the same. */
  async interrupt(): Promise<boolean> {
    this.cancellations.table.close()
    const interrupts = interruptRepeatedly(() => [this.#connectionId])
    const late = new AbortController()
    // One that has ended has nothing left to interrupt.
    const answered = this.thread.call('stats').then(
      () => true,
      () => true,
    )
    try {
      return await Promise.race([answered, delay(interruptedMsMin, false, { signal: late.signal })])
    } finally {
      interrupts.stop()
      late.abort()
    }
  }

  /** Stops readers, closes the database in its thread, leaves the thread, releases the file. */
  close(reason: MylibsqlError, isAnswering = true): Promise<void> {
    this.#closing ??= this.#close(reason, isAnswering)
    return this.#closing
  }

  async #close(reason: MylibsqlError, isAnswering: boolean): Promise<void> {
    this.cancellations.table.close()
    await this.readers.close(reason)
    const closed = this.thread.close()
    try {
      await this.#unlessLate(closed, isAnswering ? this.closeTimeoutMs : 0)
    } catch (error) {
      // A thread that is gone has nothing left to close.
      if (!(error instanceof MylibsqlError)) throw error
      if (error.code !== 'ERR_CLOSED' && error.code !== 'ERR_WORKER_EXITED') throw error
    } finally {
      await this.thread.terminate()
      await this.#file.release()
    }
  }

  /** Waits for so long, interrupts what runs, and waits for as long again, or for what a thread needs to come out of SQLite. */
  async #unlessLate(closed: Promise<void>, timeoutMs: number): Promise<void> {
    const isOpen = Symbol('open')
    const late = new AbortController()
    const wait = (ms: number) => delay(ms, isOpen, { signal: late.signal })
    let interrupts: ReturnType<typeof interruptRepeatedly> | undefined
    try {
      if ((await Promise.race([closed, wait(timeoutMs)])) !== isOpen) return
      // Not before: an interrupt would also end the last fold of a file that is kept.
      interrupts = interruptRepeatedly(() => [this.#connectionId])
      await Promise.race([closed, interrupts.begun])
      // A thread that is ended inside SQLite takes the process with it: there has to be time to come out.
      await Promise.race([closed, wait(Math.max(timeoutMs, interruptedMsMin))])
    } finally {
      interrupts?.stop()
      late.abort()
    }
  }
}

/** Polling takes the core that the caller needs when there is only one. */
function pollingOf(spin: boolean | undefined): Polling {
  if (spin !== undefined) return spin ? 'always' : 'never'
  return availableParallelism() > 1 ? 'adaptive' : 'never'
}

function runsForeignCode({ setup, procedures }: OpenSettings): boolean {
  return setup !== undefined || procedures !== undefined
}

function checkModuleUrl(value: unknown, name: string): URL {
  if (!(value instanceof URL)) throw wrong(name, "a URL: new URL('./module.js', import.meta.url)", value)
  return value
}
