/** Waits that end. What was begun goes on to its own end, and takes place wholly or not at all; nobody hears of it. */
import { MylibsqlError } from '../../protocol/errors.js'

/** Rejects with the signal's reason when it aborts first. */
export async function unlessAborted<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort)
  })
  try {
    return await Promise.race([result, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Rejects with ERR_STORE when it takes longer; `what` is told. */
export async function within<T>(timeoutMs: number, result: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const message = `${what} has not been answered for ${timeoutMs} ms; whether it will take place is not known`
    timer = setTimeout(() => reject(new MylibsqlError('ERR_STORE', message)), timeoutMs)
  })
  try {
    return await Promise.race([result, late])
  } finally {
    clearTimeout(timer)
  }
}
