/**
 * The working database of one actor: a file that is laid down from a snapshot and logs, the one connection
 * that writes to it, and the addon's view of its WAL. It is rebuilt at every opening; what is durable are
 * snapshots and logs, so nothing here is ever synced.
 */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import type { OpenRequest, Position } from '../protocol/wire.js'
import { attempt, attemptOpen, discardFile, withFile } from './file-io.js'
import { loadExtension } from './load-extension.js'
import { native, type WalConnection } from './native.js'
import { layDatabase } from './working-copy.js'

export class WorkingDatabase {
  readonly connection: Database.Database
  readonly wal: WalConnection
  /** What `native.interrupt` knows the connection by. */
  readonly connectionId: number
  readonly path: string
  readonly pageSize: number
  /** Where the database stood when it was opened. */
  readonly openedAt: Position
  readonly #lockFd: number | undefined

  /** Throws ERR_LOCKED, ERR_PATH_EXISTS, ERR_IO and what `layDatabase` throws; then no file is left behind. */
  constructor(request: OpenRequest) {
    this.path = request.path
    this.pageSize = request.snapshot.trailer.pageSize
    this.#lockFd = request.keepFiles ? lockWorkingFile(request.path) : undefined
    try {
      for (const path of filesOf(request.path)) attempt('remove', path, () => rmSync(path, { force: true }))
      this.openedAt = attempt('write', request.path, () =>
        withFile(request.path, 'wx+', (fd) => layDatabase(request.snapshot, request.logs, fd).position),
      )
      const { connection, wal } = attemptOpen(request.path, () => connect(request))
      this.connection = connection
      this.connectionId = native.connectionId()
      this.wal = wal
    } catch (error) {
      filesOf(request.path).forEach(discardFile)
      this.#unlock(true)
      throw error
    }
  }

  /** Closes the connection. A kept file is left as one plain database, without a WAL. */
  close(): void {
    const isKept = this.#lockFd !== undefined
    try {
      if (this.connection.inTransaction) this.connection.exec('ROLLBACK')
      if (isKept && this.connection.open) this.wal.setCheckpointOnClose(true)
    } finally {
      this.wal.close()
      this.connection.close()
      if (!isKept) filesOf(this.path).forEach(discardFile)
      this.#unlock(false)
    }
  }

  #unlock(isFailed: boolean): void {
    if (this.#lockFd === undefined) return
    // One that could not be removed stays marked as ours.
    if (isFailed && !existsSync(this.path)) discardFile(lockPath(this.path))
    closeSync(this.#lockFd)
  }
}

/** Fails when SQLite can open the file for reading only. */
function connect(request: OpenRequest): Pick<WorkingDatabase, 'connection' | 'wal'> {
  const connection = new Database(request.path, { timeout: request.busyTimeoutMs, fileMustExist: true })
  try {
    connection.pragma('synchronous = OFF')
    connection.defaultSafeIntegers(request.safeIntegers)
    // Has SQLite make the WAL and its index, which the addon reads from the start.
    connection.exec('BEGIN IMMEDIATE; COMMIT')
    loadExtension(connection)
    const wal = native.attach({ guard: true })
    // From its first transaction on nobody else can write: from now on.
    connection.exec('BEGIN IMMEDIATE; COMMIT')
    return { connection, wal }
  } catch (error) {
    connection.close()
    throw error
  }
}

const lockPath = (path: string) => `${path}-mylibsql`

/**
 * Takes the lock on a working file that the user named. The lock file also marks the database beside it as a
 * working copy, which may be replaced: a database without one is never touched.
 */
function lockWorkingFile(path: string): number {
  const isMarked = existsSync(lockPath(path))
  if (!isMarked && existsSync(path)) {
    const message =
      `${path} exists and is not a working file of mylibsql, so it is left alone. Choose another path; ` +
      'to start from this database, import it with Snapshot.fromDatabase(path)'
    throw new MylibsqlError('ERR_PATH_EXISTS', message, { path })
  }
  const fd = attempt('write', lockPath(path), () => openSync(lockPath(path), 'a'))
  let isLocked = false
  try {
    isLocked = attempt('lock', lockPath(path), () => native.tryLock(fd))
  } finally {
    if (!isLocked) closeSync(fd)
  }
  if (isLocked) return fd
  const message = `${path} is open in another primary or replica, of this process or another one`
  throw new MylibsqlError('ERR_LOCKED', message, { path })
}

function filesOf(path: string): string[] {
  return ['', '-wal', '-shm'].map((suffix) => `${path}${suffix}`)
}
