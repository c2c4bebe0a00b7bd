/**
 * Requests on their way to the actor. What is asked in one tick travels in one message; while two groups are under
 * way the next ones gather, so that the actor always has one to go on with and groups grow with the load.
 */
import { noSlot } from '../protocol/cancellation.js'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { SqlParams, Statement } from '../protocol/values.js'
import type { FromActor, ToActor } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import { RequestGroup, type Resolve } from './request-group.js'

/** What a request resolves with: made of its result and of the last frame that was committed by then. */
export type MakeAnswer = (value: unknown, frameNo: FrameNo | undefined) => unknown

const groupsUnderWayMax = 2
/** From this many on, requests that find the actor idle are sent as two groups. */
const splitCountMin = 16
/** Texts known by number before both sides forget them. */
const textsMax = 1024

export class RequestQueue {
  readonly #send: (message: ToActor) => void
  readonly #makeAnswer: MakeAnswer
  readonly #texts = new Map<string, number>()
  /** Texts that the actor has not been told, for the group that is sent next. */
  #newTexts: string[] = []
  #resetTexts = false
  /** Groups that wait to be sent; the last one still gathers. */
  #gathered: RequestGroup[] = []
  /** Groups that were sent, in order; of the first, `#answeredCount` requests are answered. */
  #underWay: Resolve[][] = []
  #answeredCount = 0
  #pendingCount = 0
  #isScheduled = false
  #closed: unknown
  #idleWaiters: (() => void)[] = []

  constructor(send: (message: ToActor) => void, makeAnswer: MakeAnswer) {
    this.#send = send
    this.#makeAnswer = makeAnswer
  }

  /** Requests without an answer. */
  get pendingCount(): number {
    return this.#pendingCount
  }

  run<T>(sql: string, params: SqlParams | undefined, slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.run(this.#textNo(sql, group), params)
    return this.#promise(group)
  }

  batch<T>(statements: readonly Statement[], slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.batch(statements, (text) => this.#textNo(text, group))
    return this.#promise(group)
  }

  call<T>(name: string, args: readonly unknown[], slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.call(this.#textNo(name, group), args)
    return this.#promise(group)
  }

  lease<T>(leaseId: number, isTransaction: boolean, slot: number): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.lease(leaseId, isTransaction)
    return this.#promise(group)
  }

  /** Sends everything that has gathered: for what must not overtake it. */
  flush(): void {
    while (this.#gathered.length > 0) this.#sendNext()
  }

  receiveResults(message: Extract<FromActor, { kind: 'results' }>): void {
    // An answer that was on its way when everything was rejected.
    if (this.#closed !== undefined) return
    const { requestCount, frameNo, changes, rowids } = message
    const values = new Map(message.values)
    const failures = new Map(message.failures)
    for (let index = 0; index < requestCount; index += 1) {
      const resolve = this.#takeResolve()
      const failure = failures.size > 0 ? failures.get(index) : undefined
      if (failure !== undefined) resolve(Promise.reject(reviveError(failure)))
      else if (values.size > 0 && values.has(index)) resolve(this.#makeAnswer(values.get(index), frameNo))
      else resolve(this.#makeAnswer({ changes: changes[index]!, lastInsertRowid: rowids[index]! }, frameNo))
    }
    this.#answered()
  }

  receiveLease(): void {
    if (this.#closed !== undefined) return
    this.#takeResolve()(undefined)
    this.#answered()
  }

  /** Resolves when all requests made until now are answered. */
  async settled(): Promise<void> {
    while (this.#pendingCount > 0) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
    }
  }

  /** Rejects everything that has no answer, and all that comes later. */
  close(error: unknown): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    const unanswered = [...this.#underWay, ...this.#gathered.map((group) => group.resolvers)]
    unanswered[0]?.splice(0, this.#answeredCount)
    this.#underWay = []
    this.#gathered = []
    this.#answeredCount = 0
    this.#pendingCount = 0
    for (const resolvers of unanswered) for (const resolve of resolvers) resolve(Promise.reject(error))
    this.#wakeIdle()
  }

  #gathering(): RequestGroup {
    const last = this.#gathered.at(-1)
    if (last !== undefined && !last.isFull) return last
    const group = new RequestGroup()
    this.#gathered.push(group)
    return group
  }

  #promise<T>(group: RequestGroup): Promise<T> {
    const closed = this.#closed
    if (closed !== undefined) {
      this.#gathered = []
      return Promise.reject(closed)
    }
    this.#pendingCount += 1
    if (!this.#isScheduled && this.#underWay.length < groupsUnderWayMax) this.#schedule()
    return new Promise<T>((resolve) => group.end(resolve as Resolve))
  }

  /** After all continuations of this tick: what they ask for travels in the same message. */
  #schedule(): void {
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      while (this.#gathered.length > 0 && this.#underWay.length < groupsUnderWayMax) this.#sendNext()
    })
  }

  /**
   * An idle actor gets two groups instead of one: the answers of the first, and what their callers ask for next, travel
   * while the second is executed.
   */
  #sendNext(): void {
    const group = this.#gathered.shift()!
    const isSplit =
      this.#underWay.length === 0 && this.#gathered.length === 0 && group.resolvers.length >= splitCountMin
    const rest = isSplit ? group.takeHalf() : undefined
    this.#sendGroup(group)
    if (rest !== undefined) this.#sendGroup(rest)
  }

  #sendGroup({ ops, values, resolvers }: RequestGroup): void {
    const texts = this.#newTexts
    const requestCount = resolvers.length
    this.#send({ kind: 'group', resetTexts: this.#resetTexts, texts, ops, values, requestCount })
    this.#underWay.push(resolvers)
    this.#newTexts = []
    this.#resetTexts = false
  }

  #textNo(text: string, group: RequestGroup): number {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    // Numbers that are on their way must stay what they are: forget only when no request waits to be sent.
    const isFirst = this.#gathered.length === 1 && group.resolvers.length === 0 && group.ops.length <= 4
    if (this.#texts.size >= textsMax && isFirst) {
      this.#texts.clear()
      this.#newTexts = []
      this.#resetTexts = true
    }
    const textNo = this.#texts.size
    this.#texts.set(text, textNo)
    this.#newTexts.push(text)
    return textNo
  }

  #takeResolve(): Resolve {
    const resolve = this.#underWay[0]?.[this.#answeredCount]
    if (resolve === undefined) {
      throw new MylibsqlError('ERR_WORKER_EXITED', 'An answer came that nobody asked for')
    }
    this.#answeredCount += 1
    this.#pendingCount -= 1
    if (this.#answeredCount === this.#underWay[0]!.length) {
      this.#underWay.shift()
      this.#answeredCount = 0
    }
    return resolve
  }

  #answered(): void {
    if (this.#gathered.length > 0 && !this.#isScheduled && this.#underWay.length < groupsUnderWayMax)
      this.#schedule()
    if (this.#pendingCount === 0) this.#wakeIdle()
  }

  #wakeIdle(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake()
  }
}
