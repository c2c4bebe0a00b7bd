/**
 * Queries on their way to the reader threads: those of one tick share a message. When the threads are idle the queries
 * are spread over them, two messages each, so that answers travel while others are executed.
 */
import { decodeRows } from '../protocol/rows.js'
import type { Row, SqlParams } from '../protocol/values.js'
import { namedParams, type QueryAnswers, type QueryBatch } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import { isPositional } from './request-group.js'

interface Query {
  readonly isGet: boolean
  readonly sql: string
  readonly params: SqlParams | undefined
  readonly slot: number
  readonly resolve: (answer: never) => void
  readonly reject: (error: unknown) => void
}

/** Neighbours in a message wait for each other: not too many of them. */
const queriesMax = 64
/** Fewer than this are not worth a second message. */
const splitCountMin = 8

export class ReadQueue {
  readonly #send: (batch: QueryBatch) => Promise<QueryAnswers>
  readonly #underWayMax: number
  #gathered: Query[] = []
  #underWayCount = 0
  #isScheduled = false

  constructor(threadCount: number, send: (batch: QueryBatch) => Promise<QueryAnswers>) {
    this.#underWayMax = 2 * threadCount
    this.#send = send
  }

  get(sql: string, params: SqlParams | undefined, slot: number): Promise<Row | undefined> {
    return this.#ask(true, sql, params, slot)
  }

  all(sql: string, params: SqlParams | undefined, slot: number): Promise<Row[]> {
    return this.#ask(false, sql, params, slot)
  }

  #ask<T>(isGet: boolean, sql: string, params: SqlParams | undefined, slot: number): Promise<T> {
    // As they are now: they are sent at the end of the tick.
    const kept = params !== undefined && isPositional(params) ? params.slice() : params
    return new Promise((resolve, reject) => {
      this.#gathered.push({ isGet, sql, params: kept, slot, resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#isScheduled || this.#underWayCount >= this.#underWayMax) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.#flush()
    })
  }

  #flush(): void {
    const freeCount = this.#underWayMax - this.#underWayCount
    const isIdle = this.#underWayCount === 0
    const spread = Math.max(splitCountMin, Math.ceil(this.#gathered.length / freeCount))
    const size = Math.min(queriesMax, isIdle ? spread : this.#gathered.length)
    for (let count = 0; count < freeCount && this.#gathered.length > 0; count += 1) {
      const queries = this.#gathered.splice(0, size)
      this.#underWayCount += 1
      const batch = encodeQueries(queries)
      this.#send(batch)
        .then(
          (answers) => settle(queries, batch, answers),
          (error: unknown) => {
            for (const query of queries) query.reject(error)
          },
        )
        .finally(() => {
          this.#underWayCount -= 1
          if (this.#gathered.length > 0) this.#schedule()
        })
    }
  }
}

function encodeQueries(queries: readonly Query[]): QueryBatch {
  const textNos = new Map<string, number>()
  const ops: number[] = []
  const values: unknown[] = []
  for (const { sql, params } of queries) {
    let textNo = textNos.get(sql)
    if (textNo === undefined) {
      textNo = textNos.size
      textNos.set(sql, textNo)
    }
    if (params === undefined) {
      ops.push(textNo, 0)
    } else if (isPositional(params)) {
      ops.push(textNo, params.length)
      for (const value of params) values.push(value)
    } else {
      ops.push(textNo, namedParams)
      values.push(params)
    }
  }
  return {
    kind: 'queries',
    texts: [...textNos.keys()],
    isGet: queries.map((query) => query.isGet),
    slots: queries.map((query) => query.slot),
    ops,
    values,
  }
}

function settle(queries: readonly Query[], batch: QueryBatch, answers: QueryAnswers): void {
  const { rowOf, firstRows, allRows, failures } = answers
  const rows = firstRows.map((encoded) => encoded && decodeRows(encoded))
  const errors = new Map(failures)
  for (const [index, query] of queries.entries()) {
    const error = errors.get(index)
    const at = rowOf[index]!
    if (error !== undefined) query.reject(reviveError(error))
    else if (!query.isGet) query.resolve(decodeRows(allRows[at]!) as never)
    else query.resolve((at === -1 ? undefined : rows[batch.ops[2 * index]!]?.[at]) as never)
  }
}
