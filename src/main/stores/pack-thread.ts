/** The thread of a store that packs its logs: there from the first claim of an epoch until the store is closed. */
export class PackThread {
  readonly #hold: (() => () => void) | undefined
  #letGo: (() => void) | undefined
  #isClosed = false

  /** `hold`: of the pool that packs; undefined when nothing is packed. */
  constructor(hold: (() => () => void) | undefined) {
    this.#hold = hold
  }

  /** No log of the epoch has to wait for its start; without an epoch it is not kept. */
  async during<T>(claim: () => Promise<T>): Promise<T> {
    if (this.#letGo !== undefined || this.#isClosed) return claim()
    this.#letGo = this.#hold?.()
    try {
      return await claim()
    } catch (error) {
      this.#end()
      throw error
    }
  }

  close(): void {
    this.#isClosed = true
    this.#end()
  }

  #end(): void {
    this.#letGo?.()
    this.#letGo = undefined
  }
}
