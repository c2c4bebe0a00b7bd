/** Writes a snapshot of an open database, while it is written to and folded. */

import { closeSync, fsync, openSync } from 'node:fs'
import { promisify } from 'node:util'
import { lastFrameNoBefore } from '../protocol/frame.js'
import {
  encodeSnapshotTrailer,
  type SnapshotFile,
  type SnapshotTrailer,
} from '../protocol/snapshot-format.js'
import type { Position } from '../protocol/wire.js'
import { attempt, attemptAsync, commitSynced, discardFile, writeAll } from './file-io.js'
import type { WorkingDatabase } from './working-database.js'

/** A disk takes a second for a gigabyte: the thread writes on meanwhile. */
const synced = promisify(fsync)

/**
 * As of `position`, which is where the database stands when this is called. Written to `temporaryPath` and renamed, so
 * that it is there complete or not at all.
 *
 * Throws ERR_IO, ERR_CLOSED.
 */
export async function writeSnapshot(
  database: WorkingDatabase,
  position: Position,
  path: string,
  temporaryPath: string,
): Promise<SnapshotFile> {
  const fd = attempt('write', path, () => openSync(temporaryPath, 'wx', 0o644))
  try {
    let trailer: SnapshotTrailer
    try {
      trailer = await writePages(database, position, path, fd)
    } finally {
      closeSync(fd)
    }
    await attemptAsync('write', path, () => commitSynced(temporaryPath, path))
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
    lastFrameNo: lastFrameNoBefore(nextFrameNo),
    checksum,
    createdAtMs: Date.now(),
    fileChecksum: copy.checksum,
  }
  await attemptAsync('write', path, async () => {
    writeAll(fd, encodeSnapshotTrailer(trailer), trailer.pageCount * trailer.pageSize)
    await synced(fd)
  })
  return trailer
}
