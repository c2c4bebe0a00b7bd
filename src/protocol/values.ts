/** Values, parameters and results as SQLite and better-sqlite3 have them. */

/** What a column or a parameter can hold. Blobs are Uint8Array (a Buffer is one). */
export type SqlValue = null | number | bigint | string | Uint8Array

/** Positional (`?`) parameters as an array, or named (`:name`, `@name`, `$name`) ones as an object. */
export type SqlParams = readonly SqlValue[] | { readonly [name: string]: SqlValue }

/** A row: column names to values. */
export type Row = { [column: string]: SqlValue }

/** What a statement did. */
export interface RunResult {
  /** Rows inserted, updated or deleted. */
  readonly changes: number
  /** Rowid of the last insert on the connection; a bigint with `safeIntegers`. */
  readonly lastInsertRowid: number | bigint
  /** Rows of a statement that returns some (`... RETURNING`). Absent otherwise. */
  readonly rows?: Row[]
}

/** One statement of a batch. */
export interface Statement {
  readonly sql: string
  readonly params?: SqlParams
}
