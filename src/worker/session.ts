/** The statements of an interactive connection: one caller has the connection to itself until it gives it back. */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import type { SessionReply, SessionStatement } from '../protocol/wire.js'
import { ofReadOnly, ofStatement } from './statement-error.js'
import { isSavepoint, type Statements, statementKind } from './statements.js'

export class Session {
  readonly #connection: Database.Database
  readonly #statements: Statements
  /** The session is one transaction, begun and ended by its owner: statements may not end it. */
  readonly #isTransaction: boolean
  readonly #holdTransaction: (on: boolean) => void

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
  writes({ mode, sql }: SessionStatement): boolean {
    try {
      return mode === 'exec' || !this.#statements.prepare(sql).readonly
    } catch (error) {
      throw ofStatement(error, sql)
    }
  }

  /** Throws SqliteError, ERR_REFUSED. */
  execute(statement: SessionStatement): SessionReply {
    // Outside of it, each statement would commit by itself.
    if (this.#isTransaction && !this.#connection.inTransaction) throw transactionEnded()
    try {
      return this.#run(statement)
    } catch (error) {
      throw this.#connection.readonly ? ofReadOnly(error, statement.sql) : ofStatement(error, statement.sql)
    }
  }

  #run({ mode, sql, params }: SessionStatement): SessionReply {
    if (mode !== 'exec') this.#refuseTransactionControl(sql)
    switch (mode) {
      case 'run':
        return this.#statements.run(sql, params)
      case 'get':
        return this.#statements.get(sql, params)
      case 'all':
        return this.#statements.all(sql, params)
      case 'exec':
        return this.#exec(sql)
      default:
        return mode satisfies never
    }
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

export function transactionEnded(): MylibsqlError {
  const message =
    'The transaction has ended before its time: SQLite has rolled it back (ON CONFLICT ROLLBACK, RAISE(ROLLBACK), a full ' +
    'disk)'
  return new MylibsqlError('ERR_REFUSED', message)
}
