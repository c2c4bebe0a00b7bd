/** Waits that end. What was begun goes on to its own end, and takes place wholly or not at all; nobody hears of it. */
import { Log } from '../log.js'
import { Snapshot } from '../snapshot.js'

/** Rejects with the signal's reason when it aborts first. */
export async function unlessAborted<T>(operation: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return operation
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([aborted, operation])
  } catch (error) {
    discard(operation)
    throw error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** What `late` returns when it takes longer, or throws; then what still comes is discarded, otherwise the caller has it. */
export async function within<T, L>(operation: Promise<T>, timeoutMs: number, late: () => L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<true>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, true)
  })
  try {
    const isLate = await Promise.race([operation.then(() => false), timeout])
    return isLate ? late() : await operation
  } catch (error) {
    discard(operation)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** Nobody waits for it any more: a log or snapshot that still comes is closed, so that its file goes. */
export function discard(operation: Promise<unknown>): void {
  const close = (result: unknown) =>
    result instanceof Log || result instanceof Snapshot ? result.close() : undefined
  operation.then(close).catch(() => {})
}
