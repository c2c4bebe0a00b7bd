import type { FrameNo } from '../protocol/frame.js'
import type { Durability } from './durability.js'

/**
 * The result of a write that was executed, and the promise that it is durable.
 *
 * The result can be looked at at once; other readers of the primary see the write already. `durable()` resolves
 * when every frame up to the write's last one was saved: by the `saveLog` of a checkpoint resolving, or by
 * `Frames.ackReplicated`.
 *
 * An Ack is deliberately no thenable: `await primary.run(...)` gives the Ack, it does not wait for durability.
 *
 * @example
 * const ack = await primary.run('INSERT INTO users (name) VALUES (?)', ['Alice'])
 * ack.peek().lastInsertRowid // 1, executed
 * await ack.durable()        // ..., saved
 */
export class Ack<T> {
  readonly #value: T
  readonly #durability: Durability
  /**
   * Last frame that was committed when the write was: the write is in it or before it. Undefined when nothing
   * was ever written.
   */
  readonly frameNo: FrameNo | undefined

  /** @internal */
  constructor(value: T, frameNo: FrameNo | undefined, durability: Durability) {
    this.#value = value
    this.frameNo = frameNo
    this.#durability = durability
  }

  /** The result, whether it is durable yet or not. */
  peek(): T {
    return this.#value
  }

  get isDurable(): boolean {
    return this.#durability.isSaved(this.frameNo)
  }

  /**
   * Resolves with the result when the write is durable. Rejects with ERR_CLOSED when the primary closes before, with
   * ERR_WORKER_EXITED when its thread ends before.
   */
  async durable(): Promise<T> {
    await this.#durability.wait(this.frameNo)
    return this.#value
  }

  /** The result now, and an Ack without it for later. */
  split(): [T, Ack<void>] {
    return [this.#value, new Ack<void>(undefined, this.frameNo, this.#durability)]
  }
}
