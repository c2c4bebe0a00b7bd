/**
 * The working file of an open database, and what belongs to it. A file that the user named is locked for as long as it is
 * open, before anything else happens: neither is what is there touched by somebody who may not, nor a store asked for anything.
 * The lock file also marks the file beside it as a working copy, which may be replaced: a database without one never is.
 */
import { closeSync, existsSync, openSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { MylibsqlError } from '../protocol/errors.js'
import { ioError } from '../protocol/io-error.js'
import { databaseFiles, openLogPath } from '../protocol/temporary.js'
import { runTask } from './task-pool.js'
import { isStillThere, removeTemporaryFile, temporaryPath } from './temporary-files.js'

export class WorkingFile {
  readonly path: string
  readonly isTemporary: boolean
  /** Logs are written to this path with something behind it. */
  readonly logPathPrefix: string
  readonly #lockFd: number | undefined

  private constructor(path: string, logPathPrefix: string, lockFd: number | undefined) {
    this.path = path
    this.logPathPrefix = logPathPrefix
    this.isTemporary = lockFd === undefined
    this.#lockFd = lockFd
  }

  /**
   * The caller's, to be released: a temporary one without a path. Nothing is there, and what an earlier opening has left is
   * gone. Throws ERR_LOCKED, ERR_PATH_EXISTS, ERR_IO.
   */
  static async take(path: string | undefined): Promise<WorkingFile> {
    const logPathPrefix = await temporaryPath('.log-')
    if (path === undefined) return new WorkingFile(await temporaryPath('.sqlite'), logPathPrefix, undefined)
    const file = new WorkingFile(path, logPathPrefix, await lock(path))
    try {
      for (const part of databaseFiles(path)) await remove(part)
      return file
    } catch (error) {
      await file.release({ isFailed: true })
      throw error
    }
  }

  /**
   * Once nobody has it open any more. Removes what is temporary, as far as it is still there; when opening has failed,
   * everything. Never throws.
   */
  async release({ isFailed }: { readonly isFailed: boolean }): Promise<void> {
    const parts = this.isTemporary || isFailed ? databaseFiles(this.path) : []
    for (const path of [...parts, openLogPath(this.logPathPrefix)]) await removeTemporaryFile(path)
    if (this.#lockFd === undefined) return
    // One that could not be removed stays marked as ours.
    if (isFailed && !existsSync(this.path)) await removeTemporaryFile(lockPath(this.path))
    closeSync(this.#lockFd)
  }
}

const lockPath = (path: string) => `${path}-mylibsql`

/** The descriptor that holds the lock. */
async function lock(path: string): Promise<number> {
  for (;;) {
    const fd = await lockFileOf(path)
    // Whoever failed to open may have removed it meanwhile.
    if (isStillThere(lockPath(path), fd)) return fd
    closeSync(fd)
  }
}

async function lockFileOf(path: string): Promise<number> {
  if (!existsSync(lockPath(path)) && existsSync(path)) {
    const message =
      `${path} exists and is not a working file of mylibsql, so it is left alone. Choose another path; ` +
      'to start from this database, import it with Snapshot.fromDatabase(path)'
    throw new MylibsqlError('ERR_PATH_EXISTS', message, { path })
  }
  const fd = openLock(path)
  let isLocked = false
  try {
    isLocked = await runTask({ kind: 'lockFile', fd, path: lockPath(path) })
  } finally {
    if (!isLocked) closeSync(fd)
  }
  if (isLocked) return fd
  const message = `${path} is open in another primary or replica, of this process or another one`
  throw new MylibsqlError('ERR_LOCKED', message, { path })
}

function openLock(path: string): number {
  try {
    return openSync(lockPath(path), 'a')
  } catch (error) {
    throw ioError(error, 'write', lockPath(path))
  }
}

async function remove(path: string): Promise<void> {
  try {
    await rm(path, { force: true })
  } catch (error) {
    throw ioError(error, 'remove', path)
  }
}
