/**
 * Queries on their way to the reader threads: those of one tick share a message. They wait here for a thread that gets on
 * with its work, so that nothing waits behind a long query while another thread is free.
 */
import type { SqlParams } from '../protocol/values.js'
import { QueryGroup } from './query-group.js'
import type { ReaderThread } from './reader-thread.js'

/** One that is executed, and one to go on with while the answers to the first travel. */
const messagesPerThreadMax = 2
/** A thread that has been busy with a message for longer is given no other one. */
const gettingOnMs = 1
/** A message costs about as much as this many small queries: fewer are not worth one more. */
const splitCountMin = 16

export class ReadQueue {
  readonly #threads: () => readonly ReaderThread[]
  readonly #isExempt: () => boolean
  /** Groups that wait to be sent; the last one still gathers. */
  #gathered: QueryGroup[] = []
  #isScheduled = false
  #isHeld = false
  #closed: unknown

  /** `threads` are those that live, one at least; throws when there can be none. `isExempt`: what is asked for now is not held. */
  constructor(threads: () => readonly ReaderThread[], isExempt: () => boolean) {
    this.#threads = threads
    this.#isExempt = isExempt
  }

  get<R>(sql: string, params: SqlParams | undefined, slot: number): Promise<R | undefined> {
    return this.#ask(true, sql, params, slot)
  }

  all<R>(sql: string, params: SqlParams | undefined, slot: number): Promise<R[]> {
    return this.#ask(false, sql, params, slot)
  }

  /** A thread has answered a message, or has ended. */
  goOn(): void {
    if (this.#gathered.length > 0) this.#schedule()
  }

  /** What was not sent waits. */
  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
    this.goOn()
  }

  /** Rejects what was not sent, and all that comes later. */
  close(error: unknown): void {
    this.#closed = error
    for (const group of this.#gathered.splice(0)) group.fail(error)
  }

  #ask<T>(isGet: boolean, sql: string, params: SqlParams | undefined, slot: number): Promise<T> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (this.#isHeld && this.#isExempt()) return this.#askAtOnce(isGet, sql, params, slot)
    let group = this.#gathered.at(-1)
    if (group === undefined || group.isFull) {
      group = new QueryGroup()
      this.#gathered.push(group)
    }
    this.#schedule()
    return group.ask(isGet, sql, params, slot)
  }

  async #askAtOnce<T>(isGet: boolean, sql: string, params: SqlParams | undefined, slot: number): Promise<T> {
    const thread = this.#threads().reduce((best, other) => (isFreer(other, best) ? other : best))
    const group = new QueryGroup()
    const answer = group.ask<T>(isGet, sql, params, slot)
    thread.send(group)
    return answer
  }

  /** After all continuations of this tick: what they ask for travels in the same message. */
  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.#flush()
    })
  }

  #flush(): void {
    while (this.#gathered.length > 0 && !this.#isHeld) {
      let threads: readonly ReaderThread[]
      try {
        threads = this.#threads()
      } catch (error) {
        for (const group of this.#gathered.splice(0)) group.fail(error)
        return
      }
      const thread = nextThread(threads)
      if (thread === undefined) return
      if (this.#gathered.length === 1) this.#gathered = this.#shared(this.#gathered[0]!, threads)
      thread.send(this.#gathered.shift()!)
    }
  }

  /** Idle threads share what there is, in two messages each when it is enough. */
  #shared(group: QueryGroup, threads: readonly ReaderThread[]): QueryGroup[] {
    const idleCount = threads.filter((thread) => thread.messageCount === 0).length
    const worthCount = Math.floor(group.queryCount / splitCountMin)
    return group.split(Math.max(1, Math.min(messagesPerThreadMax * idleCount, worthCount)))
  }
}

/** The one with the least to do; undefined when all of them are busy. */
function nextThread(threads: readonly ReaderThread[]): ReaderThread | undefined {
  let best: ReaderThread | undefined
  const nowMs = performance.now()
  for (const thread of threads) {
    if (thread.messageCount >= messagesPerThreadMax) continue
    if (thread.messageCount > 0 && nowMs - thread.busySinceMs > gettingOnMs) continue
    if (best === undefined || isFreer(thread, best)) best = thread
  }
  return best
}

function isFreer(thread: ReaderThread, other: ReaderThread): boolean {
  if (thread.messageCount !== other.messageCount) return thread.messageCount < other.messageCount
  if (thread.taskCount !== other.taskCount) return thread.taskCount < other.taskCount
  return thread.messageCount > 0 && thread.busySinceMs > other.busySinceMs
}
