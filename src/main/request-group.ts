/** Requests that travel in one message, flattened as protocol/wire.ts says, and who waits for their answers. */
import { noSlot } from '../protocol/cancellation.js'
import type { SqlParams } from '../protocol/values.js'
import { namedParams, Op } from '../protocol/wire.js'
import { Cohort, cohortRequestsMin } from './cohort.js'
import type { StatementRuns } from './statement-runs.js'

/** Requests in one message at most: what is behind them gets its turn, and messages stay small. */
const groupRequestsMax = 4096

const none = -1

/** What a message carries, and who is waiting for it. */
export interface RequestPart {
  readonly ops: readonly number[]
  readonly values: readonly unknown[]
  readonly cohorts: readonly Cohort[]
  readonly requestCount: number
  /** Of strings and blobs among the values, about. */
  readonly byteCount: number
  /** When the first request of the group was asked for: milliseconds since 1970, with fractions. */
  readonly askedAtMs: number
}

export class RequestGroup {
  #ops: number[] = []
  #values: unknown[] = []
  #requestCount = 0
  #byteCount = 0
  #cohorts: Cohort[] = []
  /** Where each cohort ends in `#ops` and in `#values`, by turns. */
  #ends: number[] = []
  /** Where the last op stands when it is a run, which the next one may join. */
  #runAt = none
  #isSealed = false
  readonly #askedAtMs = performance.timeOrigin + performance.now()

  /** Takes no more requests. */
  get isFull(): boolean {
    return this.#requestCount >= groupRequestsMax || this.#isSealed
  }

  get byteCount(): number {
    return this.#byteCount
  }

  get cohorts(): readonly Cohort[] {
    return this.#cohorts
  }

  /** The request that is written next can be given up. */
  guard(slot: number): void {
    if (slot === noSlot) return
    this.#ops.push(Op.guarded, slot)
    this.#runAt = none
  }

  run(textNo: number, params: SqlParams | undefined): void {
    const ops = this.#ops
    const paramCount = this.#pushParams(params)
    const at = this.#runAt
    if (at !== none && ops[at + 1] === textNo && ops[at + 2] === paramCount) {
      ops[at + 3]! += 1
    } else {
      this.#runAt = ops.length
      ops.push(Op.run, textNo, paramCount, 1)
    }
  }

  batch({ runs, values, byteCount }: StatementRuns, textNoOf: (text: string) => number): void {
    this.#runAt = none
    this.#ops.push(Op.batch, runs.length)
    for (const { sql, paramCount, statementCount } of runs)
      this.#ops.push(textNoOf(sql), paramCount, statementCount)
    // A large batch mostly has a group to itself: then its values need not be copied.
    if (this.#values.length === 0) this.#values = values
    else for (const value of values) this.#values.push(value)
    this.#byteCount += byteCount
  }

  call(textNo: number, args: readonly unknown[]): void {
    this.#runAt = none
    this.#ops.push(Op.call, textNo, args.length)
    for (const value of args) this.#values.push(value)
  }

  /** Nothing follows a lease in its group: it is answered long before what comes after it. */
  lease(leaseId: number, isTransaction: boolean): void {
    this.#ops.push(Op.lease, leaseId, isTransaction ? 1 : 0)
    this.#isSealed = true
  }

  /** Ends the request that was written last; its answer. A lease has a cohort to itself. */
  end<T>(): Promise<T> {
    let cohort = this.#cohorts.at(-1)
    if (cohort === undefined || cohort.isFull || this.#isSealed) {
      // As many as all before it, so that the group can be halved whatever it has grown to.
      cohort = new Cohort(Math.max(cohortRequestsMin, this.#requestCount))
      this.#cohorts.push(cohort)
      this.#ends.push(0, 0)
    }
    this.#ends[this.#ends.length - 2] = this.#ops.length
    this.#ends[this.#ends.length - 1] = this.#values.length
    this.#requestCount += 1
    const answer = cohort.join<T>()
    // The next cohort may travel in another message.
    if (cohort.isFull) this.#runAt = none
    return answer
  }

  whole(): RequestPart {
    return {
      ops: this.#ops,
      values: this.#values,
      cohorts: this.#cohorts,
      requestCount: this.#requestCount,
      byteCount: this.#byteCount,
      askedAtMs: this.#askedAtMs,
    }
  }

  /** The requests for two messages, whole cohorts in each; undefined when there is only one. */
  halves(): [RequestPart, RequestPart] | undefined {
    const half = this.#middle()
    if (half === 0) return undefined
    const halfBytes = Math.round(this.#byteCount / 2)
    const opEnd = this.#ends[2 * half - 2]!
    const valueEnd = this.#ends[2 * half - 1]!
    return [
      this.#part(
        this.#ops.slice(0, opEnd),
        this.#values.slice(0, valueEnd),
        this.#cohorts.slice(0, half),
        halfBytes,
      ),
      this.#part(
        this.#ops.slice(opEnd),
        this.#values.slice(valueEnd),
        this.#cohorts.slice(half),
        this.#byteCount - halfBytes,
      ),
    ]
  }

  #part(ops: number[], values: unknown[], cohorts: Cohort[], byteCount: number): RequestPart {
    const requestCount = cohorts.reduce((count, cohort) => count + cohort.requestCount, 0)
    return { ops, values, cohorts, requestCount, byteCount, askedAtMs: this.#askedAtMs }
  }

  /** How many cohorts are nearest to half of the requests. */
  #middle(): number {
    let cohortCount = 0
    let distance = this.#requestCount
    for (const { requestCount } of this.#cohorts) {
      const next = distance - 2 * requestCount
      if (Math.abs(next) >= distance) break
      distance = next
      cohortCount += 1
    }
    return cohortCount
  }

  /** Returns how many there are. */
  #pushParams(params: SqlParams | undefined): number {
    if (params === undefined) return 0
    if (!isPositional(params)) {
      this.#values.push(params)
      return namedParams
    }
    for (const value of params) {
      this.#values.push(value)
      if (typeof value === 'string' || value instanceof Uint8Array) this.#byteCount += value.length
    }
    return params.length
  }
}

export function isPositional(
  params: SqlParams,
): params is Exclude<SqlParams, { readonly [name: string]: unknown }> {
  return Array.isArray(params)
}
