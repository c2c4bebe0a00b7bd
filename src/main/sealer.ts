/** Asks the actor to seal a log, one at a time: the answer comes by the data port. */
import type { LogFile } from '../protocol/log-format.js'
import type { FromActor, Outcome, StoredInTail } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'

export interface SealedLog {
  readonly file: LogFile
  /** What came of storing it in the tail of the store; undefined when there was none. */
  readonly stored: Outcome<StoredInTail> | undefined
}

export class Sealer {
  readonly #ask: () => void
  #resolve: (log: SealedLog | undefined) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  /** `ask` sends the request, behind everything that is asked for in this tick. */
  constructor(ask: () => void) {
    this.#ask = ask
  }

  /** The log of all frames since the last one; undefined when there are none. */
  seal(): Promise<SealedLog | undefined> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#ask()
    })
  }

  receive({ outcome, stored }: Extract<FromActor, { kind: 'sealed' }>): void {
    if (!outcome.ok) this.#reject(reviveError(outcome.error))
    else this.#resolve(outcome.value && { file: outcome.value, stored })
  }

  close(error: unknown): void {
    this.#reject(error)
  }
}
