/** The queries of one connection of a reader thread, and the read transactions that they run in. */
import type Database from 'better-sqlite3'
import { statementCacheSize } from '../protocol/limits.js'
import type { SqlValue } from '../protocol/values.js'

export interface Query {
  readonly statement: Database.Statement<unknown[], SqlValue[]>
  readonly names: readonly string[]
  /** Whether it took long the last time. */
  isLong: boolean
}

/** Prepared queries that give rows as arrays, kept by text, the least recently used one dropped first. */
export class Queries {
  readonly #connection: Database.Database
  readonly #begin: Database.Statement
  readonly #rollback: Database.Statement
  readonly #readSchemaVersion: Database.Statement<unknown[], number | bigint>
  /** Of the schema that the names of columns in the cache are of. */
  #schemaVersion: number | bigint | undefined
  readonly #cache = new Map<string, Query>()

  constructor(connection: Database.Database) {
    this.#connection = connection
    this.#begin = connection.prepare('BEGIN')
    this.#rollback = connection.prepare('ROLLBACK')
    this.#readSchemaVersion = connection.prepare<unknown[], number | bigint>('PRAGMA schema_version').pluck()
  }

  /** Begins a read transaction, which stands at the present state of the database until end(). */
  begin(): void {
    if (!this.#connection.inTransaction) this.#begin.run()
    // The first read is what begins it.
    this.#noteSchema()
  }

  end(): void {
    // SQLite may have ended it by itself. It refuses to commit one in which a query has met damage.
    if (this.#connection.inTransaction) this.#rollback.run()
  }

  /** Throws TypeError for a statement that gives no rows. One that writes is refused by SQLite when it is run. */
  prepare(sql: string): Query {
    const known = this.#cache.get(sql)
    this.#cache.delete(sql)
    const query = known === undefined || known.statement.busy ? this.#prepare(sql) : known
    this.#cache.set(sql, query)
    if (this.#cache.size > statementCacheSize) this.#cache.delete(this.#cache.keys().next().value!)
    return query
  }

  /** Runs `work` in a read transaction. */
  reading(work: () => void): void {
    this.begin()
    try {
      work()
    } finally {
      this.end()
    }
  }

  /**
   * Runs `work`, which is one query and so has a read transaction of its own; again when the schema was changed before:
   * the names of the columns were the old ones, maybe.
   */
  readingOnce(work: () => void): void {
    if (this.#schemaVersion === undefined) this.#noteSchema()
    for (;;) {
      const noted = this.#schemaVersion
      work()
      this.#noteSchema()
      if (this.#schemaVersion === noted) return
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

  #prepare(sql: string): Query {
    const statement = this.#connection.prepare<unknown[], SqlValue[]>(sql)
    if (!statement.reader) {
      const message =
        'get, all and iterate are for queries; this statement gives no rows: use run() of the primary'
      throw new TypeError(message)
    }
    const names = statement.columns().map((column) => column.name)
    return { statement: statement.raw(true), names, isLong: false }
  }
}
