/**
 * Requests on their way to the actor. What is asked in one tick travels in one message; while two are under way the
 * next ones gather, so that the actor always has one to go on with and groups grow with the load.
 */
import { noSlot } from '../protocol/cancellation.js'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { SqlParams } from '../protocol/values.js'
import type { GroupMessage, OtherResults, ResultsMessage, ToActor } from '../protocol/wire.js'
import { Ack } from './ack.js'
import { reviveError } from './actor-thread.js'
import type { Cohort } from './cohort.js'
import type { Commit, Durability } from './durability.js'
import { RequestGroup, type RequestPart } from './request-group.js'
import type { StatementRuns } from './statement-runs.js'

export interface RequestLimits {
  readonly requestsMax: number
  readonly requestBytesMax: number
}

const messagesUnderWayMax = 2
/** Texts known by number before both sides forget them. */
const textsMax = 1024

export class RequestQueue {
  readonly #send: (...messages: readonly ToActor[]) => void
  readonly #durability: Durability
  readonly #limits: RequestLimits
  readonly #texts = new Map<string, number>()
  /** Texts that the actor has not been told, for the message that is sent next. */
  #newTexts: string[] = []
  #resetTexts = false
  /** Groups that wait to be sent; the last one still gathers. */
  #gathered: RequestGroup[] = []
  /** Who waits for the messages that were sent, in order; answered cohorts are taken from the front. */
  #underWay: { readonly cohorts: Cohort[]; readonly byteCount: number }[] = []
  #underWayBytes = 0
  #pendingCount = 0
  #isScheduled = false
  /** What is to follow on everything that is asked for in this tick. */
  #then: ToActor[] = []
  #closed: unknown
  #idleWaiters: (() => void)[] = []
  #readyWaiters: (() => void)[] = []

  constructor(
    send: (...messages: readonly ToActor[]) => void,
    durability: Durability,
    limits: RequestLimits,
  ) {
    this.#limits = limits
    this.#send = send
    this.#durability = durability
  }

  /** Requests without an answer. */
  get pendingCount(): number {
    return this.#pendingCount
  }

  run<T>(sql: string, params: SqlParams | undefined, slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.run(this.#textNo(sql), params)
    return this.#end(group)
  }

  batch<T>(statements: StatementRuns, slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.batch(statements, (text) => this.#textNo(text))
    return this.#end(group)
  }

  call<T>(name: string, args: readonly unknown[], slot = noSlot): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.call(this.#textNo(name), args)
    return this.#end(group)
  }

  lease<T>(leaseId: number, isTransaction: boolean, slot: number): Promise<T> {
    const group = this.#gathering()
    group.guard(slot)
    group.lease(leaseId, isTransaction)
    return this.#end(group)
  }

  /** Sends everything that has gathered, then what must not overtake it, which travels with the last of them. */
  flush(...then: readonly ToActor[]): void {
    const last = [...this.#then.splice(0), ...then]
    if (this.#gathered.length === 0 && last.length > 0) this.#send(...last)
    while (this.#gathered.length > 1) this.#sendNext()
    if (this.#gathered.length > 0) this.#sendNext(last)
  }

  /** The same at the end of this tick: what its continuations ask for comes before. */
  flushSoon(then: ToActor): void {
    this.#then.push(then)
    this.#scheduleNow()
  }

  /** Returns the last frame that was committed by then. */
  receiveResults([frameNo, changes, rowids, others]: ResultsMessage): FrameNo | undefined {
    // An answer that was on its way when everything was rejected.
    if (this.#closed !== undefined) return frameNo
    const commit = { durability: this.#durability, frameNo }
    const answers = others === undefined ? undefined : answersOf(others, commit)
    for (let index = 0; index < changes.length; index += 1) {
      const cohort = this.#answering()
      const answer = answers?.get(index)
      if (answer === undefined) cohort.answer(Ack.ofStatement(commit, changes[index]!, rowids[index]!))
      else answer(cohort)
      this.#noteAnswer(cohort)
    }
    this.#goOn()
    return frameNo
  }

  receiveLease(): void {
    if (this.#closed !== undefined) return
    const cohort = this.#answering()
    cohort.answer(undefined)
    this.#noteAnswer(cohort)
    this.#goOn()
  }

  /** Throws ERR_BUSY when more waits than `requestsMax` and `requestBytesMax` allow. */
  refuseWhenFull(): void {
    if (!this.#isOver(1)) return
    const message = `${this.#pendingCount} calls wait to be executed, and this one was not to wait: await ready() first`
    throw new MylibsqlError('ERR_BUSY', message)
  }

  /** Resolves at once while the queue is not full, else when half of it is answered. Rejects when it is closed. */
  async ready(): Promise<void> {
    if (!this.#isOver(1)) return
    while (this.#isOver(0.5)) await new Promise<void>((resolve) => this.#readyWaiters.push(resolve))
    if (this.#closed !== undefined) throw this.#closed
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
    const unanswered = [
      ...this.#underWay.flatMap((part) => part.cohorts),
      ...this.#gathered.flatMap((group) => group.cohorts),
    ]
    this.#underWay = []
    this.#gathered = []
    this.#pendingCount = 0
    this.#underWayBytes = 0
    for (const cohort of unanswered) cohort.failRest(error)
    this.#wakeReady()
    this.#wakeIdle()
  }

  #gathering(): RequestGroup {
    if (this.#closed !== undefined) throw this.#closed
    const last = this.#gathered.at(-1)
    if (last !== undefined && !last.isFull) return last
    // Numbers that are in a message must stay what they are: forget only when no request waits to be sent.
    if (this.#gathered.length === 0 && this.#texts.size >= textsMax) {
      this.#texts.clear()
      this.#newTexts = []
      this.#resetTexts = true
    }
    const group = new RequestGroup()
    this.#gathered.push(group)
    return group
  }

  #end<T>(group: RequestGroup): Promise<T> {
    this.#pendingCount += 1
    this.#schedule()
    return group.end()
  }

  /** After all continuations of this tick: what they ask for travels in the same message. */
  #schedule(): void {
    if (this.#underWay.length < messagesUnderWayMax) this.#scheduleNow()
  }

  #scheduleNow(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      if (this.#then.length > 0) this.flush()
      while (this.#gathered.length > 0 && this.#underWay.length < messagesUnderWayMax) this.#sendNext()
    })
  }

  /**
   * An idle actor gets two messages instead of one: the answers to the first, and what their callers ask for next, travel
   * while the second is executed.
   */
  #sendNext(then: readonly ToActor[] = []): void {
    const group = this.#gathered.shift()!
    const isIdle = this.#underWay.length === 0 && this.#gathered.length === 0
    const parts = (isIdle ? group.halves() : undefined) ?? [group.whole()]
    for (const [index, part] of parts.entries()) this.#sendPart(part, index === parts.length - 1 ? then : [])
  }

  #sendPart(part: RequestPart, then: readonly ToActor[]): void {
    const { ops, values, cohorts, requestCount, byteCount, askedAtMs } = part
    const isNews = this.#newTexts.length > 0 || this.#resetTexts
    const group: GroupMessage = isNews
      ? [ops, values, requestCount, askedAtMs, { texts: this.#newTexts, isReset: this.#resetTexts }]
      : [ops, values, requestCount, askedAtMs]
    this.#send(group, ...then)
    this.#underWay.push({ cohorts: [...cohorts], byteCount })
    this.#underWayBytes += byteCount
    this.#newTexts = []
    this.#resetTexts = false
  }

  #textNo(text: string): number {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    const textNo = this.#texts.size
    this.#texts.set(text, textNo)
    this.#newTexts.push(text)
    return textNo
  }

  /** Who gets the next answer. */
  #answering(): Cohort {
    const cohort = this.#underWay[0]?.cohorts[0]
    if (cohort !== undefined) return cohort
    throw new MylibsqlError('ERR_WORKER_EXITED', 'An answer came that nobody asked for')
  }

  #noteAnswer(cohort: Cohort): void {
    this.#pendingCount -= 1
    if (!cohort.isAnswered) return
    const part = this.#underWay[0]!
    part.cohorts.shift()
    if (part.cohorts.length > 0) return
    this.#underWay.shift()
    this.#underWayBytes -= part.byteCount
  }

  #goOn(): void {
    if (this.#gathered.length > 0) this.#schedule()
    if (this.#pendingCount === 0) this.#wakeIdle()
    if (this.#readyWaiters.length > 0 && !this.#isOver(0.5)) this.#wakeReady()
  }

  #isOver(share: number): boolean {
    const gatheredBytes = this.#gathered.reduce((sum, group) => sum + group.byteCount, 0)
    const { requestsMax, requestBytesMax } = this.#limits
    return (
      this.#pendingCount >= share * requestsMax ||
      gatheredBytes + this.#underWayBytes >= share * requestBytesMax
    )
  }

  #wakeReady(): void {
    for (const wake of this.#readyWaiters.splice(0)) wake()
  }

  #wakeIdle(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake()
  }
}

/** What else than changes and rowid is answered, by the index of the request. */
function answersOf(
  { batches, values, failures }: OtherResults,
  commit: Commit,
): Map<number, (cohort: Cohort) => void> {
  const answers = new Map<number, (cohort: Cohort) => void>()
  for (const [index, results] of batches)
    answers.set(index, (cohort) => cohort.answer(Ack.ofBatch(commit, results)))
  for (const [index, value] of values) answers.set(index, (cohort) => cohort.answer(Ack.of(commit, value)))
  for (const [index, error] of failures) answers.set(index, (cohort) => cohort.fail(() => reviveError(error)))
  return answers
}
