/** Work that Ctrl-C (or SIGTERM) ends, with what it has begun undone. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
}

/** Runs `work`, whose signal aborts with an InterruptedError. A second interrupt ends the process as ever. */
export async function untilInterrupted(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const ending = new AbortController()
  const interrupt = () => {
    stopListening()
    ending.abort(new InterruptedError('interrupted'))
  }
  const stopListening = () => {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  try {
    await work(ending.signal)
  } finally {
    stopListening()
  }
}
