import { MylibsqlError } from '../../protocol/errors.js'
import type { StoredLog } from './store.js'

/** What an iteration gives, collected while nobody asks. */
export class Arrivals {
  #logs: StoredLog[] = []
  #outcome: { readonly error: unknown } | undefined
  #wake: (() => void) | undefined
  /** The source has given something that is not among these. */
  #isAlive = false
  #isEnded = false

  constructor(source: AsyncIterable<StoredLog>, arrived: (stored: StoredLog) => void) {
    const collect = async (): Promise<never> => {
      for await (const stored of source) {
        if (this.#isEnded) break
        this.#logs.push(stored)
        arrived(stored)
        this.#wake?.()
      }
      throw new MylibsqlError('ERR_STORE', 'The store ended its stream of logs')
    }
    collect().catch((error: unknown) => {
      this.#outcome = { error }
      this.#wake?.()
    })
  }

  /** The source is alive: it has given something by another way. */
  noteAlive(): void {
    this.#isAlive = true
  }

  /** All that have arrived, at least one; undefined when nothing was heard of the source for `timeoutMs`, or a bit longer. */
  async take(timeoutMs: number): Promise<readonly StoredLog[] | undefined> {
    while (this.#logs.length === 0 && this.#outcome === undefined) {
      this.#isAlive = false
      await this.#arrival(timeoutMs)
      if (!this.#isAlive) break
    }
    if (this.#logs.length > 0) return this.#logs.splice(0)
    if (this.#outcome !== undefined) throw this.#outcome.error
    return undefined
  }

  end(): void {
    this.#isEnded = true
    this.#wake?.()
  }

  async #arrival(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      timer = setTimeout(resolve, timeoutMs)
    })
    clearTimeout(timer)
    this.#wake = undefined
  }
}
