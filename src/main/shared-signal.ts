/**
 * Many calls that share one AbortSignal, such as that of an HTTP request: one listener on it for all of them. An
 * EventTarget warns of a leak at the eleventh, and takes longer for each the more there are.
 */
class Waiters {
  readonly #signal: AbortSignal
  readonly #callbacks = new Set<() => void>()
  readonly #abortAll = () => {
    for (const callback of this.#callbacks) callback()
  }

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  add(callback: () => void): void {
    if (this.#callbacks.size === 0) this.#signal.addEventListener('abort', this.#abortAll, { once: true })
    this.#callbacks.add(callback)
  }

  delete(callback: () => void): void {
    this.#callbacks.delete(callback)
    if (this.#callbacks.size === 0) this.#signal.removeEventListener('abort', this.#abortAll)
  }
}

const waitersOf = new WeakMap<AbortSignal, Waiters>()

/** Calls back once the signal aborts. Returns what makes it forget that. */
export function whenAborted(signal: AbortSignal, callback: () => void): () => void {
  let waiters = waitersOf.get(signal)
  if (waiters === undefined) {
    waiters = new Waiters(signal)
    waitersOf.set(signal, waiters)
  }
  const own = () => callback()
  waiters.add(own)
  return () => waiters.delete(own)
}
