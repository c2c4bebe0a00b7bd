/** Lets transactions begin at a fixed rate, however many clients there are. */

/** As often as a timer of Node can be due. */
const tickMs = 1
/** What is due and was not begun for so long, because all clients were busy, is given up: no burst makes up for it. */
const arrearsMsMax = 100

export class Pacer {
  readonly #perMs: number
  readonly #timer: NodeJS.Timeout
  /** Turns that were due and that nobody has taken; a fraction of one is kept. */
  #due = 0
  #lastAtMs = performance.now()
  #waiting: (() => void)[] = []
  readonly #signal: AbortSignal

  /** Until the signal aborts. */
  constructor(perSecond: number, signal: AbortSignal) {
    this.#perMs = perSecond / 1000
    this.#signal = signal
    this.#timer = setInterval(() => this.#tick(), tickMs)
    signal.addEventListener('abort', () => this.#end(), { once: true })
  }

  /** Resolves when the next transaction is due, and when the signal aborts. */
  turn(): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  #tick(): void {
    const nowMs = performance.now()
    const dueMax = Math.max(1, this.#perMs * arrearsMsMax)
    this.#due = Math.min(dueMax, this.#due + (nowMs - this.#lastAtMs) * this.#perMs)
    this.#lastAtMs = nowMs
    const ready = this.#waiting.splice(0, Math.floor(this.#due))
    this.#due -= ready.length
    for (const resolve of ready) resolve()
  }

  #end(): void {
    clearInterval(this.#timer)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
