/** Requests that travel in one message, flattened as protocol/wire.ts says, and who waits for their answers. */
import { noSlot } from '../protocol/cancellation.js'
import type { SqlParams, Statement } from '../protocol/values.js'
import { namedParams, Op } from '../protocol/wire.js'

/**
 * Who waits for a request is one function: a million of them may be waiting, so there is nothing more of it. A request
 * fails by resolving with a rejected promise.
 */
export type Resolve = (answer: unknown) => void

/** Requests in one message at most: what is behind them gets its turn, and messages stay small. */
export const groupRequestsMax = 4096

export class RequestGroup {
  ops: number[] = []
  values: unknown[] = []
  resolvers: Resolve[] = []
  /** Where each request ends in `ops` and in `values`, by turns. */
  #ends: number[] = []

  get isFull(): boolean {
    return this.resolvers.length >= groupRequestsMax
  }

  /** The request that is written next can be given up. */
  guard(slot: number): void {
    if (slot !== noSlot) this.ops.push(Op.guarded, slot)
  }

  run(textNo: number, params: SqlParams | undefined): void {
    this.ops.push(Op.run)
    this.#pushStatement(textNo, params)
  }

  batch(statements: readonly Statement[], textNoOf: (text: string) => number): void {
    this.ops.push(Op.batch, statements.length)
    for (const { sql, params } of statements) this.#pushStatement(textNoOf(sql), params)
  }

  call(textNo: number, args: readonly unknown[]): void {
    this.ops.push(Op.call, textNo, args.length)
    for (const value of args) this.values.push(value)
  }

  lease(leaseId: number, isTransaction: boolean): void {
    this.ops.push(Op.lease, leaseId, isTransaction ? 1 : 0)
  }

  /** Ends the request that was written last. */
  end(resolve: Resolve): void {
    this.#ends.push(this.ops.length, this.values.length)
    this.resolvers.push(resolve)
  }

  /** The second half of the requests, which this group no longer has. */
  takeHalf(): RequestGroup {
    const rest = new RequestGroup()
    const half = this.resolvers.length >> 1
    const opEnd = this.#ends[2 * half - 2]!
    const valueEnd = this.#ends[2 * half - 1]!
    rest.ops = this.ops.splice(opEnd)
    rest.values = this.values.splice(valueEnd)
    rest.resolvers = this.resolvers.splice(half)
    return rest
  }

  #pushStatement(textNo: number, params: SqlParams | undefined): void {
    if (params === undefined) {
      this.ops.push(textNo, 0)
    } else if (isPositional(params)) {
      this.ops.push(textNo, params.length)
      for (const value of params) this.values.push(value)
    } else {
      this.ops.push(textNo, namedParams)
      this.values.push(params)
    }
  }
}

export function isPositional(
  params: SqlParams,
): params is Exclude<SqlParams, { readonly [name: string]: unknown }> {
  return Array.isArray(params)
}
