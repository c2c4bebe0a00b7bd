/** The statements of an interactive connection: one caller has the connection to itself until it gives it back. */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import { iterateChunkRows } from '../protocol/limits.js'
import type { Row } from '../protocol/values.js'
import type { IteratedRows, SessionReply, SessionStatement } from '../protocol/wire.js'
import { ofReadOnly, ofStatement } from './statement-error.js'
import { isSavepoint, type Statements, statementKind } from './statements.js'

export class Session {
  readonly #connection: Database.Database
  readonly #statements: Statements
  /** The session is one transaction, begun and ended by its owner: statements may not end it. */
  readonly #isTransaction: boolean
  readonly #holdTransaction: (on: boolean) => void
  readonly #iterations = new Map<number, { readonly rows: IterableIterator<Row>; readonly sql: string }>()

  /** `holdTransaction` is the addon's, on a connection that writes. */
  constructor(
    connection: Database.Database,
    statements: Statements,
    isTransaction: boolean,
    holdTransaction: (on: boolean) => void = () => {},
  ) {
    this.#connection = connection
    this.#statements = statements
    this.#isTransaction = isTransaction
    this.#holdTransaction = holdTransaction
  }

  get isInTransaction(): boolean {
    return this.#connection.inTransaction
  }

  /** Whether it may write. Throws SqliteError. */
  writes(statement: SessionStatement): boolean {
    if (statement.mode === 'exec') return true
    if (!('sql' in statement)) return false
    try {
      return !this.#statements.prepare(statement.sql).readonly
    } catch (error) {
      throw ofStatement(error, statement.sql)
    }
  }

  /** Throws SqliteError, ERR_REFUSED. */
  execute(statement: SessionStatement): SessionReply {
    // Outside of it, each statement would commit by itself.
    if (this.#isTransaction && !this.#connection.inTransaction) throw transactionEnded()
    const sql = 'sql' in statement ? statement.sql : this.#iterations.get(statement.iterationNo)?.sql
    try {
      return this.#run(statement)
    } catch (error) {
      if (sql === undefined) throw error
      throw this.#connection.readonly ? ofReadOnly(error, sql) : this.#ofWriter(error, sql)
    }
  }

  /** Nothing is iterated any more: a transaction cannot be ended while something is. */
  endIterations(): void {
    for (const iterationNo of [...this.#iterations.keys()]) this.#stop(iterationNo)
  }

  #run(statement: SessionStatement): SessionReply {
    if ('sql' in statement && statement.mode !== 'exec') this.#refuseTransactionControl(statement.sql)
    switch (statement.mode) {
      case 'run':
        return this.#statements.run(statement.sql, statement.params)
      case 'get':
        return this.#statements.get(statement.sql, statement.params)
      case 'all':
        return this.#statements.all(statement.sql, statement.params)
      case 'exec':
        return this.#exec(statement.sql)
      case 'iterate': {
        const { iterationNo, sql, params } = statement
        this.#iterations.set(iterationNo, { rows: this.#statements.iterate(sql, params), sql })
        return this.#next(iterationNo)
      }
      case 'next':
        return this.#next(statement.iterationNo)
      case 'stop':
        return this.#stop(statement.iterationNo)
      default:
        return statement satisfies never
    }
  }

  #next(iterationNo: number): IteratedRows {
    const iteration = this.#iterations.get(iterationNo)
    if (iteration === undefined) throw iterationEnded()
    const { rows } = iteration
    const chunk: Row[] = []
    try {
      while (chunk.length < iterateChunkRows) {
        const next = rows.next()
        if (next.done === true) {
          this.#iterations.delete(iterationNo)
          return { rows: chunk, isDone: true }
        }
        chunk.push(next.value)
      }
      return { rows: chunk, isDone: false }
    } catch (error) {
      this.#iterations.delete(iterationNo)
      throw error
    }
  }

  #stop(iterationNo: number): undefined {
    this.#iterations.get(iterationNo)?.rows.return?.()
    this.#iterations.delete(iterationNo)
  }

  /** While rows are iterated better-sqlite3 refuses everything but queries. */
  #ofWriter(error: unknown, sql: string): unknown {
    const isBusy = error instanceof TypeError && error.message.includes('busy')
    if (!isBusy || this.#iterations.size === 0) return ofStatement(error, sql)
    const message =
      'An iteration is open on this connection, which can only be queried meanwhile: end it before, or take the rows with all()'
    return ofStatement(new MylibsqlError('ERR_REFUSED', message, {}, { cause: error }), sql)
  }

  /** A script of several statements. Inside a transaction it must leave that transaction open. */
  #exec(sql: string): undefined {
    this.#refuseTransactionControl(sql)
    this.#holdTransaction(this.#isTransaction)
    try {
      this.#connection.exec(sql)
    } finally {
      this.#holdTransaction(false)
    }
    if (this.#isTransaction && !this.#connection.inTransaction) throw transactionEnded()
    return undefined
  }

  #refuseTransactionControl(sql: string): void {
    if (!this.#isTransaction || statementKind(sql) !== 'transaction') return
    // Savepoints nest and are the caller's; only what ends or begins the whole transaction is refused.
    if (isSavepoint(sql)) return
    const message =
      `"${sql.trim().slice(0, 40)}" inside transaction(): it begins and commits by itself. ` +
      'Throw to roll back; use withConnection() to control transactions'
    throw new MylibsqlError('ERR_REFUSED', message)
  }
}

function iterationEnded(): MylibsqlError {
  const message = 'This iteration is over: it has ended with the callback that it was begun in'
  return new MylibsqlError('ERR_CLOSED', message)
}

export function transactionEnded(): MylibsqlError {
  const message =
    'The transaction has ended before its time: SQLite has rolled it back (ON CONFLICT ROLLBACK, RAISE(ROLLBACK), a full ' +
    'disk)'
  return new MylibsqlError('ERR_REFUSED', message)
}
