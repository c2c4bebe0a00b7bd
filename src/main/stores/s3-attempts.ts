/** Calls to a service that fails now and then: each attempt ends in time, and there is another one while it may help. */
import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { whenEither } from './either-signal.js'
import { Interrupted, isTransient, storeError } from './s3-failure.js'

interface Attempt {
  /** 1 for the first. */
  readonly count: number
  /** Aborts when the caller gives up, the store closes, or nothing has happened for too long. */
  readonly signal: AbortSignal
  /** Something has come or gone: puts off the end of the attempt. */
  alive(): void
}

interface AttemptOptions {
  readonly signal?: AbortSignal | undefined
  /** How long nothing may happen. Default: a third of the time that a call has. */
  readonly idleMs?: number
  /** Attempts there are at least, for a transfer that takes longer than a call has time. Default: 1. */
  readonly attemptsMin?: number
}

const retryMs = { first: 50, max: 2000 }

export class Attempts {
  readonly #timeoutMs: number
  readonly #url: string
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()

  constructor(url: string, timeoutMs: number) {
    this.#url = url
    this.#timeoutMs = timeoutMs
    // Every call listens to it.
    setMaxListeners(0, this.closing)
  }

  /** Aborts when the store closes. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /**
   * Rejects with the signal's reason; ERR_CLOSED; what `attempt` says as an error of the library; ERR_STORE when it is
   * final, or nothing has helped within the time of a call.
   *
   * @param action such as 'read'; `where` is what cannot be read then
   */
  async run<T>(
    action: string,
    where: string,
    options: AttemptOptions,
    attempt: (attempt: Attempt) => Promise<T>,
  ): Promise<T> {
    this.checkOpen()
    options.signal?.throwIfAborted()
    const running = this.#run(action, where, options, attempt)
    this.#running.add(running)
    try {
      return await running
    } catch (error) {
      options.signal?.throwIfAborted()
      this.checkOpen()
      throw error
    } finally {
      this.#running.delete(running)
    }
  }

  checkOpen(): void {
    if (this.closing.aborted) throw new MylibsqlError('ERR_CLOSED', `The store ${this.#url} is closed`)
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#running)
  }

  async #run<T>(
    action: string,
    where: string,
    { signal, idleMs = Math.ceil(this.#timeoutMs / 3), attemptsMin = 1 }: AttemptOptions,
    attempt: (attempt: Attempt) => Promise<T>,
  ): Promise<T> {
    const startMs = performance.now()
    const { signal: ended, release } = whenEither(this.closing, signal)
    try {
      for (let count = 1; ; count++) {
        try {
          return await inTime(ended, idleMs, (limits) => attempt({ ...limits, count }))
        } catch (error) {
          const isOver = performance.now() - startMs >= this.#timeoutMs && count >= attemptsMin
          if (ended.aborted || isOver || !isTransient(error)) throw storeError(action, where, error)
        }
        const longestMs = Math.min(retryMs.max, retryMs.first * 2 ** (count - 1))
        // Not all at the same moment.
        await delay(longestMs * (0.5 + Math.random() / 2), undefined, { signal: ended })
      }
    } finally {
      release()
    }
  }
}

async function inTime<T>(
  ended: AbortSignal,
  idleMs: number,
  attempt: (attempt: Omit<Attempt, 'count'>) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const { signal, release } = whenEither(ended, late.signal)
  let timer = setTimeout(() => late.abort(), idleMs)
  const alive = () => {
    clearTimeout(timer)
    timer = setTimeout(() => late.abort(), idleMs)
  }
  try {
    return await attempt({ signal, alive })
  } catch (error) {
    if (!late.signal.aborted || error instanceof MylibsqlError) throw error
    throw new Interrupted(`no answer within ${idleMs} ms`, { cause: error })
  } finally {
    clearTimeout(timer)
    release()
  }
}
