/** Who waits: the part of a stack that V8 finds by following promises, for errors that were made on another thread. */

/** Frames of the library between a reaction and `addCallers`; they do not count for the limit of frames. */
const framesInFrontMax = 10

/**
 * Lets the stack of an error go on with the functions that wait for what runs now. V8 knows them in a reaction of their
 * promise, behind an `await` or in a `then`; elsewhere nothing is added. Not for an error that several wait for.
 */
export function addCallers(error: Error): void {
  try {
    const lines = callerLines()
    if (lines.length > 0) error.stack = [error.stack, ...lines].join('\n')
  } catch {
    // What counts is the error, also where nobody may touch how stacks are made.
  }
}

function callerLines(): string[] {
  const { prepareStackTrace, stackTraceLimit } = Error
  if (!(stackTraceLimit > 0)) return []
  let waitingCount = 0
  let trace: Error
  Error.stackTraceLimit = stackTraceLimit + framesInFrontMax
  try {
    trace = new Error()
    Error.prepareStackTrace = (_, sites) => {
      waitingCount = sites.filter((site) => site.isAsync()).length
      return ''
    }
    void new Error().stack
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    Object.assign(Error, { prepareStackTrace })
  }
  if (waitingCount === 0) return []
  // Lines as whoever formats stacks here writes them (source maps): that a function waits is not always in them.
  return trace.stack!.split('\n').slice(-waitingCount).slice(0, stackTraceLimit)
}
