/** Runs calls that may be given up on one connection: tells the cancel table, and runs again what was hit by mistake. */
import Database from 'better-sqlite3'
import type { CancelTable } from '../protocol/cancellation.js'

export class Interruptible {
  readonly #table: CancelTable
  readonly #connectionId: number

  constructor(table: CancelTable, connectionId: number) {
    this.#table = table
    this.#connectionId = connectionId
  }

  /** Before a call, and before each of its statements. Throws SqliteError SQLITE_INTERRUPT when it was given up. */
  begin(slot: number): void {
    if (this.#table.begin(slot, this.#connectionId)) return
    // What a statement of SQLite's own throws.
    throw new Database.SqliteError('interrupted', 'SQLITE_INTERRUPT')
  }

  /** An interrupt that was meant for a call before this one, which was done before it came. */
  isStray(error: unknown, slot: number): boolean {
    const isInterrupt = (error as { code?: unknown } | null)?.code === 'SQLITE_INTERRUPT'
    return isInterrupt && !this.#table.isGivenUp(slot)
  }

  /** Runs a query, which changes nothing and can be run again. */
  run<T>(slot: number, query: () => T): T {
    for (;;) {
      this.begin(slot)
      try {
        return query()
      } catch (error) {
        if (!this.isStray(error, slot)) throw error
      }
    }
  }
}
