/** An error and its causes in a line; a cause that its error quotes already is not told again. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as { code?: unknown }
  // Node.js begins its messages with the code.
  const isCoded = typeof code === 'string' && !error.message.startsWith(`${code}: `)
  const text = isCoded ? `${code}: ${error.message}` : error.message
  const { cause } = error
  const isQuoted = cause instanceof Error && error.message.includes(cause.message)
  return cause === undefined || isQuoted ? text : `${text}: ${describeError(cause)}`
}
