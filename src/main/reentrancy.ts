/** Whether the caller runs inside a callback that it would wait for. */
import { AsyncLocalStorage } from 'node:async_hooks'

export class Reentrancy {
  readonly #storage = new AsyncLocalStorage<{ isRunning: boolean }>()
  #runningCount = 0

  /** True inside `callback` of run(), and in everything that it has started, until it has settled. */
  get isInside(): boolean {
    return this.#runningCount > 0 && this.#storage.getStore()?.isRunning === true
  }

  async run<T>(callback: () => Promise<T> | T): Promise<T> {
    const call = { isRunning: true }
    this.#runningCount += 1
    try {
      return await this.#storage.run(call, async () => callback())
    } finally {
      call.isRunning = false
      this.#runningCount -= 1
      // While a storage is in use, every promise of the process pays for it.
      if (this.#runningCount === 0) this.#storage.disable()
    }
  }
}
