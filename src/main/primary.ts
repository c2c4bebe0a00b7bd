import { MylibsqlError } from '../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore } from '../protocol/frame.js'
import type { RunResult, SqlParams, Statement } from '../protocol/values.js'
import type { FromPrimary, Position, ResultsMessage } from '../protocol/wire.js'
import type { Ack } from './ack.js'
import { reviveError } from './actor-thread.js'
import { checkFunction, checkPath, checkString } from './arguments.js'
import type { CallOptions } from './cancellations.js'
import type { SaveLog } from './checkpoints.js'
import type { Connection } from './connection.js'
import { FrameFeed, type Frames, type FramesOptions } from './frames.js'
import type { Log } from './log.js'
import { OpenDatabase, type PrimaryOptions } from './open-database.js'
import { checkArguments, checkParams, checkSql } from './parameters.js'
import type { ArgumentsOf, ProcedureModule, ProcedureName, ResultOf } from './procedure-types.js'
import { Queryable } from './queryable.js'
import type { Replica } from './replica.js'
import { isRoleChange, makeReplica, registerPrimary, roleChanged } from './role-change.js'
import { Saving } from './saving.js'
import type { Snapshot } from './snapshot.js'
import { StatementRuns } from './statement-runs.js'
import { type PrimaryStats, primaryStats } from './stats.js'
import type { ArchivedPrimaryOptions } from './stores/archive-options.js'
import type { Archive } from './stores/archiver.js'
import { isArchived, openArchived, openReplica } from './stores/open-archived.js'
import { Writes } from './writes.js'

/**
 * A database that is written to. All writes run in one worker thread, in the order in which they are made; the
 * calling thread is never blocked. What is written exists in the working file only until it is saved: by
 * `checkpoint`, by acknowledging frames, or by its store.
 *
 * @example
 * const primary = await Primary.open(snapshot)
 * const ack = await primary.run('INSERT INTO users (name) VALUES (?)', ['Alice'])
 * await primary.checkpoint((log) => log.copyTo(`logs/${log.startFrameNo}.log`))
 * await ack.durable()
 * await primary.close()
 */
export class Primary<P extends ProcedureModule = ProcedureModule> extends Queryable {
  readonly #database: OpenDatabase
  readonly #writes: Writes
  readonly #saving: Saving
  readonly #feed: FrameFeed
  #lastFrameNo: FrameNo | undefined
  #ended: MylibsqlError | undefined
  #closing: Promise<void> | undefined

  private constructor(database: OpenDatabase, position: Position, archive?: Archive) {
    super(database, (method) => this.#check(method))
    const { thread } = database
    this.#database = database
    this.#saving = new Saving(database, position, archive, {
      flushSoon: (then) => this.#writes.requests.flushSoon(then),
      snapshot: (path) => this.snapshot(path),
      fenced: (error) => this.#end(error),
    })
    this.#lastFrameNo = lastFrameNoBefore(position.nextFrameNo)
    this.#writes = new Writes(database, this.#saving)
    const { subscriberBytesMax } = database.options
    this.#feed = new FrameFeed(thread, this.#writes.requests, this.#saving.acknowledged, subscriberBytesMax)
    thread.attach<FromPrimary>(
      (message) => this.#receive(message),
      (error) => this.#end(error),
    )
  }

  static {
    registerPrimary((database, position, archive) => new Primary(database, position, archive))
  }

  /**
   * Opens a primary from a snapshot and the logs behind it, in a working file of its own.
   *
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT when they do not fit together; ERR_LOCKED,
   * ERR_PATH_EXISTS, ERR_IO for the working file; ERR_PROCEDURE when the module cannot be imported
   */
  static async open<P extends ProcedureModule = ProcedureModule>(
    snapshot: Snapshot,
    logs?: readonly Log[],
    options?: PrimaryOptions,
  ): Promise<Primary<P>>
  /**
   * Opens a primary from its store, which an older primary may still believe to be its own: from here on only this one
   * is acknowledged. Everything that is written goes to the store by itself; `ack.durable()` means that it is there.
   *
   * @example const primary = await Primary.open({ store: new FileStore('/var/lib/app') })
   * @throws ERR_NOT_FOUND for a store without a snapshot: `store.putSnapshot` begins a history; ERR_STORE; as above
   */
  static async open<P extends ProcedureModule = ProcedureModule>(
    options: ArchivedPrimaryOptions,
  ): Promise<Primary<P>>
  static async open<P extends ProcedureModule>(
    source: Snapshot | ArchivedPrimaryOptions,
    logs: readonly Log[] = [],
    options?: PrimaryOptions,
  ): Promise<Primary<P>> {
    const { database, position, archive } = isArchived(source, logs, options)
      ? await openArchived(source)
      : { archive: undefined, ...(await OpenDatabase.open('primary', source, logs, options)) }
    return new Primary<P>(database, position, archive)
  }

  /** The working file. Other programs may read it while it is open; those that want to write get SQLITE_BUSY. */
  get path(): string {
    return this.#database.path
  }

  /** Bytes. */
  get pageSize(): number {
    return this.#database.pageSize
  }

  /** Last frame that is known to be committed; undefined before the first one. */
  get lastFrameNo(): FrameNo | undefined {
    return this.#lastFrameNo
  }

  /** Last frame that is saved; undefined when none is. */
  get savedFrameNo(): FrameNo | undefined {
    return this.#saving.savedFrameNo
  }

  /**
   * Runs one statement, atomically. Resolves when it is executed. A statement that returns rows has them in `rows`.
   *
   * @throws SqliteError, ERR_REFUSED (transaction control, what would break replication), ERR_BUSY, ERR_CLOSED,
   * ERR_WORKER_EXITED; TypeError for parameters that SQLite does not know
   */
  run(sql: string, params?: SqlParams, options?: CallOptions): Promise<Ack<RunResult>> {
    // Not async: with a million calls waiting, each promise less counts.
    try {
      this.#check('run')
      return this.#writes.run(checkSql(sql, 'sql'), checkParams(params, 'params', sql), options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Runs statements as one transaction: all or none. @throws as run */
  async batch(statements: readonly Statement[], options?: CallOptions): Promise<Ack<RunResult[]>> {
    this.#check('batch')
    return this.#writes.batch(StatementRuns.of(statements), options)
  }

  /**
   * Runs a procedure inside the worker, as one transaction: a synchronous function `(connection, ...args) => result`
   * exported by the module that `open` was given. Run again when another call of its group fails: what it does besides the
   * database, it may do more than once.
   *
   * @example
   * const options = { procedures: new URL('./procedures.js', import.meta.url) }
   * const primary = await Primary.open<typeof import('./procedures.js')>(snapshot, [], options)
   * await primary.call('transfer', 1, 2, 50)
   * @throws what the procedure throws; ERR_PROCEDURE, ERR_NOT_CLONEABLE
   */
  call<K extends ProcedureName<P>>(name: K, ...args: ArgumentsOf<P[K]>): Promise<Ack<ResultOf<P[K]>>> {
    return this.#call(undefined, name, args)
  }

  /** The same with a time limit or a signal: `callWith({ timeoutMs: 100 }, 'transfer', 1, 2, 50)`. */
  callWith<K extends ProcedureName<P>>(
    options: CallOptions,
    name: K,
    ...args: ArgumentsOf<P[K]>
  ): Promise<Ack<ResultOf<P[K]>>> {
    return this.#call(options, name, args)
  }

  /**
   * Resolves at once while fewer than `requestsMax` calls, with fewer than `requestBytesMax` bytes of parameters, wait;
   * otherwise once half of them are done. Awaited now and then, it slows down a producer that does not await its calls,
   * and bounds its memory.
   */
  async ready(): Promise<void> {
    this.#check()
    await this.#writes.requests.ready()
  }

  /**
   * Lends the writing connection to `work`; nobody else writes meanwhile. Each statement commits by itself unless
   * `work` begins a transaction. One that it leaves open is rolled back, and this rejects with
   * ERR_TRANSACTION_OPEN.
   *
   * @throws what `work` throws; ERR_TIMEOUT when it makes no statement for `idleTimeoutMs`; as run
   */
  withConnection<T>(work: (connection: Connection) => Promise<T>, options?: CallOptions): Promise<Ack<T>> {
    return this.#lend('withConnection', work, options)
  }

  /** The same in one transaction, which commits when `work` resolves and rolls back when it rejects. */
  transaction<T>(work: (connection: Connection) => Promise<T>, options?: CallOptions): Promise<Ack<T>> {
    return this.#lend('transaction', work, options)
  }

  /**
   * Live stream of the frames that are committed from now on.
   *
   * @throws ERR_CLOSED
   */
  captureFrames(options?: FramesOptions): Frames {
    this.#check('captureFrames')
    return this.#feed.capture(options)
  }

  /**
   * Seals the log of all frames since the last checkpoint and hands it to `saveLog`. When that resolves, the writes
   * in it are durable. Writers go on meanwhile. Calls are served one after the other.
   *
   * When `saveLog` fails, or what it began to do with the log without awaiting it, so does this call, and nothing is lost:
   * the next checkpoint hands over the same log first, then another one with what was written since. The log is in
   * memory or, if it is larger, in a temporary file: `close()` it once it is saved, or it goes when it is garbage
   * collected.
   *
   * A primary with a store takes no `saveLog`: it stores at once what it would store by itself later.
   *
   * @example await primary.checkpoint((log) => log.copyTo(`logs/${log.startFrameNo}.log`))
   * @returns the last frame that was saved; undefined, without a call of `saveLog`, when there was nothing new
   * @throws what `saveLog` throws; ERR_REENTRANT when called from within `saveLog`; ERR_IO; ERR_CLOSED; with a store:
   * ERR_FENCED, and ERR_REFUSED for a `saveLog`
   */
  async checkpoint(saveLog?: SaveLog): Promise<FrameNo | undefined> {
    this.#check()
    return this.#saving.checkpoint(saveLog)
  }

  /**
   * Writes a snapshot of the database as of the last committed frame, saved or not. Writers go on meanwhile. The file
   * is there complete or not at all, and synced.
   *
   * @throws ERR_IO, ERR_CLOSED
   */
  async snapshot(path: string | URL): Promise<Snapshot> {
    this.#check()
    return this.#database.snapshot(checkPath(path, 'path'))
  }

  /**
   * Makes a replica of this primary, which keeps its thread and its file. This object is closed by it. With a store,
   * what is not saved is stored before, and the replica follows the store. Once fenced, it is opened anew from there,
   * without what it had not saved.
   *
   * @throws ERR_UNSAVED_WRITES while writes are not saved: the primary stays as it was
   */
  async intoReplica(): Promise<Replica<P>> {
    const { archiver } = this.#saving
    if (archiver !== undefined && this.#ended?.code === 'ERR_FENCED') {
      await this.close()
      return (await openReplica(archiver.archive.store, this.#database.options)) as Replica<P>
    }
    this.#check('intoReplica')
    await this.#writes.requests.settled()
    await archiver?.flush(this.#database.closeTimeoutMs)
    this.#check()
    const position = await this.#database.thread.call('becomeReplica', (this.savedFrameNo ?? -1) + 1)
    this.#check()
    this.#end(roleChanged('primary', 'replica'))
    await archiver?.endTail(this.#database.closeTimeoutMs)
    return makeReplica(this.#database, position, archiver?.archive.store) as Replica<P>
  }

  /** Counts and sizes, as of now; while the thread is busy with something long, what it counts is as of before (`ageMs`). */
  async stats(): Promise<PrimaryStats> {
    if (this.#ended?.code !== 'ERR_FENCED') this.#check()
    const { savedFrameNo, saveUs, archiver } = this.#saving
    const known = { savedFrameNo, saveUs, pendingRequestCount: this.#writes.requests.pendingCount }
    return primaryStats(await this.#database.stats(), known, archiver)
  }

  /**
   * Executes what was asked for before, then closes the database and leaves its threads. Writes that are not saved are
   * lost, and their `durable()` rejects with ERR_CLOSED: checkpoint first. With a store, they are stored first. A second
   * close waits for the first one, and ends as it does.
   *
   * @throws ERR_SAVE_PENDING when a saveLog was still running, or the store had not taken everything, after
   * `closeTimeoutMs`; ERR_FENCED when a newer primary has taken over meanwhile; everything is closed then too
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    // The database is another object's.
    if (isRoleChange(this.#ended)) return
    const closed = new MylibsqlError('ERR_CLOSED', 'The primary is closed')
    this.#ended ??= closed
    const isAnswering = await this.#writes.finish(closed)
    const unsaved = await this.#saving.settled(isAnswering)
    this.#finish(closed)
    await this.#database.close(closed, isAnswering)
    if (unsaved !== undefined) throw unsaved
  }

  #receive(message: FromPrimary): void {
    if (message instanceof ArrayBuffer) this.#feed.receive(message)
    else if ('kind' in message) this.#obey(message)
    else this.#noteCommitted(this.#writes.requests.receiveResults(message))
  }

  #obey(message: Exclude<FromPrimary, ArrayBuffer | ResultsMessage>): void {
    switch (message.kind) {
      case 'leased':
        this.#writes.requests.receiveLease()
        break
      case 'leaseExpired':
        this.#writes.sessions.expired(message.leaseId, reviveError(message.error))
        break
      case 'sealed':
        // It may come before the answers to the writes that are in it.
        this.#noteCommitted(this.#saving.sealed(message))
        break
      case 'failed':
        this.#end(reviveError(message.error) as MylibsqlError)
        break
      default:
        message satisfies never
    }
  }

  async #call<T>(options: CallOptions | undefined, name: string, args: readonly unknown[]): Promise<Ack<T>> {
    this.#check('call')
    return this.#writes.call(checkString(name, 'name'), checkArguments(name, args), options)
  }

  async #lend<T>(
    method: 'withConnection' | 'transaction',
    work: (connection: Connection) => Promise<T>,
    options: CallOptions | undefined,
  ): Promise<Ack<T>> {
    this.#check(method)
    checkFunction(work, 'work')
    const lease = this.#writes.lend(method, work, options)
    this.#saving.archiver?.during(lease)
    const ack = await lease
    this.#noteCommitted(ack.frameNo)
    return ack
  }

  #noteCommitted(frameNo: FrameNo | undefined): void {
    if (frameNo === undefined || frameNo <= (this.#lastFrameNo ?? -1)) return
    this.#lastFrameNo = frameNo
    this.#saving.archiver?.committed(frameNo)
  }

  /** Throws when closed, and when `method` would wait for the connection that its own caller holds. */
  #check(method = ''): void {
    if (this.#ended !== undefined) throw this.#ended
    if (writes.has(method)) this.#writes.sessions.refuseInside(method)
  }

  /** The thread has ended, or has another role: everything that waits is rejected. */
  #end(error: MylibsqlError): void {
    this.#ended ??= error
    this.#finish(error)
    if (error.code === 'ERR_WORKER_EXITED') void this.#database.close(error).catch(() => {})
  }

  #finish(error: MylibsqlError): void {
    this.#writes.close(error)
    this.#saving.close(error)
    this.#feed.close(error.code === 'ERR_CLOSED' ? undefined : error)
  }
}

const writes = new Set<unknown>(['run', 'batch', 'call', 'withConnection', 'transaction', 'intoReplica'])
