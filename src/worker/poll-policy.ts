/**
 * Whether a thread polls for its next message before it sleeps.
 *
 * To be put to sleep and woken costs a thread tens of microseconds, more than to poll for as long, when the next message
 * does come soon: a caller that awaits each of its writes sends it as soon as it has the answer. So `adaptive` does
 * what hypervisors do before they halt a processor (Linux: Documentation/virt/kvm/halt-polling.rst): it polls while
 * polling has lately paid off, and tries again the more rarely the more often it was in vain.
 */
import { pollRetryMax, pollSoonUs } from '../protocol/limits.js'
import type { Polling } from '../protocol/wire.js'

export class PollPolicy {
  readonly #polling: Polling
  #isWorthwhile = false
  /** Messages in a row that came soon after the thread had nothing more to do. */
  #soonCount = 0
  /** How many of those it takes to begin polling. */
  #soonCountNeeded = 1

  constructor(polling: Polling) {
    this.#polling = polling
  }

  get polls(): boolean {
    return this.#polling === 'always' || (this.#polling === 'adaptive' && this.#isWorthwhile)
  }

  /** A message has woken the thread, so long after it had dealt with the one before. */
  woken(afterMs: number): void {
    this.#soonCount = afterMs <= pollSoonUs / 1000 ? this.#soonCount + 1 : 0
    this.#isWorthwhile ||= this.#soonCount >= this.#soonCountNeeded
  }

  /** The thread has polled. */
  polled(isMessageThere: boolean): void {
    if (isMessageThere) {
      this.#soonCountNeeded = 1
      return
    }
    this.#isWorthwhile = false
    this.#soonCount = 0
    this.#soonCountNeeded = Math.min(2 * this.#soonCountNeeded, pollRetryMax)
  }
}
