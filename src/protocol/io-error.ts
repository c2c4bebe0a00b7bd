import { addonPath, MylibsqlError } from './errors.js'

/**
 * Something that the operating system said, as ERR_IO: `action` is what was tried, such as 'open the log'. What the addon
 * says of a file that it has opened itself (the WAL) names that file already.
 */
export function ioError(error: unknown, action: string, path: string): MylibsqlError {
  if (error instanceof MylibsqlError) return error
  const reason = error instanceof Error ? error.message : String(error)
  const ownPath = addonPath(error)
  const cause = asSystemError(error)
  if (ownPath !== undefined) return new MylibsqlError('ERR_IO', reason, { path: ownPath }, { cause })
  return new MylibsqlError('ERR_IO', `Cannot ${action} ${path}: ${reason}`, { path }, { cause })
}

/** The addon's, as Node.js has those of the system: `code: 'ENOSPC'`. */
function asSystemError(error: unknown): unknown {
  const { code, errno, errnoName } = (error ?? {}) as { code?: unknown; errno?: number; errnoName?: string }
  if (code !== 'ERR_IO' || errno === undefined) return error
  return Object.assign(error as Error, { code: errnoName, errno: -errno })
}
