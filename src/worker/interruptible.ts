/** Calls that may be given up, on one connection: the cancel table says which one it runs, and nothing else is interrupted. */
import Database from 'better-sqlite3'
import { type CancelTable, noSlot } from '../protocol/cancellation.js'
import { native } from './native.js'

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
    this.end(slot)
    // What a statement of SQLite's own throws.
    throw new Database.SqliteError('interrupted', 'SQLITE_INTERRUPT')
  }

  /** After a call that was begun: an interrupt that comes late must not hit the next one. */
  end(slot: number): void {
    if (slot !== noSlot) native.endCall(this.#table.words, this.#table.wordOf(slot))
  }

  run<T>(slot: number, call: () => T): T {
    this.begin(slot)
    try {
      return call()
    } finally {
      this.end(slot)
    }
  }
}
