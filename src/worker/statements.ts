/** Prepared statements of one connection, kept by their text, the least recently used one dropped first. */
import type Database from 'better-sqlite3'
import { statementCacheSize } from '../protocol/limits.js'
import type { Row, RunResult, SqlParams, SqlValue } from '../protocol/values.js'
import { namedParams } from '../protocol/wire.js'

/**
 * What a text may be run with. `alone`: not inside a transaction that others share. `transaction`: begins or ends
 * a transaction.
 */
export type StatementKind = 'grouped' | 'alone' | 'transaction'

const leading = /^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/|;)*([a-z]+)/i
const aloneWords = new Set(['VACUUM', 'PRAGMA', 'ATTACH', 'DETACH'])
const transactionWords = new Set(['BEGIN', 'COMMIT', 'END', 'ROLLBACK', 'SAVEPOINT', 'RELEASE'])

export function statementKind(sql: string): StatementKind {
  const word = leading.exec(sql)?.[1]?.toUpperCase() ?? ''
  if (aloneWords.has(word)) return 'alone'
  return transactionWords.has(word) ? 'transaction' : 'grouped'
}

/** SAVEPOINT, RELEASE and ROLLBACK TO, which nest in a transaction and end none. */
export function isSavepoint(sql: string): boolean {
  const start = leading.exec(sql)
  const word = start?.[1]?.toUpperCase()
  if (word !== 'ROLLBACK') return word === 'SAVEPOINT' || word === 'RELEASE'
  return /^\s+(transaction\s+)?to\b/i.test(sql.slice(start![0].length))
}

type Prepared = Database.Statement<unknown[], Row>

/** A text that is run again and again: what is known of it is found out once. */
export class StatementText {
  readonly sql: string
  readonly kind: StatementKind
  prepared: Prepared | undefined

  constructor(sql: string) {
    this.sql = sql
    this.kind = statementKind(sql)
  }
}

export class Statements {
  readonly #connection: Database.Database
  readonly #cache = new Map<string, Prepared>()
  readonly #counts: Database.Statement<unknown[], { changes: number; rowid: number | bigint }>

  constructor(connection: Database.Database) {
    this.#connection = connection
    this.#counts = connection.prepare('SELECT changes() AS changes, last_insert_rowid() AS rowid')
  }

  prepare(sql: string): Prepared {
    const known = this.#cache.get(sql)
    if (known !== undefined) {
      this.#cache.delete(sql)
      // An iterator that was given up half-way leaves its statement busy.
      if (!known.busy) {
        this.#cache.set(sql, known)
        return known
      }
    }
    const prepared = this.#connection.prepare<unknown[], Row>(sql)
    this.#cache.set(sql, prepared)
    if (this.#cache.size > statementCacheSize) this.#cache.delete(this.#cache.keys().next().value!)
    return prepared
  }

  run(sql: string, params: SqlParams | undefined): RunResult {
    return this.#run(this.prepare(sql), params)
  }

  /** With parameters as they stand flattened in a group. */
  runText(text: StatementText, values: readonly unknown[], at: number, paramCount: number): RunResult {
    text.prepared ??= this.prepare(text.sql)
    if (text.prepared.reader) return this.#run(text.prepared, takeParams(values, at, paramCount))
    // One by one they cost better-sqlite3 less than in an array.
    switch (paramCount) {
      case 0:
        return text.prepared.run()
      case 1:
        return text.prepared.run(values[at])
      case 2:
        return text.prepared.run(values[at], values[at + 1])
      case 3:
        return text.prepared.run(values[at], values[at + 1], values[at + 2])
      case 4:
        return text.prepared.run(values[at], values[at + 1], values[at + 2], values[at + 3])
      default:
        return text.prepared.run(takeParams(values, at, paramCount))
    }
  }

  #run(prepared: Prepared, params: SqlParams | undefined): RunResult {
    if (!prepared.reader) {
      return params === undefined ? prepared.run() : prepared.run(params)
    }
    const rows = this.#all(prepared, params)
    if (prepared.readonly) return { changes: 0, lastInsertRowid: this.#counts.get()!.rowid, rows }
    const { changes, rowid } = this.#counts.get()!
    return { changes: Number(changes), lastInsertRowid: rowid, rows }
  }

  get(sql: string, params: SqlParams | undefined): Row | undefined {
    const prepared = this.prepare(sql)
    return params === undefined ? prepared.get() : prepared.get(params)
  }

  all(sql: string, params: SqlParams | undefined): Row[] {
    return this.#all(this.prepare(sql), params)
  }

  iterate(sql: string, params: SqlParams | undefined): IterableIterator<Row> {
    const prepared = this.prepare(sql)
    return params === undefined ? prepared.iterate() : prepared.iterate(params)
  }

  #all(prepared: Prepared, params: SqlParams | undefined): Row[] {
    return params === undefined ? prepared.all() : prepared.all(params)
  }
}

/** How many values the parameters of a statement are: named ones are one object. */
export function valueCount(paramCount: number): number {
  return paramCount === namedParams ? 1 : paramCount
}

/** Parameters as they stand flattened in a group, from `at` on: `count` values, or one object when negative. */
export function takeParams(values: readonly unknown[], at: number, count: number): SqlParams | undefined {
  if (count === 0) return undefined
  if (count < 0) return values[at] as SqlParams
  return values.slice(at, at + count) as SqlValue[]
}
