/** Interactive connections of one primary: each callback has the writing connection to itself for a while. */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { ActorThread } from './actor-thread.js'
import type { CallOptions, Cancellations } from './cancellations.js'
import { Connection } from './connection.js'
import { Reentrancy } from './reentrancy.js'
import type { RequestQueue } from './request-queue.js'

export interface SessionResult<T> {
  readonly value: T
  /** Last frame that was committed by then. */
  readonly frameNo: FrameNo | undefined
}

export class Sessions {
  readonly #thread: ActorThread
  readonly #requests: RequestQueue
  readonly #cancellations: Cancellations
  readonly #callbacks = new Reentrancy()
  readonly #running = new Set<Promise<unknown>>()
  /** What ends the wait for the callback of each lease. */
  readonly #lost = new Map<number, (error: unknown) => void>()
  #leaseCount = 0

  constructor(thread: ActorThread, requests: RequestQueue, cancellations: Cancellations) {
    this.#thread = thread
    this.#cancellations = cancellations
    this.#requests = requests
  }

  /** Whether the caller runs inside a callback. */
  get isInside(): boolean {
    return this.#callbacks.isInside
  }

  /** Throws ERR_REENTRANT when the caller would wait for the connection that it holds itself. */
  refuseInside(method: string): void {
    if (!this.isInside) return
    const message =
      `primary.${method}() inside withConnection() or transaction() would wait for itself: ` +
      'use the connection that the callback is given'
    throw new MylibsqlError('ERR_REENTRANT', message)
  }

  run<T>(
    work: (connection: Connection) => Promise<T>,
    method: 'withConnection' | 'transaction',
    options: CallOptions | undefined,
  ): Promise<SessionResult<T>> {
    const session = this.#cancellations
      .guard(options, method, (slot, givenUp) => this.#lease(work, method === 'transaction', slot, givenUp))
      // The caller waits for it alone: stacks of errors show only the first of two.
      .finally(() => this.#running.delete(session))
    this.#running.add(session)
    return session
  }

  /** Resolves when the callbacks that run now have ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running)
  }

  /** The actor has taken the connection back. */
  expired(leaseId: number, error: unknown): void {
    this.#lost.get(leaseId)?.(error)
  }

  /** Rejects what the callers of run() wait for. */
  close(error: unknown): void {
    for (const reject of this.#lost.values()) reject(error)
  }

  async #lease<T>(
    work: (connection: Connection) => Promise<T>,
    isTransaction: boolean,
    slot: number,
    givenUp: Promise<never> | undefined,
  ): Promise<SessionResult<T>> {
    this.#leaseCount += 1
    const leaseId = this.#leaseCount
    const thread = this.#thread
    const lost = new Promise<never>((_, reject) => this.#lost.set(leaseId, reject))
    // Whoever waits for it hears of it; when nobody does, nothing was lost.
    lost.catch(() => {})
    try {
      await this.#requests.lease(leaseId, isTransaction, slot)
      const connection = new Connection(
        (statement) => thread.call('sessionStatement', leaseId, statement),
        isTransaction,
      )
      let value: T
      try {
        value = await Promise.race([
          this.#callbacks.run(() => connection.lendTo(work)),
          lost,
          ...(givenUp ? [givenUp] : []),
        ])
      } catch (error) {
        connection.end()
        // What counts is why `work` failed; an expired lease has ended already.
        await thread.call('endSession', leaseId, 'rollback').catch(() => {})
        throw error
      }
      connection.end()
      return { value, frameNo: await thread.call('endSession', leaseId, 'commit') }
    } finally {
      this.#lost.delete(leaseId)
    }
  }
}
