/**
 * The connections of reader threads, in memory that they share with the main thread: when the database is closed, what
 * they run has to be interrupted, because a thread that is busy in SQLite hears nothing and cannot be ended.
 *
 *     word 0   count of connections; words from 1: their ids, as the addon numbers them
 */
export class ConnectionList {
  readonly buffer: SharedArrayBuffer
  readonly #words: Int32Array

  constructor(from: SharedArrayBuffer | { readonly connectionsMax: number }) {
    this.buffer =
      from instanceof SharedArrayBuffer
        ? from
        : new SharedArrayBuffer((1 + from.connectionsMax) * Int32Array.BYTES_PER_ELEMENT)
    this.#words = new Int32Array(this.buffer)
  }

  add(connectionId: number): void {
    Atomics.store(this.#words, 1 + Atomics.add(this.#words, 0, 1), connectionId)
  }

  ids(): number[] {
    return [...this.#words.subarray(1, 1 + Atomics.load(this.#words, 0))]
  }
}
