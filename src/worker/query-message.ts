/**
 * Answers the queries of a message. They share a read transaction, because to begin and end one costs more than a point
 * query. So that no answer waits for a long query, what is answered by then is posted behind one, and also ahead of one
 * that took long the last time.
 */
import { noSlot } from '../protocol/cancellation.js'
import { toWireError, type WireError } from '../protocol/errors.js'
import { type ColumnarRows, encodeRows } from '../protocol/rows.js'
import type { SqlParams, SqlValue } from '../protocol/values.js'
import type { QueryAnswers, QueryMessage } from '../protocol/wire.js'
import type { Interruptible } from './interruptible.js'
import type { Queries, Query } from './queries.js'
import { ofReadOnly } from './statement-error.js'
import { takeParams } from './statements.js'

/** As long as many small queries and the message that their answers travel in. */
const longMs = 1

interface AnswersSoFar {
  queryCount: number
  names: (readonly string[] | undefined)[]
  values: SqlValue[]
  withoutRow: number[]
  allRows: ColumnarRows[]
  failures: [number, WireError][]
}

export class MessageAnswering {
  readonly #message: QueryMessage
  readonly #queries: Queries
  readonly #interruptible: Interruptible
  readonly #post: (answers: QueryAnswers) => void
  #postedCount = 0
  #answers: AnswersSoFar

  constructor(
    message: QueryMessage,
    queries: Queries,
    interruptible: Interruptible,
    post: (answers: QueryAnswers) => void,
  ) {
    this.#message = message
    this.#queries = queries
    this.#interruptible = interruptible
    this.#post = post
    this.#answers = this.#noAnswers()
  }

  run(): void {
    try {
      if (this.#message.shapeNos.length === 1) this.#queries.readingOnce(() => this.#answerAll())
      else this.#queries.reading(() => this.#answerAll())
      this.#postAnswers()
    } catch (error) {
      this.#post(failedAnswers(this.#message, this.#postedCount, error))
    }
  }

  #answerAll(): void {
    this.#answers = this.#noAnswers()
    const { shapes, shapeNos, values, slots } = this.#message
    /** Prepared once for all queries of a shape. */
    const prepared: Query[] = []
    let startMs = performance.now()
    let valueAt = 0
    for (let index = 0; index < shapeNos.length; index += 1) {
      const shapeNo = shapeNos[index]!
      const { sql, isGet, paramCount } = shapes[shapeNo]!
      const params = takeParams(values, valueAt, paramCount)
      valueAt += Math.abs(paramCount)
      const slot = slots === undefined ? noSlot : slots[index]!
      let query = prepared[shapeNo]
      try {
        query ??= prepared[shapeNo] = this.#queries.prepare(sql)
        if (query.isLong) this.#postAnswers()
        if (isGet) this.#get(shapeNo, query, params, slot)
        else this.#all(query, params, slot)
        query.isLong = false
      } catch (error) {
        this.#answers.failures.push([this.#answers.queryCount, toWireError(ofReadOnly(error, sql))])
      }
      this.#answers.queryCount += 1
      const endMs = performance.now()
      if (endMs - startMs > longMs) {
        if (query !== undefined) query.isLong = true
        if (index + 1 < shapeNos.length) this.#postAnswers()
      }
      startMs = endMs
    }
  }

  #get(shapeNo: number, query: Query, params: SqlParams | undefined, slot: number): void {
    const { statement, names } = query
    const row = this.#interruptible.run(slot, () =>
      params === undefined ? statement.get() : statement.get(params),
    )
    if (row === undefined) {
      this.#answers.withoutRow.push(this.#answers.queryCount)
      return
    }
    this.#answers.names[shapeNo] = names
    for (let index = 0; index < row.length; index += 1) this.#answers.values.push(row[index]!)
  }

  #all({ statement, names }: Query, params: SqlParams | undefined, slot: number): void {
    const rows = this.#interruptible.run(slot, () =>
      params === undefined ? statement.all() : statement.all(params),
    )
    this.#answers.allRows.push(encodeRows(names, rows))
  }

  #postAnswers(): void {
    if (this.#answers.queryCount === 0) return
    this.#post(this.#answers)
    this.#postedCount += this.#answers.queryCount
    this.#answers = this.#noAnswers()
  }

  #noAnswers(): AnswersSoFar {
    const names = this.#message.shapes.map(() => undefined)
    return { queryCount: 0, names, values: [], withoutRow: [], allRows: [], failures: [] }
  }
}

/** The answer when the queries from `start` on cannot be run at all. */
export function failedAnswers({ shapeNos }: QueryMessage, start: number, error: unknown): QueryAnswers {
  const wireError = toWireError(error)
  const failures = shapeNos.slice(start).map((_, place) => [place, wireError] as const)
  return { queryCount: failures.length, names: [], values: [], withoutRow: [], allRows: [], failures }
}
