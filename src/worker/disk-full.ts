/** Whether SQLite, or the system, said that there is no room: then the WAL is worth folding, whose room can be used again. */
export function isDiskFull(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: unknown }
  return code === 'SQLITE_FULL' || code === 'ENOSPC' || (cause !== undefined && isDiskFull(cause))
}
