import type { Row, SqlParams } from '../protocol/values.js'
import { checkFunction } from './arguments.js'
import type { CallOptions } from './cancellations.js'
import type { Connection } from './connection.js'
import type { OpenDatabase } from './open-database.js'
import { checkQuery } from './parameters.js'
import { isTraced, type QueryTrace, queryChannel, traced } from './tracing.js'

/**
 * What primaries and replicas have in common: queries, which run in reader threads. A query sees everything that was executed
 * or applied before it was asked for, and one state of the database for as long as it lasts; it waits for no writer, and no
 * writer waits for it.
 *
 * @example
 * async function report(database: Queryable) {
 *   return database.readTransaction(async (connection) => ({
 *     accounts: await connection.get('SELECT count(*) AS n FROM accounts'),
 *     total: await connection.get('SELECT sum(balance) AS total FROM accounts'),
 *   }))
 * }
 */
export class Queryable {
  readonly #database: OpenDatabase
  readonly #check: (method: QueryTrace['method']) => void

  /** @internal `check` throws when the database is not to be read any more. */
  protected constructor(database: OpenDatabase, check: (method: QueryTrace['method']) => void) {
    this.#database = database
    this.#check = check
  }

  /**
   * First row of a query, undefined when there is none.
   *
   * @throws SqliteError; TypeError for a statement that gives no rows; ERR_TIMEOUT, the signal's reason, ERR_CLOSED
   */
  get<R = Row>(sql: string, params?: SqlParams, options?: CallOptions): Promise<R | undefined> {
    // Not async: with many calls waiting, each promise less counts.
    try {
      this.#check('get')
      const query = checkQuery(sql, params)
      const { readers } = this.#database
      if (!isTraced(queryChannel)) return readers.get<R>(...query, options)
      return this.#traced('get', () => readers.get<R>(...query, options), sql)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** All rows of a query. @throws as get */
  all<R = Row>(sql: string, params?: SqlParams, options?: CallOptions): Promise<R[]> {
    try {
      this.#check('all')
      const query = checkQuery(sql, params)
      const { readers } = this.#database
      if (!isTraced(queryChannel)) return readers.all<R>(...query, options)
      return this.#traced('all', () => readers.all<R>(...query, options), sql)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * The rows of a query one by one, fetched in chunks as they are consumed. Occupies a reader thread until the loop
   * ends; given up after `idleTimeoutMs` without progress.
   */
  iterate<R = Row>(sql: string, params?: SqlParams, options?: CallOptions): AsyncIterableIterator<R> {
    this.#check('iterate')
    const rows = this.#database.readers.iterate<R>(...checkQuery(sql, params), options)
    return isTraced(queryChannel) ? this.#tracedRows(rows, sql) : rows
  }

  /**
   * Lends a read-only connection of a reader thread to `work`. All of its queries see the same state of the database, whatever
   * is written or applied meanwhile.
   *
   * @throws what `work` throws; SqliteError SQLITE_READONLY for a write; ERR_TIMEOUT without a statement for
   * `idleTimeoutMs`; ERR_CLOSED
   */
  async readTransaction<T>(work: (connection: Connection) => Promise<T>, options?: CallOptions): Promise<T> {
    this.#check('readTransaction')
    checkFunction(work, 'work')
    return this.#traced('readTransaction', () =>
      this.#database.readers.session(work, options, 'readTransaction'),
    )
  }

  /** From the first row that is asked for to the end of the loop. */
  async *#tracedRows<R>(rows: AsyncIterableIterator<R>, sql: string): AsyncIterableIterator<R> {
    let settle = (_outcome: Promise<void>) => {}
    const iterated = new Promise<void>((resolve) => {
      settle = resolve
    })
    const told = this.#traced('iterate', () => iterated, sql).catch(() => {})
    try {
      yield* rows
    } catch (error) {
      settle(Promise.reject(error))
      throw error
    } finally {
      settle(Promise.resolve())
      await told
    }
  }

  #traced<T>(method: QueryTrace['method'], run: () => Promise<T>, sql?: string): Promise<T> {
    const { path } = this.#database
    return traced(queryChannel, () => ({ method, ...(sql === undefined ? {} : { sql }), path }), run)
  }
}
