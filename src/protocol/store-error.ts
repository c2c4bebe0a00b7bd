import { MylibsqlError } from './errors.js'

/** What the system says of a file of a store, as ERR_STORE. Everything else stays as it is. */
export function storeError(cause: unknown, action: string, path: string): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause)) return cause
  const { code } = cause as NodeJS.ErrnoException
  const hint = hints[code ?? ''] ?? ''
  return new MylibsqlError(
    'ERR_STORE',
    `Cannot ${action} ${path}: ${cause.message}${hint}`,
    { path },
    { cause },
  )
}

const hints: Record<string, string> = {
  EACCES: '. This process has no permission there',
  EROFS: '. This process cannot write there',
  EPERM: '. This process has no permission, or the file system has no hard links, which a FileStore needs',
  ENOTSUP: '. The file system has no hard links, which a FileStore needs',
}
