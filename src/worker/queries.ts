/** Runs the queries of one tick on the connection of a reader thread. */
import type Database from 'better-sqlite3'
import { noSlot } from '../protocol/cancellation.js'
import { toWireError, type WireError } from '../protocol/errors.js'
import { statementCacheSize } from '../protocol/limits.js'
import { type ColumnarRows, encodeRows } from '../protocol/rows.js'
import type { SqlParams, SqlValue } from '../protocol/values.js'
import type { QueryAnswers, QueryBatch } from '../protocol/wire.js'
import type { Interruptible } from './interruptible.js'
import { takeParams } from './statements.js'

export interface Query {
  readonly statement: Database.Statement<unknown[], SqlValue[]>
  readonly names: readonly string[]
}

/** Prepared queries that give rows as arrays, kept by text, the least recently used one dropped first. */
export class Queries {
  readonly #connection: Database.Database
  readonly #interruptible: Interruptible
  readonly #begin: Database.Statement
  readonly #rollback: Database.Statement
  readonly #readSchemaVersion: Database.Statement<unknown[], number | bigint>
  /** Of the schema that the names of columns in the cache are of. */
  #schemaVersion: number | bigint | undefined
  readonly #cache = new Map<string, Query>()

  constructor(connection: Database.Database, interruptible: Interruptible) {
    this.#connection = connection
    this.#interruptible = interruptible
    this.#begin = connection.prepare('BEGIN')
    this.#rollback = connection.prepare('ROLLBACK')
    this.#readSchemaVersion = connection.prepare<unknown[], number | bigint>('PRAGMA schema_version').pluck()
  }

  /** Begins a read transaction, which stands at the present state of the database until end(). */
  begin(): void {
    this.#interruptible.run(noSlot, () => {
      if (!this.#connection.inTransaction) this.#begin.run()
      // The first read is what begins it.
      this.#noteSchema()
    })
  }

  end(): void {
    // SQLite may have ended it by itself. It refuses to commit one in which a query has met damage.
    if (this.#connection.inTransaction) this.#rollback.run()
  }

  /** A statement that writes or returns nothing is run as it is, so that SQLite says what is wrong with it. */
  prepare(sql: string): Query {
    const known = this.#cache.get(sql)
    this.#cache.delete(sql)
    const query = known === undefined || known.statement.busy ? this.#prepare(sql) : known
    this.#cache.set(sql, query)
    if (this.#cache.size > statementCacheSize) this.#cache.delete(this.#cache.keys().next().value!)
    return query
  }

  /** Several queries share a read transaction: to begin and end one costs more than a point query. */
  answer(batch: QueryBatch): QueryAnswers {
    if (batch.isGet.length === 1) return this.#answerOne(batch)
    this.begin()
    try {
      return this.#answer(batch)
    } finally {
      this.end()
    }
  }

  /** Again when the schema was changed: the names of the columns were those of before, maybe. */
  #answerOne(batch: QueryBatch): QueryAnswers {
    for (;;) {
      const noted = this.#schemaVersion
      const answers = this.#answer(batch)
      this.#interruptible.run(noSlot, () => this.#noteSchema())
      if (this.#schemaVersion === noted) return answers
    }
  }

  /** SQLite notices a change of the schema when it runs a statement, not when it prepares one. */
  #noteSchema(): void {
    const schemaVersion = this.#readSchemaVersion.get()
    if (schemaVersion === this.#schemaVersion) return
    this.#connection.exec('SELECT 1 FROM sqlite_schema LIMIT 1')
    this.#cache.clear()
    this.#schemaVersion = schemaVersion
  }

  #answer(batch: QueryBatch): QueryAnswers {
    const { texts, isGet, ops, values, slots } = batch
    const rowOf: number[] = []
    const first: { names: readonly string[]; rows: SqlValue[][] }[] = texts.map(() => ({
      names: [],
      rows: [],
    }))
    const allRows: ColumnarRows[] = []
    const failures: [number, WireError][] = []
    let valueAt = 0
    for (let index = 0; index < isGet.length; index += 1) {
      const textNo = ops[2 * index]!
      const paramCount = ops[2 * index + 1]!
      const params = takeParams(values, valueAt, paramCount)
      valueAt += Math.abs(paramCount)
      try {
        const { statement, names } = this.prepare(texts[textNo]!)
        if (isGet[index]) {
          const row = this.#interruptible.run(slots[index]!, () => getRow(statement, params))
          const { rows } = first[textNo]!
          first[textNo]!.names = names
          rowOf.push(row === undefined ? -1 : rows.push(row) - 1)
        } else {
          const rows = this.#interruptible.run(slots[index]!, () => getRows(statement, params))
          rowOf.push(allRows.push(encodeRows(names, rows)) - 1)
        }
      } catch (error) {
        rowOf.push(-1)
        failures.push([index, toWireError(error)])
      }
    }
    const firstRows = first.map(({ names, rows }) =>
      rows.length === 0 ? undefined : encodeRows(names, rows),
    )
    return { rowOf, firstRows, allRows, failures }
  }

  #prepare(sql: string): Query {
    const statement = this.#connection.prepare<unknown[], SqlValue[]>(sql)
    if (!statement.reader) return { statement, names: [] }
    return { statement: statement.raw(true), names: statement.columns().map((column) => column.name) }
  }
}

function getRow(statement: Query['statement'], params: SqlParams | undefined): SqlValue[] | undefined {
  return params === undefined ? statement.get() : statement.get(params)
}

function getRows(statement: Query['statement'], params: SqlParams | undefined): SqlValue[][] {
  return params === undefined ? statement.all() : statement.all(params)
}
