import { addonPath, MylibsqlError } from './errors.js'

/**
 * Something that the operating system said, as ERR_IO: `action` is what was tried, such as 'open the log'. What the addon
 * says of a file that it has opened itself (the WAL) names that file already.
 */
export function ioError(cause: unknown, action: string, path: string): MylibsqlError {
  if (cause instanceof MylibsqlError) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  const ownPath = addonPath(cause)
  if (ownPath !== undefined) return new MylibsqlError('ERR_IO', reason, { path: ownPath }, { cause })
  return new MylibsqlError('ERR_IO', `Cannot ${action} ${path}: ${reason}`, { path }, { cause })
}
