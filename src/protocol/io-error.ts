import { MylibsqlError } from './errors.js'

/** Something that the operating system said, as ERR_IO: `action` is what was tried, such as 'open the log'. */
export function ioError(cause: unknown, action: string, path: string): MylibsqlError {
  if (cause instanceof MylibsqlError) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_IO', `Cannot ${action} ${path}: ${reason}`, { path }, { cause })
}
