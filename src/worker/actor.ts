/**
 * Entry point of an actor thread: one long task that owns one working database and plays one role at a time.
 * The task ends when the database is closed, with how that went.
 */
import type { MessagePort } from 'node:worker_threads'
import * as Comlink from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { MylibsqlError, toWireError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { LogFile } from '../protocol/log-format.js'
import type { SnapshotFile } from '../protocol/snapshot-format.js'
import type {
  ActorStart,
  ActorStats,
  AppliedLogs,
  Control,
  FromActor,
  Invoke,
  LogsAtHand,
  NextLogsEnd,
  NextLogsRequest,
  OpenReply,
  OpenRequest,
  Outcome,
  Position,
  SessionReply,
  SessionStatement,
  ToActor,
} from '../protocol/wire.js'
import { loadSetup } from './connection-setup.js'
import { Inbox } from './inbox.js'
import { writeSnapshot } from './live-snapshot.js'
import { PrimaryRole } from './primary-role.js'
import { Procedures } from './procedures.js'
import { ReaderGap } from './reader-gap.js'
import { ReplicaRole } from './replica-role.js'
import { ThreadTimes } from './thread-times.js'
import { WorkingDatabase } from './working-database.js'

export default function actor(start: ActorStart): Promise<Outcome<undefined>> {
  return new Promise((resolve) => {
    const control = new Actor(start.data, (outcome) => {
      start.data.close()
      // The answers to calls that have ended by then have to leave first.
      setImmediate(() => {
        start.control.close()
        resolve(outcome)
      })
    })
    const invoke: Invoke = async (method, args) => {
      try {
        control.receiveWaiting()
        const operation = control[method] as (...args: unknown[]) => Promise<never>
        return { ok: true, value: await operation.apply(control, args) }
      } catch (error) {
        return { ok: false, error: toWireError(error) }
      }
    }
    Comlink.expose(invoke, nodeEndpoint(start.control))
  })
}

interface OpenState {
  readonly database: WorkingDatabase
  readonly procedures: Procedures
  readonly request: OpenRequest
  readonly times: ThreadTimes
  readonly gap: ReaderGap
}

class Actor implements Control {
  readonly #data: MessagePort
  readonly #ended: (outcome: Outcome<undefined>) => void
  #open: OpenState | undefined
  #role: PrimaryRole | ReplicaRole | undefined
  readonly #inbox: Inbox
  readonly #withFiles = new Set<Promise<unknown>>()

  constructor(data: MessagePort, ended: (outcome: Outcome<undefined>) => void) {
    this.#data = data
    this.#inbox = new Inbox(data, (batch) => this.#receive(batch))
    this.#ended = ended
  }

  async open(request: OpenRequest): Promise<OpenReply> {
    const setUp = await loadSetup(request.setupUrl)
    const database = new WorkingDatabase(request)
    let stats: ActorStats
    try {
      database.setUp(setUp)
      const procedures = await Procedures.load(database, request.proceduresUrl)
      const gap = new ReaderGap(request.readers)
      this.#open = { database, procedures, request, times: new ThreadTimes(), gap }
      this.#play(request.role, database.openedAt)
      stats = await this.stats()
    } catch (error) {
      database.close()
      this.#open = undefined
      throw error
    }
    this.#inbox.listen(request)
    const { openedAt: position, pageSize, connectionId } = database
    return { position, pageSize, connectionId, stats }
  }

  receiveWaiting(): void {
    if (this.#role !== undefined) this.#inbox.receiveWaiting()
  }

  async sessionStatement(leaseId: number, statement: SessionStatement): Promise<SessionReply> {
    return this.#primary().statement(leaseId, statement)
  }

  async endSession(leaseId: number, outcome: 'commit' | 'rollback'): Promise<FrameNo | undefined> {
    return this.#primary().endSession(leaseId, outcome)
  }

  snapshot(path: string, temporaryPath: string): Promise<SnapshotFile> {
    return this.#untilClosed(writeSnapshot(this.#opened().database, this.#position(), path, temporaryPath))
  }

  async applyLog(file: LogFile): Promise<Position> {
    return this.#replica().applyLog(file)
  }

  async applyStoredLogs(logs: LogsAtHand): Promise<AppliedLogs> {
    return this.#replica().applyStoredLogs(logs)
  }

  followNextLogs(request: NextLogsRequest): Promise<NextLogsEnd> {
    return this.#replica().followNextLogs(request)
  }

  async stopNextLogs(): Promise<void> {
    if (this.#role instanceof ReplicaRole) this.#role.stopNextLogs()
  }

  async applyFrames(
    bytes: Uint8Array,
    pageSize: number,
    startFrameNo: FrameNo,
    startChecksum: bigint,
  ): Promise<Position> {
    return this.#replica().applyFrames(bytes, pageSize, startFrameNo, startChecksum)
  }

  async applySnapshot(file: SnapshotFile, pathPrefix: string): Promise<Position> {
    return this.#untilClosed(this.#replica().applySnapshot(file, pathPrefix))
  }

  async becomeReplica(savedNextFrameNo: FrameNo): Promise<Position> {
    const primary = this.#primary()
    primary.checkSaved(savedNextFrameNo)
    const position = primary.position()
    // From here on nothing is written: requests that still arrive have no role to go to.
    this.#role = undefined
    await primary.close()
    this.#play('replica', position)
    return position
  }

  async becomePrimary(): Promise<Position> {
    const replica = this.#replica()
    this.#role = undefined
    await replica.close()
    const position = replica.position()
    this.#play('primary', position)
    return position
  }

  async stats(): Promise<ActorStats> {
    const role = this.#role
    if (role === undefined) throw closed()
    const { gap, times } = this.#opened()
    times.record()
    return {
      role: role instanceof PrimaryRole ? 'primary' : 'replica',
      ...role.stats(),
      ...gap.stats,
      times,
    }
  }

  async close(): Promise<void> {
    const role = this.#role
    const state = this.#open
    this.#role = undefined
    this.#open = undefined
    let outcome: Outcome<undefined> = { ok: true, value: undefined }
    try {
      await closeAll(role, state?.database)
    } catch (error) {
      outcome = { ok: false, error: toWireError(error) }
    }
    // Those under way have failed by that: what they wrote has to go before this thread does.
    await Promise.allSettled(this.#withFiles)
    this.#ended(outcome)
  }

  /** It has files of its own, which have to go before this thread does. */
  #untilClosed<T>(operation: Promise<T>): Promise<T> {
    this.#withFiles.add(operation)
    const done = () => this.#withFiles.delete(operation)
    operation.then(done, done)
    return operation
  }

  #receive(batch: readonly ToActor[]): void {
    if (this.#role instanceof PrimaryRole) this.#role.receive(batch)
  }

  #play(role: OpenRequest['role'], position: Position): void {
    const { database, procedures, request, times, gap } = this.#opened()
    this.#role =
      role === 'primary'
        ? new PrimaryRole(database, position, procedures, request, times, {
            gap,
            hasMore: () => this.#inbox.hasMore(),
            post: (message: FromActor, transferList) => {
              // Even an empty list takes microseconds to be looked at.
              if (transferList === undefined) this.#data.postMessage(message)
              else this.#data.postMessage(message, transferList)
            },
          })
        : new ReplicaRole(database, position, times, gap, (message) => this.#data.postMessage(message))
  }

  #position(): Position {
    if (this.#role === undefined) throw closed()
    return this.#role.position()
  }

  #opened(): OpenState {
    if (this.#open === undefined) throw closed()
    return this.#open
  }

  #primary(): PrimaryRole {
    if (this.#role instanceof PrimaryRole) return this.#role
    throw closed()
  }

  #replica(): ReplicaRole {
    if (this.#role instanceof ReplicaRole) return this.#role
    throw closed()
  }
}

async function closeAll(
  role: PrimaryRole | ReplicaRole | undefined,
  database: WorkingDatabase | undefined,
): Promise<void> {
  try {
    await role?.close()
  } finally {
    database?.close()
  }
}

function closed(): MylibsqlError {
  return new MylibsqlError('ERR_CLOSED', 'The database is closed, or has changed its role')
}
