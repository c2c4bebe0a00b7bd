/** An error and its causes in a line. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as { code?: unknown }
  const text = typeof code === 'string' ? `${code}: ${error.message}` : error.message
  return error.cause === undefined ? text : `${text}: ${describeError(error.cause)}`
}
