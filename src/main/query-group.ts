/** Queries that travel in one message, flattened as protocol/wire.ts says, and who waits for their answers. */
import { noSlot } from '../protocol/cancellation.js'
import { decodeRows } from '../protocol/rows.js'
import type { Row, SqlParams } from '../protocol/values.js'
import { namedParams, type QueryAnswers, type QueryMessage, type QueryShape } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import { rejection } from './rejection.js'
import { isPositional } from './request-group.js'

/** Neighbours in a message wait for each other: not too many of them. */
const queriesMax = 64

interface Waiter {
  readonly resolve: (answer: never) => void
  readonly reject: (error: unknown) => void
}

export class QueryGroup {
  readonly #shapes: QueryShape[]
  readonly #shapeNos: number[] = []
  readonly #values: unknown[] = []
  #slots: number[] | undefined
  readonly #waiters: Waiter[] = []
  #answeredCount = 0

  constructor(shapes: QueryShape[] = []) {
    this.#shapes = shapes
  }

  get queryCount(): number {
    return this.#waiters.length
  }

  get isFull(): boolean {
    return this.queryCount >= queriesMax
  }

  get isAnswered(): boolean {
    return this.#answeredCount === this.queryCount
  }

  get message(): QueryMessage {
    return { shapes: this.#shapes, shapeNos: this.#shapeNos, values: this.#values, slots: this.#slots }
  }

  /** Adds a query, with its parameters as they are now. */
  ask<T>(isGet: boolean, sql: string, params: SqlParams | undefined, slot: number): Promise<T> {
    let paramCount = 0
    if (params !== undefined) {
      if (isPositional(params)) {
        paramCount = params.length
        for (let index = 0; index < paramCount; index += 1) this.#values.push(params[index])
      } else {
        paramCount = namedParams
        this.#values.push(params)
      }
    }
    this.#shapeNos.push(this.#shapeNo(isGet, sql, paramCount))
    if (slot !== noSlot) this.#slots ??= this.#waiters.map(() => noSlot)
    this.#slots?.push(slot)
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
    })
  }

  /** The same queries in `partCount` groups of about the same size. */
  split(partCount: number): QueryGroup[] {
    if (partCount === 1) return [this]
    const parts: QueryGroup[] = []
    let valueAt = 0
    for (let at = 0, partNo = 1; partNo <= partCount; partNo += 1) {
      const end = Math.ceil((this.queryCount * partNo) / partCount)
      const part = new QueryGroup(this.#shapes)
      if (this.#slots !== undefined) part.#slots = []
      for (; at < end; at += 1) {
        const valueEnd = valueAt + Math.abs(this.#shapes[this.#shapeNos[at]!]!.paramCount)
        for (; valueAt < valueEnd; valueAt += 1) part.#values.push(this.#values[valueAt])
        part.#shapeNos.push(this.#shapeNos[at]!)
        part.#slots?.push(this.#slots![at]!)
        part.#waiters.push(this.#waiters[at]!)
      }
      parts.push(part)
    }
    return parts
  }

  receive({ queryCount, names, values, withoutRow, allRows, failures }: QueryAnswers): void {
    let valueAt = 0
    let withoutRowAt = 0
    let allRowsAt = 0
    let failureAt = 0
    for (let place = 0; place < queryCount; place += 1) {
      const index = this.#answeredCount
      const { resolve } = this.#waiters[index]!
      const shapeNo = this.#shapeNos[index]!
      this.#answeredCount += 1
      if (failures[failureAt]?.[0] === place) {
        const failure = failures[failureAt]![1]
        resolve(rejection(() => reviveError(failure)) as never)
        failureAt += 1
      } else if (!this.#shapes[shapeNo]!.isGet) {
        resolve(decodeRows(allRows[allRowsAt]!) as never)
        allRowsAt += 1
      } else if (withoutRow[withoutRowAt] === place) {
        resolve(undefined as never)
        withoutRowAt += 1
      } else {
        const row: Row = {}
        for (const name of names[shapeNo]!) {
          row[name] = values[valueAt]!
          valueAt += 1
        }
        resolve(row as never)
      }
    }
  }

  /** Rejects what has no answer yet. */
  fail(error: unknown): void {
    for (const { reject } of this.#waiters.slice(this.#answeredCount)) reject(error)
  }

  #shapeNo(isGet: boolean, sql: string, paramCount: number): number {
    // The last one first: a tick asks for much of the same.
    for (let shapeNo = this.#shapes.length - 1; shapeNo >= 0; shapeNo -= 1) {
      const shape = this.#shapes[shapeNo]!
      if (shape.sql === sql && shape.isGet === isGet && shape.paramCount === paramCount) return shapeNo
    }
    return this.#shapes.push({ sql, isGet, paramCount }) - 1
  }
}
