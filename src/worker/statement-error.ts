/** What SQLite, or better-sqlite3, says of a statement names no statement, and the stack is that of a worker thread. */
import Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'

const sqlCharsMax = 1000

/** The same error, with the text of the statement, and with its place in a batch. */
export function ofStatement(error: unknown, sql: string, statementIndex?: number): unknown {
  if (!(error instanceof Error) || error instanceof MylibsqlError) return error
  const facts = { sql: sql.length > sqlCharsMax ? `${sql.slice(0, sqlCharsMax)}...` : sql }
  return Object.assign(error, statementIndex === undefined ? facts : { ...facts, statementIndex })
}

/** The same of a connection that only reads: what SQLite says of a write does not say where one can be made. */
export function ofReadOnly(error: unknown, sql: string): unknown {
  const isWrite = error instanceof Database.SqliteError && error.code === 'SQLITE_READONLY'
  if (!isWrite) return ofStatement(error, sql)
  const message = `${error.message}: queries and replicas only read, write with run() of the primary`
  return ofStatement(new Database.SqliteError(message, error.code), sql)
}
