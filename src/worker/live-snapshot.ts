/** Writes a snapshot of an open database, while it is written to and folded. */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import {
  encodeSnapshotTrailer,
  type SnapshotFile,
  type SnapshotTrailer,
} from '../protocol/snapshot-format.js'
import type { Position } from '../protocol/wire.js'
import { attempt, attemptAsync, besides, commitFile, discardFile, writeAll } from './file-io.js'
import type { WorkingDatabase } from './working-database.js'

/**
 * As of `position`, which is where the database stands when this is called. Written beside `path` and renamed, so that
 * it is there complete or not at all.
 *
 * Throws ERR_IO, ERR_CLOSED.
 */
export async function writeSnapshot(
  database: WorkingDatabase,
  position: Position,
  path: string,
): Promise<SnapshotFile> {
  const temporaryPath = besides(path)
  const fd = attempt('write', path, () => openSync(temporaryPath, 'wx', 0o644))
  try {
    let trailer: SnapshotTrailer
    try {
      trailer = await writePages(database, position, path, fd)
    } finally {
      closeSync(fd)
    }
    commitFile(temporaryPath, path)
    return { path, trailer, format: 'mylibsql' }
  } catch (error) {
    discardFile(temporaryPath)
    throw error
  }
}

async function writePages(
  { wal }: WorkingDatabase,
  { nextFrameNo, checksum }: Position,
  path: string,
  fd: number,
): Promise<SnapshotTrailer> {
  // Begins its read transaction now, at the position that was just read.
  const copy = await attemptAsync('write', path, () => wal.copyDatabase(fd))
  const trailer: SnapshotTrailer = {
    version: 1,
    pageSize: copy.pageSize,
    pageCount: copy.pageCount,
    lastFrameNo: nextFrameNo === 0 ? undefined : nextFrameNo - 1,
    checksum,
    createdAtMs: Date.now(),
    fileChecksum: copy.checksum,
  }
  attempt('write', path, () => {
    writeAll(fd, encodeSnapshotTrailer(trailer), trailer.pageCount * trailer.pageSize)
    fsyncSync(fd)
  })
  return trailer
}
