/** A lock on a file, for steps that have to be one although the file system knows none of them: held by one process at a time. */
import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { runTask } from '../task-pool.js'

const pollMs = 10

/**
 * Runs `operation` while nobody else holds the lock; a process that dies holds it no longer.
 *
 * Throws ERR_LOCKED when another one, paused maybe, holds it for `timeoutMs`.
 */
export async function locked<T>(path: string, timeoutMs: number, operation: () => Promise<T>): Promise<T> {
  const file = await open(path, 'a', 0o644)
  try {
    const endMs = performance.now() + timeoutMs
    while (!(await runTask({ kind: 'lockFile', fd: file.fd, path }))) {
      if (performance.now() >= endMs) {
        const message = `${path} has been locked by another process for ${timeoutMs} ms`
        throw new MylibsqlError('ERR_LOCKED', message, { path })
      }
      await delay(pollMs)
    }
    return await operation()
  } finally {
    await file.close()
  }
}
