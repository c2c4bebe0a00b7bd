/**
 * Which calls were given up, in memory that all threads of a database share: a message would not be heard by a thread
 * that is busy with just the statement that is to end.
 *
 *     slot   two 32-bit words: state, id of the connection that runs the call (0: none does)
 *
 *     free ──take──► waiting ──begin──► running ──(answered)──► free
 *                       │                  │
 *                     cancel             cancel
 *                       ▼                  ▼
 *                    cancelled         interrupted
 *
 * A call that was cancelled while it waited is never begun: its caller is told at once. One that was running is
 * interrupted, and its caller told what came of it: rolled back, or done before the interrupt came.
 *
 * One word behind the slots is not zero once the database is closing: then no call begins any more.
 */
export const noSlot = -1

const State = { free: 0, waiting: 1, cancelled: 2, running: 3, interrupted: 4 } as const
const slotCount = 16_384
const wordsPerSlot = 2
const closingWord = slotCount * wordsPerSlot

export class CancelTable {
  readonly buffer: SharedArrayBuffer
  /** For the addon, which interrupts calls and ends them: see `wordOf`. */
  readonly words: Uint32Array
  #nextSlot = 0

  constructor(buffer = new SharedArrayBuffer((closingWord + 1) * Uint32Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer
    this.words = new Uint32Array(buffer)
  }

  /** For a call that can be cancelled; `noSlot` when all are taken. */
  take(): number {
    for (let tries = 0; tries < slotCount; tries += 1) {
      const slot = this.#nextSlot
      this.#nextSlot = (slot + 1) % slotCount
      if (this.#swap(slot, State.free, State.waiting)) return slot
    }
    return noSlot
  }

  release(slot: number): void {
    Atomics.store(this.words, slot * wordsPerSlot, State.free)
  }

  /** True when the call had not begun, and never will. */
  cancelWaiting(slot: number): boolean {
    return this.#swap(slot, State.waiting, State.cancelled)
  }

  /** Marks a running call, which then has to be interrupted. */
  cancelRunning(slot: number): void {
    this.#swap(slot, State.running, State.interrupted)
  }

  /** Where its two words begin. */
  wordOf(slot: number): number {
    return slot * wordsPerSlot
  }

  /** Called by the thread that runs the call; again when it has to run it again. False: it was given up. */
  begin(slot: number, connectionId: number): boolean {
    if (Atomics.load(this.words, closingWord) !== 0) return false
    if (slot === noSlot) return true
    Atomics.store(this.words, slot * wordsPerSlot + 1, connectionId)
    this.#swap(slot, State.waiting, State.running)
    return Atomics.load(this.words, slot * wordsPerSlot) === State.running
  }

  /** Calls that have not begun never do. */
  close(): void {
    Atomics.store(this.words, closingWord, 1)
  }

  #swap(slot: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.words, slot * wordsPerSlot, from, to) === from
  }
}
