/** Time limits and signals of calls: ends what waits at once, and interrupts what runs. */

import { CancelTable, noSlot } from '../protocol/cancellation.js'
import { MylibsqlError } from '../protocol/errors.js'
import { checkBoolean, checkOptions, checkSignal, checkTimeoutMs, optional } from './arguments.js'
import { whenAborted } from './shared-signal.js'
import { runInterrupt, runInterruptCall } from './task-pool.js'

export interface CallOptions {
  /** Gives the call up; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Gives the call up after so many milliseconds; it rejects with ERR_TIMEOUT. Default: no limit. */
  timeoutMs?: number | undefined
  /** False: a write is refused with ERR_BUSY instead of waiting when the queue is full (`requestsMax`, `requestBytesMax`). Default true. */
  wait?: boolean | undefined
}

/** `givenUp` rejects when the call is given up while it runs: for calls that wait for something else too. */
type Start<T> = (slot: number, givenUp: Promise<never> | undefined) => Promise<T>

/** An interrupt between two statements of a call is not noticed: it is repeated, ever more slowly, until the call ends. */
const interruptAgainMs = { first: 10, max: 1000 }
/** Why a call is given up whose time is over. */
const late = Symbol('late')
const known = {
  signal: optional(checkSignal),
  timeoutMs: optional(checkTimeoutMs),
  wait: optional(checkBoolean),
}

interface Interrupts {
  /** Resolves when the first of them was made, or cannot be had. */
  readonly begun: Promise<unknown>
  stop(): void
}

/** Interrupts what the connections run, again and again until it is told to stop. */
export function interruptRepeatedly(connectionIds: () => readonly number[]): Interrupts {
  // A connection that is closed by then has nothing left to interrupt.
  return repeatedly(() => Promise.allSettled(connectionIds().map(runInterrupt)))
}

function repeatedly(interrupt: () => Promise<unknown>): Interrupts {
  let timer: NodeJS.Timeout | undefined
  const run = (againMs: number) => {
    timer = setTimeout(run, againMs, Math.min(2 * againMs, interruptAgainMs.max))
    return interrupt().catch(() => {})
  }
  const begun = run(interruptAgainMs.first)
  return { begun, stop: () => clearTimeout(timer) }
}

export class Cancellations {
  readonly table = new CancelTable()

  /**
   * Makes a call that can be given up. A call that did not begin rejects at once and never begins. One that runs is
   * interrupted; it rejects once it has been rolled back, and resolves when it was done before.
   */
  guard<T>(options: CallOptions | undefined, method: string, start: Start<T>): Promise<T> {
    if (options === undefined) return start(noSlot, undefined)
    const { signal, timeoutMs } = checkOptions(options, known, method)
    if (signal === undefined && timeoutMs === undefined) return start(noSlot, undefined)
    signal?.throwIfAborted()
    const slot = this.table.take()
    if (slot === noSlot)
      throw new MylibsqlError('ERR_BUSY', 'Too many calls with a time limit or a signal wait')
    return this.#guard(slot, signal, timeoutMs, method, start)
  }

  async #guard<T>(
    slot: number,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    method: string,
    start: Start<T>,
  ): Promise<T> {
    let reason: unknown
    let isGivenUp = false
    let repeat: Interrupts | undefined
    let rejectWaiting: (reason: unknown) => void = () => {}
    let rejectRunning: (reason: unknown) => void = () => {}
    const waiting = new Promise<never>((_, reject) => {
      rejectWaiting = reject
    })
    const running = new Promise<never>((_, reject) => {
      rejectRunning = reject
    })
    // Not every call listens.
    running.catch(() => {})
    const giveUp = (cause: unknown) => {
      if (isGivenUp) return
      isGivenUp = true
      reason = cause
      if (this.table.cancelWaiting(slot)) {
        rejectWaiting(cause)
        return
      }
      rejectRunning(cause)
      this.table.cancelRunning(slot)
      repeat = repeatedly(() => runInterruptCall(this.table.words, this.table.wordOf(slot)))
    }
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => giveUp(late), timeoutMs)
    const forget = signal && whenAborted(signal, () => giveUp(signal.reason))
    const answer = start(slot, running).finally(() => {
      repeat?.stop()
      // Only now: until it is answered, the slot is this call's.
      this.table.release(slot)
    })
    try {
      return await Promise.race([answer, waiting])
    } catch (error) {
      answer.catch(() => {})
      const isInterrupted = isGivenUp && (error as { code?: unknown } | null)?.code === 'SQLITE_INTERRUPT'
      const cause = isInterrupted ? reason : error
      // Made here: in the timer nothing would be known of who waits, for its stack.
      throw cause === late ? timedOut(method, timeoutMs!) : cause
    } finally {
      clearTimeout(timer)
      forget?.()
    }
  }
}

function timedOut(method: string, timeoutMs: number): MylibsqlError {
  const message = `${method} took longer than ${timeoutMs} ms and was given up`
  return new MylibsqlError('ERR_TIMEOUT', message)
}
