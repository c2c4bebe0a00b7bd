/**
 * Imports any SQLite database as a snapshot: SQLite's backup API copies it page for page, under one read
 * transaction, so that other connections may go on writing (in WAL mode; in the rollback modes they wait for
 * the copy). The source is opened through SQLite, never by descriptor: closing one would drop the locks that
 * other connections of this process hold on it.
 */
import { existsSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { notASnapshot, type SnapshotFile } from '../protocol/snapshot-format.js'
import type { ImportProgress, TaskOf } from '../protocol/tasks.js'
import { besides } from '../protocol/temporary.js'
import { attempt, commitFile, withFile } from './file-io.js'
import { sealDatabase, statFile } from './snapshot-tasks.js'

/** Pages per step: some megabytes, so that progress is told now and then. */
const stepPages = 1024

export async function importDatabase(task: TaskOf<'importDatabase'>): Promise<SnapshotFile> {
  const { source, path, progress } = task
  statFile(source)
  const temporaryPath = besides(path)
  const hadWal = existsSync(`${source}-wal`)
  try {
    // Says what the system says, which SQLite's backup does not.
    withFile(temporaryPath, 'wx', () => {})
    await copyDatabase(source, temporaryPath, (report) => progress?.postMessage(report))
    if (!hadWal) tidy(source)
    foldIntoFile(temporaryPath)
    const trailer = sealDatabase(temporaryPath)
    commitFile(temporaryPath, path)
    return { path, trailer, format: 'mylibsql' }
  } catch (error) {
    throw hasCode(error, 'SQLITE_NOTADB') ? notASnapshot({ path: source }, 'it is no SQLite database') : error
  } finally {
    for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(temporaryPath + suffix, { force: true })
    progress?.close()
  }
}

async function copyDatabase(
  source: string,
  target: string,
  report: (progress: ImportProgress) => void,
): Promise<void> {
  const database = openSource(source)
  try {
    const { totalPages } = await database.backup(target, {
      progress: ({ totalPages, remainingPages }) => {
        report({ pagesDone: totalPages - remainingPages, pageCount: totalPages })
        return stepPages
      },
    })
    report({ pagesDone: totalPages, pageCount: totalPages })
  } finally {
    database.close()
  }
}

/**
 * Opens the source for reading and begins a read transaction. A database that was left behind by a crash
 * cannot be read before it is recovered, which takes a connection that may write: what any reader does to it.
 */
function openSource(path: string): Database.Database {
  try {
    return beginRead(path, true)
  } catch (error) {
    const isUnrecovered = hasCode(error, 'SQLITE_READONLY') || hasCode(error, 'SQLITE_CANTOPEN')
    if (!isUnrecovered) throw error
    return beginRead(path, false)
  }
}

function beginRead(path: string, readonly: boolean): Database.Database {
  const database = attempt('read', path, () => new Database(path, { readonly, fileMustExist: true }))
  try {
    database.exec('BEGIN')
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/**
 * A connection that only reads leaves the empty WAL that it made behind. One that may write has SQLite remove it,
 * if nobody else has the database open by now.
 */
function tidy(path: string): void {
  if (!existsSync(`${path}-wal`)) return
  try {
    beginRead(path, false).close()
  } catch {}
}

/** Puts the copy in WAL mode and leaves all of it in the one file. */
function foldIntoFile(path: string): void {
  const database = new Database(path)
  try {
    database.pragma('journal_mode = WAL')
    database.pragma('wal_checkpoint(TRUNCATE)')
  } finally {
    database.close()
  }
}

function hasCode(error: unknown, prefix: string): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && code.startsWith(prefix)
}
