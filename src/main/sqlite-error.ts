import Database from 'better-sqlite3'
import type { SqliteErrorConstructor } from '../protocol/errors.js'

/**
 * What SQLite refuses: better-sqlite3's own class, with SQLite's extended result code, the text of the statement as `sql`,
 * and its place in a batch as `statementIndex`.
 *
 * @example
 * if (error instanceof SqliteError && error.code === 'SQLITE_CONSTRAINT_UNIQUE') return 'taken'
 */
export const SqliteError: SqliteErrorConstructor = Database.SqliteError
export type SqliteError = InstanceType<SqliteErrorConstructor>
