/**
 * What an actor does as a primary: takes requests in order, gives interactive connections their turn, numbers
 * and streams what was committed, seals logs, and holds writers back when a limit is reached.
 */
import { CancelTable } from '../protocol/cancellation.js'
import { errorCodes, MylibsqlError, toWireError } from '../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore } from '../protocol/frame.js'
import { ioError } from '../protocol/io-error.js'
import type {
  FromActor,
  GroupMessage,
  OpenRequest,
  Position,
  RoleStats,
  SessionReply,
  SessionStatement,
  ToActor,
} from '../protocol/wire.js'
import { isDiskFull } from './disk-full.js'
import { Feed } from './feed.js'
import { encodeResults, fail, GroupDecoder, type GroupRequest } from './group.js'
import { Interruptible } from './interruptible.js'
import { Lease, leaseEnded } from './lease.js'
import type { Procedures } from './procedures.js'
import type { ReaderGap } from './reader-gap.js'
import { Sealing } from './sealing.js'
import { Session } from './session.js'
import { Statements } from './statements.js'
import { sharedNowMs, type ThreadTimes } from './thread-times.js'
import { WalKeeper } from './wal-keeper.js'
import type { WorkingDatabase } from './working-database.js'
import { WriteHold } from './write-hold.js'
import { Writer } from './writer.js'

/** Of the thread that it runs in. */
interface Surroundings {
  readonly post: Post
  readonly gap: ReaderGap
  /** Whether messages wait to be received. */
  readonly hasMore: () => boolean
}

type Post = (message: FromActor, transferList?: ArrayBuffer[]) => void
/** What of the request to open still matters. */
type Limits = Pick<
  OpenRequest,
  | 'logPathPrefix'
  | 'cancelTable'
  | 'busyTimeoutMs'
  | 'idleTimeoutMs'
  | 'unsavedBytesMax'
  | 'subscriberBytesMax'
>

export class PrimaryRole {
  readonly #database: WorkingDatabase
  readonly #limits: Limits
  readonly #post: Post
  readonly #times: ThreadTimes
  readonly #statements: Statements
  readonly #interruptible: Interruptible
  readonly #writer: Writer
  readonly #keeper: WalKeeper
  readonly #feed: Feed
  readonly #hold: WriteHold
  readonly #sealing: Sealing
  readonly #decoder = new GroupDecoder()
  #queue: GroupRequest[] = []
  #lease: Lease | undefined
  /** Set when frames were lost: nothing can be written any more. */
  #failure: unknown
  #requestCount = 0
  /** When the oldest group that waits was sent. */
  #waitingSinceMs: number | undefined
  /** The batch that is dealt with ends with the request for a log, ... */
  #isSealNext = false
  /** ... behind which answers are told: to save it is what takes longest. */
  #untold: FromActor[] = []

  constructor(
    database: WorkingDatabase,
    position: Position,
    procedures: Procedures,
    limits: Limits,
    times: ThreadTimes,
    { post, gap, hasMore }: Surroundings,
  ) {
    this.#database = database
    this.#limits = limits
    this.#post = post
    this.#times = times
    this.#statements = new Statements(database.connection)
    this.#interruptible = new Interruptible(new CancelTable(limits.cancelTable), database.connectionId)
    this.#writer = new Writer(
      database,
      this.#statements,
      procedures,
      this.#interruptible,
      times,
      this.#explain,
    )
    this.#keeper = new WalKeeper(database, position, limits.logPathPrefix, gap)
    this.#feed = new Feed(database.pageSize, limits.subscriberBytesMax, post)
    this.#hold = new WriteHold(this.#keeper, this.#feed, limits, (...refused) => this.#refuseHeld(...refused))
    this.#sealing = new Sealing(this.#keeper, {
      post,
      hasMore,
      tellAnswers: () => this.#tellAnswers(),
      lost: (error) => this.#failure ?? this.#lose(error),
    })
  }

  receive(batch: readonly ToActor[]): void {
    const last = batch.at(-1)!
    this.#isSealNext = 'kind' in last && last.kind === 'seal'
    for (const message of batch) this.#deal(message)
  }

  #deal(message: ToActor): void {
    if ('kind' in message) this.#obey(message)
    else this.#queueUp(message)
    this.#pump()
  }

  #queueUp(group: GroupMessage): void {
    const requests = this.#decoder.decode(group)
    this.#requestCount += requests.length
    this.#waitingSinceMs ??= group[3]
    this.#queue = this.#queue.length === 0 ? requests : [...this.#queue, ...requests]
  }

  #obey(message: Exclude<ToActor, GroupMessage>): void {
    switch (message.kind) {
      case 'feed':
        if (message.feedNo === undefined) this.#feed.stop()
        else this.#startFeed(message.feedNo)
        break
      case 'credit':
        this.#feed.credit(message.byteCount)
        break
      case 'seal':
        // What could be executed of the requests before it has been; held writers wait for just this log.
        this.#seal()
        break
      case 'tail':
        this.#sealing.takeTail(message.tail)
        break
      case 'saved':
        this.#keeper.logSaved(message.nextFrameNo)
        break
      default:
        message satisfies never
    }
  }

  /** Throws what the statement throws, ERR_REFUSED, ERR_BUSY, ERR_CLOSED when the lease has ended. */
  async statement(leaseId: number, statement: SessionStatement): Promise<SessionReply> {
    const lease = this.#leaseOf(leaseId)
    try {
      return await lease.execute(statement, this.#hold)
    } catch (error) {
      if (isDiskFull(error)) this.#keeper.spareRoom()
      throw this.#explain(error)
    } finally {
      if (!this.#database.connection.inTransaction) this.#captureCommits()
    }
  }

  /** Ends a lease. Throws as `Lease.commit`; what is open then is rolled back. */
  endSession(leaseId: number, outcome: 'commit' | 'rollback'): FrameNo | undefined {
    const lease = this.#leaseOf(leaseId)
    this.#interruptible.end(lease.slot)
    try {
      if (outcome === 'commit') lease.commit(this.#writer)
      else lease.rollback(this.#writer)
      return lastFrameNoBefore(this.#captureCommits())
    } finally {
      this.#endLease()
    }
  }

  position(): Position {
    return this.#keeper.position()
  }

  /** Throws ERR_UNSAVED_WRITES when something is under way or not saved. */
  checkSaved(savedNextFrameNo: FrameNo): void {
    const { nextFrameNo } = this.#keeper
    if (nextFrameNo <= savedNextFrameNo && this.#queue.length === 0 && this.#lease === undefined) return
    const what =
      nextFrameNo > savedNextFrameNo
        ? `frames ${savedNextFrameNo} to ${nextFrameNo - 1} are not saved`
        : 'writes are under way'
    const message = `The primary cannot become a replica: ${what}. Call checkpoint() first`
    throw new MylibsqlError('ERR_UNSAVED_WRITES', message, { frameNo: savedNextFrameNo })
  }

  stats(): RoleStats {
    return {
      position: this.position(),
      pageSize: this.#database.pageSize,
      walBytes: this.#keeper.walBytes,
      unsavedBytes: this.#keeper.unsavedBytes,
      transactionCount: this.#writer.transactionCount,
      requestCount: this.#requestCount,
      lastWalError: this.#keeper.lastError,
    }
  }

  async close(): Promise<void> {
    this.#hold.end()
    this.#dropLease()
    this.#queue = []
    this.#feed.stop()
    this.#sealing.close()
    await this.#keeper.close()
  }

  #seal(): void {
    this.#sealing.seal(this.#failure)
    this.#tellAnswers()
  }

  #tellAnswers(): void {
    this.#isSealNext = false
    for (const answer of this.#untold.splice(0)) this.#post(answer)
  }

  #pump(): void {
    this.#lease?.wake(this.#hold)
    while (this.#queue.length > 0 && this.#lease === undefined) {
      if (this.#hold.isHeld(this.#queue[0]!.askedAtMs)) return
      const leaseAt = this.#queue.findIndex((request) => request.op === 'lease')
      if (leaseAt === 0) {
        this.#grant(this.#queue.shift()!)
      } else {
        const requests = leaseAt === -1 ? this.#queue : this.#queue.slice(0, leaseAt)
        this.#queue = leaseAt === -1 ? [] : this.#queue.slice(leaseAt)
        this.#execute(requests)
      }
    }
  }

  #execute(requests: GroupRequest[]): void {
    if (this.#waitingSinceMs !== undefined) {
      // The clocks of two threads differ by microseconds.
      const waitedMs = Math.max(0, sharedNowMs() - this.#waitingSinceMs)
      this.#times.note(this.#times.queueWaitUs, performance.now() - waitedMs)
      this.#waitingSinceMs = undefined
    }
    if (this.#failure === undefined) this.#writer.execute(requests)
    if (requests.some(({ error }) => isDiskFull(error))) this.#keeper.spareRoom()
    let nextFrameNo = 0
    try {
      nextFrameNo = this.#captureCommits()
    } catch (error) {
      for (const request of requests) fail(request, error)
    }
    this.#answer(encodeResults(requests, lastFrameNoBefore(nextFrameNo)))
    this.#times.record()
  }

  /** Answers are told in the order of the requests. */
  #answer(message: FromActor): void {
    if (this.#isSealNext) this.#untold.push(message)
    else this.#post(message)
  }

  #grant(request: GroupRequest): void {
    if (request.op !== 'lease') return
    try {
      if (this.#failure !== undefined) throw this.#failure
      this.#interruptible.begin(request.slot)
      if (request.isTransaction) this.#writer.begin()
    } catch (error) {
      this.#interruptible.end(request.slot)
      fail(request, error)
      this.#answer(encodeResults([request], lastFrameNoBefore(this.#keeper.nextFrameNo)))
      return
    }
    const { leaseId } = request
    const { connection, wal } = this.#database
    const hold = (on: boolean) => wal.holdTransaction(on)
    const session = new Session(connection, this.#statements, request.isTransaction, hold)
    const expired = (error: MylibsqlError) => {
      this.#interruptible.end(request.slot)
      this.#post({ kind: 'leaseExpired', leaseId, error: toWireError(error) })
      this.#endLease()
    }
    this.#lease = new Lease(request, session, this.#limits.idleTimeoutMs, expired)
    this.#answer({ kind: 'leased', leaseId })
  }

  #endLease(): void {
    this.#dropLease()
    // What the caller left open, or what could not be committed: nobody may go on in it.
    this.#writer.rollback()
    this.#times.record()
    this.#pump()
  }

  #dropLease(): void {
    this.#lease?.end()
    this.#lease = undefined
  }

  #leaseOf(leaseId: number): Lease {
    if (this.#lease?.leaseId === leaseId) return this.#lease
    throw leaseEnded()
  }

  #startFeed(feedNo: number): void {
    if (this.#failure !== undefined) return
    try {
      this.#feed.start(feedNo, this.#keeper)
    } catch (error) {
      this.#lose(error)
    }
  }

  /** Numbers what was committed and streams it. Returns the number of the next frame. */
  #captureCommits(): FrameNo {
    if (this.#failure !== undefined) throw this.#failure
    try {
      const nextFrameNo = this.#keeper.advance()
      this.#feed.publish(this.#keeper, nextFrameNo)
      return nextFrameNo
    } catch (error) {
      throw this.#lose(error)
    }
  }

  /** The end of this primary: what it has committed cannot be had any more. */
  #lose(error: unknown): unknown {
    const code = (error as { code?: unknown } | null)?.code
    const isOurs = typeof code === 'string' && code in errorCodes && code !== 'ERR_IO'
    this.#failure = isOurs ? error : ioError(error, 'read the WAL of', this.#database.path)
    this.#post({ kind: 'failed', error: toWireError(this.#failure) })
    return this.#failure
  }

  #refuseHeld(error: MylibsqlError, isLate: (askedAtMs: number) => boolean): void {
    // Who asked first is the first to be late.
    const inTime = this.#queue.findIndex(({ askedAtMs }) => !isLate(askedAtMs))
    const requests = this.#queue.splice(0, inTime === -1 ? this.#queue.length : inTime)
    for (const request of requests) fail(request, error)
    this.#answer(encodeResults(requests, lastFrameNoBefore(this.#keeper.nextFrameNo)))
    this.#lease?.refuseHeld(error, isLate)
    this.#pump()
  }

  /** SQLITE_AUTH says that something was refused; the addon knows why. */
  readonly #explain = (error: unknown): unknown => {
    if ((error as { code?: unknown } | null)?.code !== 'SQLITE_AUTH') return error
    const refusal = this.#database.wal.takeRefusal()
    return refusal === undefined ? error : new MylibsqlError('ERR_REFUSED', refusal, {}, { cause: error })
  }
}
