/** What a thread counts, also while it is busy: whoever watches a database wants to hear just then. */
import { setTimeout as delay } from 'node:timers/promises'
import type { ActorStats } from '../protocol/wire.js'

export interface KnownStats {
  readonly actor: ActorStats
  /** How old it is, in milliseconds: 0 when the thread has just told it. */
  readonly ageMs: number
}

/** A thread that does not answer for so long is busy. */
const answerMsMax = 1_000

export class LastStats {
  readonly #ask: () => Promise<ActorStats>
  #last: ActorStats
  #lastAtMs = performance.now()
  /** The last question, until it is answered. */
  #asking: { readonly answered: Promise<void>; readonly sinceMs: number } | undefined

  constructor(ask: () => Promise<ActorStats>, atOpening: ActorStats) {
    this.#ask = ask
    this.#last = atOpening
  }

  /** Rejects as the question does. */
  async get(): Promise<KnownStats> {
    const nowMs = performance.now()
    const asking = this.#asking
    // A younger question may have come before what the caller has done since.
    const isBusy = asking !== undefined && nowMs - asking.sinceMs > answerMsMax
    const answered = isBusy ? asking.answered : this.#askAgain(nowMs)
    const ended = new AbortController()
    const late = delay(answerMsMax, 'late', { ref: false, signal: ended.signal }).catch(() => {})
    const first = await Promise.race([answered, late])
    ended.abort()
    const ageMs = first === 'late' ? Math.round(performance.now() - this.#lastAtMs) : 0
    return { actor: this.#last, ageMs }
  }

  #askAgain(sinceMs: number): Promise<void> {
    const answered = this.#ask().then((stats) => {
      this.#last = stats
      this.#lastAtMs = performance.now()
    })
    const asking = { answered, sinceMs }
    this.#asking = asking
    const settled = () => {
      if (this.#asking === asking) this.#asking = undefined
    }
    answered.then(settled, settled)
    return answered
  }
}
