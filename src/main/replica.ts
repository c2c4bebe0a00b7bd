import { MylibsqlError } from '../protocol/errors.js'
import { FrameBatch, type FrameNo } from '../protocol/frame.js'
import type { FromReplica, Position } from '../protocol/wire.js'
import { AppliedFrames } from './applied-frames.js'
import {
  checkFrameNo,
  checkInstance,
  checkOptions,
  checkPath,
  checkSignal,
  checkTimeoutMs,
  optional,
  withDefault,
} from './arguments.js'
import type { CallOptions } from './cancellations.js'
import type { Connection } from './connection.js'
import { Log } from './log.js'
import { OpenDatabase, openChecks } from './open-database.js'
import type { Primary } from './primary.js'
import type { ProcedureModule } from './procedure-types.js'
import { Queryable } from './queryable.js'
import type { FollowOptions, ReplicaOptions, WaitForOptions } from './replica-options.js'
import { isRoleChange, makePrimary, registerReplica, roleChanged } from './role-change.js'
import { Snapshot } from './snapshot.js'
import { type ReplicaStats, replicaStats } from './stats.js'
import { type ArchiveOptions, checkStore } from './stores/archive-options.js'
import { Follower } from './stores/follower.js'
import { takeOver } from './stores/promote.js'
import { restoreHistory } from './stores/restored-history.js'
import type { Store } from './stores/store.js'

const waitForTimeoutMsDefault = 30_000
const pollMsDefault = 10_000

const checkSnapshot = (value: unknown, name: string) => checkInstance(value, Snapshot, name)

/**
 * A read-only copy of a database, fed with logs or with live frames. Queries do not wait for what is applied: each
 * sees the state as of whole transactions when it began.
 *
 * @example
 * const replica = await Replica.open(await Snapshot.open('base.db'), [await Log.open('0.log')])
 * await replica.get('SELECT count(*) AS n FROM users')
 * await replica.replicate(await Log.open('1.log'))
 */
export class Replica<P extends ProcedureModule = ProcedureModule> extends Queryable {
  readonly #database: OpenDatabase
  readonly #applied: AppliedFrames
  #follower: Follower | undefined
  #promoting: Promise<Primary<P>> | undefined
  #ended: MylibsqlError | undefined
  #closing: Promise<void> | undefined

  private constructor(database: OpenDatabase, position: Position) {
    super(database, () => this.#check())
    this.#database = database
    this.#applied = new AppliedFrames(database, position)
    database.thread.attach(
      (message: FromReplica) => this.#applied.receive(message),
      (error) => this.#end(error),
    )
  }

  static {
    registerReplica((database, position, store, newest) => {
      const replica = new Replica(database, position)
      if (store !== undefined)
        replica.#follow(new Follower(store, replica.#applied, { pollMs: pollMsDefault, newest }))
      return replica
    })
  }

  /**
   * Opens a replica from a snapshot and the logs behind it, in a working file of its own.
   *
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT when they do not fit together; ERR_LOCKED,
   * ERR_PATH_EXISTS, ERR_IO for the working file
   */
  static async open<P extends ProcedureModule = ProcedureModule>(
    snapshot: Snapshot,
    logs: readonly Log[] = [],
    options?: ReplicaOptions,
  ): Promise<Replica<P>> {
    const { database, position } = await OpenDatabase.open('replica', snapshot, logs, options)
    return new Replica(database, position)
  }

  /**
   * Opens a replica from the newest snapshot of a store, applies the logs behind it and then those that come, until it
   * is closed. Resolves when it has what was there at first. `waitFor(ack.frameNo)` then gives read-your-writes across
   * machines; `stats().follow` tells how far it is behind.
   *
   * While the store cannot be reached the replica goes on answering and tries again. When logs that it needs were
   * pruned, or are damaged, it becomes what a newer snapshot holds, in one step for its readers. A store with another
   * history (ERR_LINEAGE) ends the following: nothing of it is applied, the replica stays readable, and `waitFor`
   * rejects.
   *
   * @example
   * const replica = await Replica.follow(new FileStore('/var/lib/app/history'))
   * await replica.waitFor(frameNo)
   * @throws ERR_NOT_FOUND when the store has no usable snapshot; ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT,
   * each naming the object; ERR_STORE; as open
   */
  static async follow<P extends ProcedureModule = ProcedureModule>(
    store: Store,
    options?: FollowOptions,
  ): Promise<Replica<P>> {
    checkStore(store, 'store')
    const known = {
      ...openChecks,
      from: optional(checkSnapshot),
      pollMs: withDefault(checkTimeoutMs, pollMsDefault),
    }
    const { from, pollMs, ...settings } = checkOptions(options, known, 'Replica.follow')
    const opened =
      from === undefined
        ? await OpenDatabase.openRestored('replica', settings, (path) => restoreHistory(store, path))
        : { ...(await OpenDatabase.open('replica', from, [], settings)), restored: undefined }
    const replica = new Replica<P>(opened.database, opened.position)
    const follower = new Follower(store, replica.#applied, { pollMs, newest: opened.restored?.newest })
    replica.#follower = follower
    try {
      await follower.catchUp()
    } catch (error) {
      await replica.close()
      throw error
    }
    follower.start()
    return replica
  }

  /** The working file. Other programs may read it while it is open. */
  get path(): string {
    return this.#database.path
  }

  /** Bytes. */
  get pageSize(): number {
    return this.#database.pageSize
  }

  /** Last frame that was applied; undefined before the first one. */
  get lastFrameNo(): FrameNo | undefined {
    return this.#applied.lastFrameNo
  }

  /** The same as readTransaction. */
  withConnection<T>(work: (connection: Connection) => Promise<T>, options?: CallOptions): Promise<T> {
    return this.readTransaction(work, options)
  }

  /**
   * Applies a log: all of it becomes visible at once. What was applied already is passed over. Every byte is checked
   * before; on an error nothing was applied.
   *
   * @returns the last frame applied
   * @throws ERR_LOG_GAP when the log starts too late, ERR_LINEAGE when it continues another history, ERR_CORRUPT,
   * ERR_PAGE_SIZE, ERR_IO, ERR_CLOSED
   */
  async replicate(log: Log): Promise<FrameNo | undefined> {
    this.#check()
    return this.#applied.apply(checkInstance(log, Log, 'log'))
  }

  /** The same for a batch of live frames. */
  async replicateFrames(batch: FrameBatch): Promise<FrameNo | undefined> {
    this.#check()
    return this.#applied.applyFrames(checkInstance(batch, FrameBatch, 'batch'))
  }

  /**
   * Resolves once the frame is applied: with the `frameNo` of an Ack it gives read-your-writes. Undefined resolves at once:
   * an Ack has it when nothing was ever written, and a forgotten `await` of `primary.run()` gives it too.
   *
   * @throws the signal's reason, ERR_TIMEOUT, ERR_CLOSED; what has ended the following of a store, such as ERR_LINEAGE
   */
  async waitFor(frameNo: FrameNo | undefined, options?: WaitForOptions): Promise<void> {
    this.#check()
    const known = {
      signal: optional(checkSignal),
      timeoutMs: withDefault(checkTimeoutMs, waitForTimeoutMsDefault),
    }
    const { signal, timeoutMs } = checkOptions(options, known, 'waitFor')
    signal?.throwIfAborted()
    if (frameNo !== undefined) await this.#applied.wait(checkFrameNo(frameNo, 'frameNo'), signal, timeoutMs)
  }

  /**
   * Writes a snapshot of the replica as of the last applied frame. The file is there complete or not at all.
   *
   * @throws ERR_IO, ERR_CLOSED
   */
  async snapshot(path: string | URL): Promise<Snapshot> {
    this.#check()
    return this.#database.snapshot(checkPath(path, 'path'))
  }

  /**
   * Makes a primary of this replica, which keeps its thread and file. This object is closed by it. Nothing checks whether
   * another primary still writes: the application has to know. It has no store, even if the replica followed one: `promote`.
   */
  async intoPrimary(): Promise<Primary<P>> {
    this.#check()
    await this.#follower?.stop()
    const position = await this.#database.thread.call('becomePrimary')
    this.#check()
    this.#end(roleChanged('replica', 'primary'))
    return makePrimary(this.#database, position) as Primary<P>
  }

  /**
   * Takes over the store that this replica follows: claims the next epoch, which fences the primary before, applies what
   * that one was acknowledged, and goes on as the primary of the store, as `Primary.open({ store })` would, with the
   * thread and file that are open, and the limits and procedures that the replica was opened with. This object is closed
   * by it. When it fails, the replica goes on following; the primary before may be fenced all the same.
   *
   * @example const primary = await replica.promote({ checkpoint: { intervalMs: 10 } })
   * @throws ERR_REFUSED when it follows no store; ERR_STORE; as follow
   */
  promote(options?: ArchiveOptions): Promise<Primary<P>> {
    // One at a time: each claims an epoch, and would fence the other.
    this.#promoting ??= this.#promote(options).finally(() => {
      this.#promoting = undefined
    })
    return this.#promoting
  }

  /** Counts and sizes, as of now; while the thread is busy with something long, what it counts is as of before (`ageMs`). */
  async stats(): Promise<ReplicaStats> {
    this.#check()
    return replicaStats(await this.#database.stats(), this.#follower?.stats())
  }

  /** Closes the database and leaves its threads. Reads under way reject with ERR_CLOSED. A second close waits for the first one. */
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
    const closed = new MylibsqlError('ERR_CLOSED', 'The replica is closed')
    this.#end(closed)
    await this.#follower?.stop()
    await this.#database.close(closed)
  }

  #follow(follower: Follower): void {
    this.#applied.followed()
    this.#follower = follower
    follower.start()
  }

  async #promote(options: ArchiveOptions | undefined): Promise<Primary<P>> {
    this.#check()
    const follower = this.#follower
    if (follower === undefined) {
      const message = 'This replica follows no store: open it with Replica.follow, or use intoPrimary()'
      throw new MylibsqlError('ERR_REFUSED', message)
    }
    try {
      const archive = await takeOver(follower, options)
      this.#check()
      const position = await this.#database.thread.call('becomePrimary')
      this.#check()
      this.#end(roleChanged('replica', 'primary'))
      return makePrimary(this.#database, position, archive) as Primary<P>
    } catch (error) {
      if (follower.isStopped && this.#ended === undefined) this.#follow(follower.renewed())
      throw error
    }
  }

  #check(): void {
    if (this.#ended !== undefined) throw this.#ended
  }

  #end(error: MylibsqlError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#applied.end(error)
    if (error.code === 'ERR_WORKER_EXITED') void this.#database.close(error).catch(() => {})
  }
}
