/**
 * The working file of an open database, and what belongs to it. A file that the user named is locked for as long as it is
 * open, before anything else happens: neither is what is there touched by somebody who may not, nor a store asked for anything.
 * The lock file also marks the file beside it as a working copy, which may be replaced: a database without one never is.
 */
import fs from 'node:fs'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { MylibsqlError } from '../protocol/errors.js'
import { ioError } from '../protocol/io-error.js'
import { databaseFiles, openLogPath } from '../protocol/temporary.js'
import { runBriefTask } from './task-pool.js'
import { removeTemporaryFile, temporaryPath } from './temporary-files.js'

/** Descriptors, which are nobody's to collect: the lock of an opening that waits for ever is held. */
const open = promisify(fs.open)
const close = promisify(fs.close)
const fstat = promisify(fs.fstat)

export class WorkingFile {
  readonly path: string
  /** Where it may be restored: what an earlier opening has left at the path stays until that is done. */
  readonly restoringPath: string
  /** Logs are written to this path with something behind it. */
  readonly logPathPrefix: string
  readonly #lockFd: number | undefined

  private constructor(path: string, logPathPrefix: string, lockFd: number | undefined) {
    this.path = path
    this.restoringPath = `${path}-restoring`
    this.logPathPrefix = logPathPrefix
    this.#lockFd = lockFd
  }

  /** The caller's, to be released; a temporary one without a path. Throws ERR_LOCKED, ERR_PATH_EXISTS, ERR_IO. */
  static async take(path: string | undefined): Promise<WorkingFile> {
    const logPathPrefix = await temporaryPath('.log-')
    if (path === undefined) return new WorkingFile(await temporaryPath('.sqlite'), logPathPrefix, undefined)
    const file = new WorkingFile(path, logPathPrefix, await lock(path))
    // Of a process that was killed.
    await removeTemporaryFile(file.restoringPath)
    return file
  }

  get isTemporary(): boolean {
    return this.#lockFd === undefined
  }

  /** Once nobody has it open any more. Removes what is temporary, as far as it is still there. Never throws. */
  async release(): Promise<void> {
    const parts = this.isTemporary ? databaseFiles(this.path) : []
    for (const path of [...parts, this.restoringPath, openLogPath(this.logPathPrefix)])
      await removeTemporaryFile(path)
    if (this.#lockFd === undefined) return
    // A working file that is there stays marked as ours.
    if (!(await exists(this.path))) await removeTemporaryFile(lockPath(this.path))
    await close(this.#lockFd).catch(() => {})
  }
}

const lockPath = (path: string) => `${path}-mylibsql`

/** The descriptor that holds the lock. */
async function lock(path: string): Promise<number> {
  for (;;) {
    const fd = await lockedFile(path)
    // Whoever was the last to have it may have removed it meanwhile: then nobody else would see this lock.
    if (await isStillThere(lockPath(path), fd)) return fd
    await close(fd)
  }
}

async function lockedFile(path: string): Promise<number> {
  if (!(await exists(lockPath(path))) && (await exists(path))) {
    const message =
      `${path} exists and is not a working file of mylibsql, so it is left alone. Choose another path; ` +
      'to start from this database, import it with Snapshot.fromDatabase(path)'
    throw new MylibsqlError('ERR_PATH_EXISTS', message, { path })
  }
  const fd = await open(lockPath(path), 'a').catch((error: unknown) => {
    throw ioError(error, 'write', lockPath(path))
  })
  let isLocked = false
  try {
    isLocked = await runBriefTask({ kind: 'lockFile', fd, path: lockPath(path) })
  } finally {
    if (!isLocked) await close(fd)
  }
  if (isLocked) return fd
  const message = `${path} is open in another primary or replica, of this process or another one`
  throw new MylibsqlError('ERR_LOCKED', message, { path })
}

async function isStillThere(path: string, fd: number): Promise<boolean> {
  const [{ dev, ino }, there] = await Promise.all([fstat(fd), stat(path).catch(() => undefined)])
  return there?.dev === dev && there.ino === ino
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
