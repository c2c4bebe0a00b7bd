import type { FrameNo } from '../protocol/frame.js'
import type { RunResult } from '../protocol/values.js'
import type { BatchResults } from '../protocol/wire.js'
import { checkOptions, checkSignal, checkTimeoutMs, optional } from './arguments.js'
import type { Commit } from './durability.js'

export interface DurableOptions {
  /** Ends the wait; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Ends the wait after so many milliseconds, with ERR_TIMEOUT. Default: no limit. */
  timeoutMs?: number | undefined
}

const known = { signal: optional(checkSignal), timeoutMs: optional(checkTimeoutMs) }

/** Instead of a count of changes: the result is there, or it is still in columns. */
const made = -1
const columnar = -2

/**
 * The result of a write that was executed, and the promise that it is durable.
 *
 * The result can be looked at at once; other readers of the primary see the write already. `durable()` resolves
 * when every frame up to the write's last one was saved: by the `saveLog` of a checkpoint resolving, or by
 * `Frames.ackReplicated`; of a primary with a store: when the store has it, and no newer primary had taken over.
 *
 * An Ack is deliberately no thenable: `await primary.run(...)` gives the Ack, it does not wait for durability.
 *
 * @example
 * const ack = await primary.run('INSERT INTO users (name) VALUES (?)', ['Alice'])
 * ack.peek().lastInsertRowid // 1, executed
 * await ack.durable()        // ..., saved
 */
export class Ack<T> {
  readonly #commit: Commit
  /** The result; while it is not made yet, the rowid of a statement or the columns of a batch. */
  #value: unknown
  /** Of a statement, or what `#value` is. Results are made when they are looked at: of a million, most never are. */
  #changes: number

  private constructor(commit: Commit, value: unknown, changes: number) {
    this.#commit = commit
    this.#value = value
    this.#changes = changes
  }

  /** @internal */
  static of<T>(commit: Commit, value: T): Ack<T> {
    return new Ack(commit, value, made)
  }

  /** @internal */
  static ofStatement(commit: Commit, changes: number, lastInsertRowid: number | bigint): Ack<RunResult> {
    return new Ack(commit, lastInsertRowid, changes)
  }

  /** @internal */
  static ofBatch(commit: Commit, results: BatchResults): Ack<RunResult[]> {
    return new Ack(commit, results, columnar)
  }

  /**
   * The last frame that was committed when this write was: all frames of the write are at or before it. For `waitFor`
   * and `restore`. Undefined when nothing was ever written.
   */
  get frameNo(): FrameNo | undefined {
    return this.#commit.frameNo
  }

  /** The result, whether it is durable yet or not. */
  peek(): T {
    if (this.#changes !== made) {
      this.#value =
        this.#changes === columnar
          ? makeResults(this.#value as BatchResults)
          : { changes: this.#changes, lastInsertRowid: this.#value }
      this.#changes = made
    }
    return this.#value as T
  }

  get isDurable(): boolean {
    return this.#commit.durability.isSaved(this.frameNo)
  }

  /**
   * Resolves with the result when the write is durable, however long that takes. Rejects with ERR_CLOSED when the primary
   * closes before, with ERR_WORKER_EXITED or ERR_WAL_RESET when its thread fails before, with ERR_FENCED when a newer primary
   * has taken the store over before: then the write may be in the history or not. With options the wait ends earlier, with
   * ERR_TIMEOUT or the signal's reason: the write stays, and may be durable later.
   *
   * @example await ack.durable({ timeoutMs: 5000 })
   */
  async durable(options?: DurableOptions): Promise<T> {
    const { durability } = this.#commit
    if (options === undefined) await durability.wait(this.frameNo)
    else {
      const { signal, timeoutMs } = checkOptions(options, known, 'durable')
      await durability.waitWithin(this.frameNo, signal, timeoutMs)
    }
    return this.peek()
  }

  /** The result now, and an Ack without it for later. */
  split(): [T, Ack<void>] {
    return [this.peek(), Ack.of<void>(this.#commit, undefined)]
  }
}

function makeResults({ changes, rowids, rows }: BatchResults): RunResult[] {
  const results: RunResult[] = new Array(changes.length)
  for (let index = 0; index < changes.length; index += 1)
    results[index] = { changes: changes[index]!, lastInsertRowid: rowids[index]! }
  for (const [index, returned] of rows) results[index] = { ...results[index]!, rows: returned }
  return results
}
