/**
 * Attempts to reach a store: each has a time limit, also where the store ignores the signal that it is given, and
 * another one follows after a pause that grows and has some chance in it, so that many primaries do not come at once.
 */
import pRetry from 'p-retry'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Store } from './store.js'
import { unlessAborted } from './waits.js'

export interface AttemptLimits {
  readonly store: Store
  readonly timeoutMs: number
  /** Ends the attempt, and those that would follow; the call rejects with its reason. */
  readonly signal: AbortSignal
}

/** Rejects with ERR_STORE after `timeoutMs`; what was begun may still take place, and has to be harmless then. */
export async function attempt<T>(
  what: string,
  { store, timeoutMs, signal }: AttemptLimits,
  operation: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const controller = new AbortController()
  const end = () => controller.abort(signal.reason)
  signal.addEventListener('abort', end, { once: true })
  const timer = setTimeout(() => {
    controller.abort(new MylibsqlError('ERR_STORE', `${store.url} did not ${what} within ${timeoutMs} ms`))
  }, timeoutMs)
  try {
    return await unlessAborted(operation(controller.signal), controller.signal)
  } catch (error) {
    // A store may say that it was aborted in words of its own.
    throw controller.signal.aborted ? controller.signal.reason : error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
}

/** Again and again until it succeeds, fails for good (`isFinal`), or the signal aborts. */
export function untilDone<T>(
  operation: () => Promise<T>,
  pauseMs: { readonly min: number; readonly max: number },
  { signal, failed }: { readonly signal: AbortSignal; readonly failed: (error: unknown) => void },
): Promise<T> {
  const run = async () => {
    try {
      return await operation()
    } catch (error) {
      if (!isFinal(error) && !signal.aborted) failed(error)
      throw retryable(error)
    }
  }
  if (signal.aborted) return Promise.reject(signal.reason)
  // Nearly always the first attempt is the last one: what it takes to make more of them is not needed then.
  let first: Promise<T> | undefined = run()
  const next = () => {
    const attempt = first ?? run()
    first = undefined
    return attempt
  }
  return first.catch(() =>
    pRetry(next, {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: pauseMs.min,
      // The chance that p-retry adds ends where the longest pause begins.
      maxTimeout: pauseMs.max * (0.5 + Math.random() / 2),
      randomize: true,
      signal,
      shouldRetry: ({ error }) => !isFinal(error),
    }),
  )
}

export function isFenced(error: unknown): error is MylibsqlError {
  return error instanceof MylibsqlError && error.code === 'ERR_FENCED'
}

/** Nothing helps: a newer primary has taken over, or the application has closed the store. */
export function isFinal(error: unknown): boolean {
  return isFenced(error) || (error instanceof MylibsqlError && error.code === 'ERR_CLOSED')
}

/** p-retry takes a TypeError for a mistake of the program and gives up; a write must not be lost for that. */
function retryable(error: unknown): Error {
  if (error instanceof Error && !(error instanceof TypeError)) return error
  return new MylibsqlError('ERR_STORE', `The store failed: ${String(error)}`, {}, { cause: error })
}
