/**
 * Requests on their way to the actor. What is asked in one tick travels in one message; while two groups are under
 * way the next one gathers, so that the actor always has one to go on with and groups grow with the load.
 */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { RunResult, SqlParams, Statement } from '../protocol/values.js'
import { type FromActor, namedParams, Op, type ToActor } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'

export interface Answer<T> {
  readonly value: T
  /** Last frame that was committed by then. */
  readonly frameNo: FrameNo | undefined
}

interface Pending {
  readonly kind: 'run' | 'batch' | 'call' | 'lease'
  readonly resolve: (answer: Answer<never>) => void
  readonly reject: (error: unknown) => void
}

const groupsUnderWayMax = 2
/** From this many on, requests that find the actor idle are sent as two groups. */
const splitCountMin = 16
/** Texts known by number before both sides forget them. */
const textsMax = 1024

export class RequestQueue {
  readonly #send: (message: ToActor) => void
  readonly #texts = new Map<string, number>()
  #resetTexts = false
  #newTexts: string[] = []
  #ops: number[] = []
  #values: unknown[] = []
  #gathered: Pending[] = []
  /** Where each gathered request ends in `#ops` and in `#values`, by turns. */
  #ends: number[] = []
  /** Sent and not answered, in order; those before `#answeredCount` are. */
  #sent: Pending[] = []
  #answeredCount = 0
  /** Requests of each group under way that are not answered. */
  #groups: number[] = []
  #isScheduled = false
  #closed: unknown
  #idleWaiters: (() => void)[] = []

  constructor(send: (message: ToActor) => void) {
    this.#send = send
  }

  /** Requests without an answer. */
  get pendingCount(): number {
    return this.#gathered.length + this.#sent.length - this.#answeredCount
  }

  run(sql: string, params: SqlParams | undefined): Promise<Answer<RunResult>> {
    return this.#request('run', () => {
      this.#ops.push(Op.run)
      this.#pushStatement(sql, params)
    })
  }

  batch(statements: readonly Statement[]): Promise<Answer<RunResult[]>> {
    return this.#request('batch', () => {
      this.#ops.push(Op.batch, statements.length)
      for (const { sql, params } of statements) this.#pushStatement(sql, params)
    })
  }

  call(name: string, args: readonly unknown[]): Promise<Answer<unknown>> {
    return this.#request('call', () => {
      this.#ops.push(Op.call, this.#textNo(name), args.length)
      this.#values.push(...args)
    })
  }

  lease(leaseId: number, isTransaction: boolean): Promise<Answer<void>> {
    return this.#request('lease', () => {
      this.#ops.push(Op.lease, leaseId, isTransaction ? 1 : 0)
    })
  }

  /**
   * Sends what has gathered: for what must not overtake it. When the actor is idle it gets two groups instead of one:
   * the answers of the first, and what their callers ask for next, travel while the second is executed.
   */
  flush(): void {
    const count = this.#gathered.length
    if (count === 0 || this.#closed !== undefined) return
    const isSplit = this.#groups.length === 0 && count >= splitCountMin
    const half = isSplit ? count >> 1 : count
    const opEnd = this.#ends[2 * half - 2]!
    const valueEnd = this.#ends[2 * half - 1]!
    this.#sendGroup(
      half,
      isSplit ? this.#ops.slice(0, opEnd) : this.#ops,
      isSplit ? this.#values.slice(0, valueEnd) : this.#values,
    )
    if (isSplit) this.#sendGroup(count - half, this.#ops.slice(opEnd), this.#values.slice(valueEnd))
    const unanswered = this.#answeredCount === this.#sent.length ? [] : this.#sent.slice(this.#answeredCount)
    this.#sent = unanswered.length === 0 ? this.#gathered : [...unanswered, ...this.#gathered]
    this.#answeredCount = 0
    this.#gathered = []
    this.#ops = []
    this.#values = []
    this.#ends = []
  }

  receiveResults(message: Extract<FromActor, { kind: 'results' }>): void {
    // An answer that was on its way when everything was rejected.
    if (this.#closed !== undefined) return
    const { requestCount, frameNo, changes, rowids } = message
    const values = new Map(message.values)
    const failures = new Map(message.failures)
    for (let index = 0; index < requestCount; index += 1) {
      const pending = this.#takeSent()
      const failure = failures.get(index)
      if (failure !== undefined) {
        pending.reject(reviveError(failure))
      } else if (pending.kind === 'run') {
        const rows = values.get(index)
        const counts = { changes: changes[index]!, lastInsertRowid: rowids[index]! }
        pending.resolve({ value: (rows === undefined ? counts : { ...counts, rows }) as never, frameNo })
      } else {
        pending.resolve({ value: values.get(index) as never, frameNo })
      }
    }
    this.#answered(requestCount)
  }

  receiveLease(): void {
    if (this.#closed !== undefined) return
    this.#takeSent().resolve({ value: undefined as never, frameNo: undefined })
    this.#answered(1)
  }

  /** Resolves when all requests made until now are answered. */
  async settled(): Promise<void> {
    while (this.pendingCount > 0) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
    }
  }

  /** Rejects everything that has no answer, and all that comes later. */
  close(error: unknown): void {
    if (this.#closed !== undefined) return
    this.#closed = error
    const unanswered = [...this.#sent.slice(this.#answeredCount), ...this.#gathered]
    this.#sent = []
    this.#gathered = []
    this.#answeredCount = 0
    for (const pending of unanswered) pending.reject(error)
    this.#wakeIdle()
  }

  #request<T>(kind: Pending['kind'], write: () => void): Promise<Answer<T>> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    return new Promise((resolve, reject) => {
      write()
      this.#ends.push(this.#ops.length, this.#values.length)
      this.#gathered.push({ kind, resolve: resolve as Pending['resolve'], reject })
      this.#schedule()
    })
  }

  #sendGroup(requestCount: number, ops: readonly number[], values: readonly unknown[]): void {
    const texts = this.#newTexts
    this.#send({ kind: 'group', resetTexts: this.#resetTexts, texts, ops, values, requestCount })
    this.#groups.push(requestCount)
    this.#newTexts = []
    this.#resetTexts = false
  }

  /** After all continuations of this tick: what they ask for travels in the same message. */
  #schedule(): void {
    if (this.#isScheduled || this.#groups.length >= groupsUnderWayMax) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      if (this.#groups.length < groupsUnderWayMax) this.flush()
    })
  }

  #pushStatement(sql: string, params: SqlParams | undefined): void {
    const textNo = this.#textNo(sql)
    if (params === undefined) {
      this.#ops.push(textNo, 0)
    } else if (isPositional(params)) {
      this.#ops.push(textNo, params.length)
      for (const value of params) this.#values.push(value)
    } else {
      this.#ops.push(textNo, namedParams)
      this.#values.push(params)
    }
  }

  #textNo(text: string): number {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    // Numbers that this message already uses must stay what they are: forget only before its first request.
    if (this.#texts.size >= textsMax && this.#ops.length <= 2 && this.#gathered.length === 0) {
      this.#texts.clear()
      this.#newTexts = []
      this.#resetTexts = true
    }
    const textNo = this.#texts.size
    this.#texts.set(text, textNo)
    this.#newTexts.push(text)
    return textNo
  }

  #takeSent(): Pending {
    const pending = this.#sent[this.#answeredCount]
    if (pending === undefined)
      throw new MylibsqlError('ERR_WORKER_EXITED', 'An answer came that nobody asked for')
    this.#answeredCount += 1
    return pending
  }

  #answered(count: number): void {
    let left = count
    while (left > 0 && this.#groups.length > 0) {
      const taken = Math.min(left, this.#groups[0]!)
      this.#groups[0]! -= taken
      left -= taken
      if (this.#groups[0] === 0) this.#groups.shift()
    }
    if (this.#gathered.length > 0) this.#schedule()
    if (this.pendingCount === 0) this.#wakeIdle()
  }

  #wakeIdle(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake()
  }
}

function isPositional(params: SqlParams): params is Exclude<SqlParams, { readonly [name: string]: unknown }> {
  return Array.isArray(params)
}
