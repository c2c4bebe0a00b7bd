/** Calls that end, whatever NATS does: tried again until their time is over, and given up when the signal says so. */
import { setTimeout as delay } from 'node:timers/promises'
import type { NatsConnection } from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'
import { isFinal, isTaken, storeError } from './nats-failure.js'
import type { CallLimits } from './store.js'
import { discard, unlessAborted, within } from './waits.js'

/** Undefined: at once again. */
export type Attempt<T> = (attemptMs: number) => Promise<T | undefined>

interface Bounds {
  readonly url: string
  /** As in "Cannot ... nats://host/name". */
  readonly action: string
  readonly timeoutMs: number
  readonly limits?: CallLimits | undefined
}

/** Of one request; several have to fit into the time limit of a call. */
export const requestMsMax = 2000
const requestMsMin = 100
const waitMs = { first: 10, max: 500 }
const takenLooks = { count: 10, pauseMs: 100 }

/** Rejects with ERR_STORE when the time is over, with what will not change by asking again, with the signal's reason. */
export async function retried<T>(
  { url, action, timeoutMs, limits }: Bounds,
  attempt: Attempt<T>,
): Promise<T> {
  const endMs = performance.now() + timeoutMs
  let nextWaitMs = waitMs.first
  for (;;) {
    limits?.signal?.throwIfAborted()
    try {
      const attemptMs = Math.max(requestMsMin, Math.min(requestMsMax, endMs - performance.now()))
      const result = await unlessAborted(attempt(attemptMs), limits?.signal)
      if (result !== undefined) return result
      if (performance.now() < endMs) continue
      throw new MylibsqlError('ERR_STORE', `${url}: others wrote at the same time, for ${timeoutMs} ms`)
    } catch (error) {
      limits?.signal?.throwIfAborted()
      if (isFinal(error) || performance.now() + nextWaitMs > endMs) throw storeError(url, action, error)
      await unlessAborted(delay(nextWaitMs), limits?.signal)
      nextWaitMs = Math.min(2 * nextWaitMs, waitMs.max)
    }
  }
}

/**
 * Several make the same thing at once: to some of them the server says that there is one, and may know nothing of it yet. So
 * it is looked for until it is there, for a second; when it is not, `failure` is what the server has said.
 */
export async function madeByOthers<T>(failure: unknown, look: () => Promise<T>): Promise<T> {
  for (let left = takenLooks.count; ; left--) {
    try {
      return await look()
    } catch {
      if (!isTaken(failure) || left === 0) throw failure
      await delay(takenLooks.pauseMs)
    }
  }
}

/** Tells those who wait for an answer that it will not come: the client has it time out instead. */
export class Outages {
  readonly #waiting = new Set<(error: Error) => void>()

  constructor(connection: NatsConnection) {
    this.#watch(connection).catch(() => {})
  }

  /** Rejects when the connection is lost meanwhile; what was begun goes on, and nobody waits for it. */
  during<T>(operation: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const lost = (error: Error) => {
        reject(error)
        discard(operation)
      }
      this.#waiting.add(lost)
      const settle = () => this.#waiting.delete(lost)
      operation.then(settle, settle)
      operation.then(resolve, reject)
    })
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (type !== 'disconnect') continue
      for (const lose of this.#waiting) lose(new Error('the connection was lost'))
    }
  }
}

/** Rejects when it takes longer; with no MylibsqlError, so that it may be tried again. */
export function inTime<T>(operation: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return within(operation, timeoutMs, () => {
    throw new Error(`${what}: no answer within ${timeoutMs} ms`)
  })
}
