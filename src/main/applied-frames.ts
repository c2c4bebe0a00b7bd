/** What has been applied to a replica: hands logs and frames to its thread, knows where it stands, and tells who waits. */
import { type FrameBatch, type FrameNo, lastFrameNoBefore } from '../protocol/frame.js'
import type {
  AppliedLogs,
  FromReplica,
  LogsAtHand,
  NextLogsEnd,
  NextLogsRequest,
  Position,
} from '../protocol/wire.js'
import { FrameWaiters } from './frame-waiters.js'
import type { Log } from './log.js'
import type { OpenDatabase } from './open-database.js'
import type { Snapshot } from './snapshot.js'
import type { Followed } from './stores/follower.js'
import { framesAtHand } from './stores/frames-at-hand.js'
import type { StoredLog } from './stores/store.js'
import { temporaryPath } from './temporary-files.js'
import { isTraced, replicateChannel, traced } from './tracing.js'

export class AppliedFrames implements Followed {
  readonly #database: OpenDatabase
  readonly #waiters = new FrameWaiters(() => this.lastFrameNo)
  #position: Position
  #told: (logs: AppliedLogs) => void = () => {}
  /** Resolves when what was called before has been handed to the thread; undefined: all has. */
  #handed: Promise<void> | undefined
  /** Why no more logs come out of its store, though that may go on. */
  #followError: unknown

  constructor(database: OpenDatabase, position: Position) {
    this.#database = database
    this.#position = position
  }

  get pageSize(): number {
    return this.#database.pageSize
  }

  get lastFrameNo(): FrameNo | undefined {
    return lastFrameNoBefore(this.#position.nextFrameNo)
  }

  position(): Position {
    return this.#position
  }

  apply(log: Log): Promise<FrameNo | undefined> {
    const { startFrameNo, frameCount } = log
    const { thread } = this.#database
    const apply = () =>
      this.#inTurn<Position>((hand) => log.use((file) => hand(() => thread.call('applyLog', file))))
    return this.#applyTraced({ startFrameNo, frameCount }, apply)
  }

  applyFrames(batch: FrameBatch): Promise<FrameNo | undefined> {
    const { bytes, pageSize, startFrameNo, startChecksum, frameCount } = batch
    const { thread } = this.#database
    const call = () => thread.call('applyFrames', bytes, pageSize, startFrameNo, startChecksum)
    const apply = () => (this.#handed === undefined ? call() : this.#inTurn<Position>((hand) => hand(call)))
    return this.#applyTraced({ startFrameNo, frameCount }, apply)
  }

  async applyStored(logs: readonly StoredLog[], atHand: LogsAtHand): Promise<AppliedLogs> {
    const { locations } = atHand
    const isListenedTo = isTraced(replicateChannel)
    const listed = isListenedTo ? await framesAtHand(logs, locations, this.pageSize) : undefined
    const buffers = locations.flatMap((at) => ('bytes' in at ? [at.bytes.buffer as ArrayBuffer] : []))
    const apply = () => this.#database.thread.callWith(buffers, 'applyStoredLogs', atHand)
    const { nextFrameNo } = this.#position
    // The thread may have taken them by itself since they were listed: then nothing is about to be applied.
    const frames = logs[0]?.startFrameNo === nextFrameNo ? listed : undefined
    const trace = () => ({ ...frames!, path: this.#database.path })
    const applied = await (frames === undefined ? apply() : traced(replicateChannel, trace, apply))
    if (frames === undefined) this.#advanceBehind(applied.position)
    else this.#advance(applied.position)
    return applied
  }

  async followNext(
    request: NextLogsRequest,
    told: (logs: AppliedLogs) => void,
  ): Promise<NextLogsEnd | undefined> {
    // A trace begins with what is about to be applied: then the store has to tell.
    if (isTraced(replicateChannel)) return undefined
    this.#told = told
    const end = await this.#database.thread.call('followNextLogs', request)
    // The answer may overtake what the thread has told on its other port.
    this.#advanceBehind(end.position)
    return end
  }

  stopNext(): void {
    // A thread that has ended has stopped.
    this.#database.thread.call('stopNextLogs').catch(() => {})
  }

  /** Takes the messages of the thread's data port. */
  receive({ kind, logs }: FromReplica): void {
    if (kind !== 'applied') return
    const { nextFrameNo } = this.#position
    this.#advanceBehind(logs.position)
    this.#told(logs)
    // Somebody listens since: the next ones are traced when they begin.
    if (isTraced(replicateChannel) && logs.position.nextFrameNo > nextFrameNo) this.stopNext()
  }

  async replace(snapshot: Snapshot): Promise<void> {
    const pathPrefix = await temporaryPath('.replace-')
    const { thread } = this.#database
    this.#advance(await snapshot.use((file) => thread.call('applySnapshot', file, pathPrefix)))
  }

  /** Resolves once the frame is applied. Rejects with the signal's reason, ERR_TIMEOUT, and what ends the waiting. */
  async wait(frameNo: FrameNo, signal: AbortSignal | undefined, timeoutMs: number): Promise<void> {
    if (frameNo < this.#position.nextFrameNo) return
    if (this.#followError !== undefined) throw this.#followError
    await this.#waiters.wait(frameNo, signal, timeoutMs)
  }

  /** A store is followed from now on, again. */
  followed(): void {
    this.#followError = undefined
  }

  failed(error: unknown): void {
    this.#followError = error
    this.#waiters.reject(error)
  }

  /** Nothing is applied any more. */
  end(error: unknown): void {
    this.#waiters.reject(error)
  }

  /** In the order of the calls, however long it takes until a log can be read. */
  async #inTurn<T>(apply: (hand: (call: () => Promise<T>) => Promise<T>) => Promise<T>): Promise<T> {
    const before = this.#handed
    let done = () => {}
    const handed = new Promise<void>((resolve) => {
      done = resolve
    })
    this.#handed = handed
    try {
      return await apply(async (call) => {
        await before
        const answer = call()
        done()
        return answer
      })
    } finally {
      // Also when it could not be handed over.
      done()
      if (this.#handed === handed) this.#handed = undefined
    }
  }

  async #applyTraced(
    frames: { startFrameNo: FrameNo; frameCount: number },
    apply: () => Promise<Position>,
  ): Promise<FrameNo | undefined> {
    const trace = () => ({ ...frames, path: this.#database.path })
    return this.#advance(await traced(replicateChannel, trace, apply))
  }

  /** After what the thread has taken by itself: its trace begins and ends at once. */
  #advanceBehind(position: Position): void {
    const { nextFrameNo: startFrameNo } = this.#position
    this.#advance(position)
    const frameCount = position.nextFrameNo - startFrameNo
    if (frameCount <= 0 || !isTraced(replicateChannel)) return
    void this.#applyTraced({ startFrameNo, frameCount }, () => Promise.resolve(position))
  }

  #advance(position: Position): FrameNo | undefined {
    const { nextFrameNo } = position
    if (nextFrameNo > this.#position.nextFrameNo) {
      this.#position = position
      this.#waiters.applied(nextFrameNo - 1)
    }
    return lastFrameNoBefore(position.nextFrameNo)
  }
}
