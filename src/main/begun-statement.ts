/** A statement that a callback has begun, and whether anybody waits for it: a forgotten `await` must not commit half of a transaction. */
export class BegunStatement<T> {
  /** What the callback is given. */
  readonly result: Promise<T>
  #isSettled = false
  #failure: { readonly error: unknown } | undefined
  #isAwaited = false
  #wake: () => void = () => {}

  constructor(run: () => Promise<T>) {
    this.result = this.#run(run)
    // `await`, then() and Promise.all() ask a promise for its constructor, and nobody else does (PromiseResolve and
    // SpeciesConstructor in ECMA-262).
    Object.defineProperty(this.result, 'constructor', { get: () => this.#awaited() })
  }

  /** Resolves when it has settled; rejects when it has failed and nobody waits for it. */
  async unlessUnseen(): Promise<void> {
    if (!this.#isSettled) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== undefined && !this.#isAwaited) throw this.#failure.error
  }

  // No then() on the result while somebody may wait for it: V8 tells in the stack who does only if it is one.
  async #run(run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } catch (error) {
      this.#failure = { error }
      if (!this.#isAwaited) this.#handle()
      throw error
    } finally {
      this.#isSettled = true
      this.#wake()
    }
  }

  /** The callback fails with it: no unhandled rejection besides. */
  #handle(): void {
    this.result.catch(() => {})
    this.#isAwaited = false
  }

  #awaited(): PromiseConstructor {
    this.#isAwaited = true
    return Promise
  }
}
