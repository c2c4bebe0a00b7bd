/** Asks the actor to seal a log, one at a time: the answer comes by the data port, behind the writes that are in it. */
import type { LogFile } from '../protocol/log-format.js'
import type { FromActor } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'

export class Sealer {
  readonly #ask: () => void
  #resolve: (file: LogFile | undefined) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  /** `ask` sends the request, behind everything that is asked for in this tick. */
  constructor(ask: () => void) {
    this.#ask = ask
  }

  /** The log of all frames since the last one; undefined when there are none. */
  seal(): Promise<LogFile | undefined> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#ask()
    })
  }

  receive({ outcome }: Extract<FromActor, { kind: 'sealed' }>): void {
    if (outcome.ok) this.#resolve(outcome.value)
    else this.#reject(reviveError(outcome.error))
  }

  close(error: unknown): void {
    this.#reject(error)
  }
}
