/**
 * The working database of one actor: a file that is laid down from a snapshot and logs, the one connection
 * that writes to it, and the addon's view of its WAL. It is rebuilt at every opening; what is durable are
 * snapshots and logs, so nothing here is ever synced.
 */
import { ftruncateSync, renameSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import { databaseFiles } from '../protocol/temporary.js'
import type { OpenRequest, Position } from '../protocol/wire.js'
import type { ConnectionSetup } from './connection-setup.js'
import { attempt, attemptOpen, discardFile, withFile } from './file-io.js'
import { loadExtension } from './load-extension.js'
import { native, type WalConnection } from './native.js'
import { closeShared, keepOpen } from './shared-connection.js'
import { layDatabase } from './working-copy.js'

type WorkingRequest = Pick<OpenRequest, 'source' | 'path' | 'keepFiles' | 'safeIntegers' | 'busyTimeoutMs'>

export class WorkingDatabase {
  readonly connection: Database.Database
  readonly wal: WalConnection
  /** What `native.interrupt` knows the connection by. */
  readonly connectionId: number
  readonly path: string
  readonly pageSize: number
  /** Where the database stood when it was opened. */
  readonly openedAt: Position
  readonly #isKept: boolean
  readonly #safeIntegers: boolean

  /** Throws ERR_IO and what `layDatabase` throws; then no file is left behind. */
  constructor(request: WorkingRequest) {
    this.path = request.path
    this.#isKept = request.keepFiles
    this.#safeIntegers = request.safeIntegers
    try {
      for (const path of databaseFiles(request.path)) {
        attempt('remove', path, () => rmSync(path, { force: true }))
      }
      const { pageSize, position } = laid(request)
      this.pageSize = pageSize
      this.openedAt = position
      const { connection, wal } = attemptOpen(request.path, () => connect(request))
      this.connection = connection
      this.connectionId = native.connectionId()
      this.wal = wal
    } catch (error) {
      databaseFiles(request.path).forEach(discardFile)
      throw error
    }
  }

  /** Throws ERR_SETUP. */
  setUp(setUp: ConnectionSetup): void {
    const { changeCount } = this.wal.position()
    try {
      setUp(this.connection)
    } catch (error) {
      const refusal = this.wal.takeRefusal()
      throw refusal === undefined ? error : new MylibsqlError('ERR_SETUP', refusal, {}, { cause: error })
    }
    this.connection.defaultSafeIntegers(this.#safeIntegers)
    if (this.wal.position().changeCount === changeCount) return
    const message =
      'The setup of connections wrote to the database, which only a primary may, by run() and its like'
    throw new MylibsqlError('ERR_SETUP', message)
  }

  /** Closes the connection. A kept file is left as one plain database, without a WAL. */
  close(): void {
    try {
      if (this.connection.inTransaction) this.connection.exec('ROLLBACK')
      if (this.#isKept && this.connection.open) this.wal.setCheckpointOnClose(true)
    } finally {
      this.wal.close()
      closeShared(this.connection)
      if (!this.#isKept) databaseFiles(this.path).forEach(discardFile)
    }
  }
}

/** The pages are in the file. */
function laid({ source, path }: WorkingRequest): { pageSize: number; position: Position } {
  if ('restored' in source) {
    const { path: restoredPath, pageSize, pageCount, position } = source.restored
    // Behind the last page a snapshot has its trailer.
    withFile(restoredPath, 'r+', (fd) => ftruncateSync(fd, pageSize * pageCount))
    attempt('write', path, () => renameSync(restoredPath, path))
    return { pageSize, position }
  }
  const { snapshot, logs } = source
  const { position } = withFile(path, 'wx+', (fd) => layDatabase(snapshot, logs, fd))
  return { pageSize: snapshot.trailer.pageSize, position }
}

/** Fails when SQLite can open the file for reading only. */
function connect(request: WorkingRequest): Pick<WorkingDatabase, 'connection' | 'wal'> {
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
    keepOpen(connection)
    return { connection, wal }
  } catch (error) {
    connection.close()
    throw error
  }
}
