/** What the task threads do with snapshots: open, copy, append logs, make a blank one. */

import { type Stats, statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import { lastFrameNoBefore } from '../protocol/frame.js'
import {
  crateTrailer,
  databaseHeaderBytes,
  decodeDatabaseHeader,
  decodeSnapshotTrailer,
  encodeSnapshotTrailer,
  notASnapshot,
  type SnapshotFile,
  type SnapshotTrailer,
  snapshotTrailerBytes,
} from '../protocol/snapshot-format.js'
import type { TaskOf } from '../protocol/tasks.js'
import type { Position } from '../protocol/wire.js'
import {
  attempt,
  attemptOpen,
  fileBytes,
  makeTemporary,
  readUpTo,
  withFile,
  writeAll,
  writeDurably,
} from './file-io.js'
import { native } from './native.js'
import { checkFileChecksum, layDatabase } from './working-copy.js'

export function openSnapshot({ path, verify, format }: TaskOf<'openSnapshot'>): SnapshotFile {
  const stats = statFile(path)
  if (format === 'crate') return openCrateSnapshot(path)
  // A database without a trailer is a whole number of 512 bytes. It is refused unopened, because closing
  // a descriptor of a database drops the locks that this process holds on it: it may be a live one.
  if (stats.size % 512 !== snapshotTrailerBytes) throw notASnapshot({ path }, 'it has no trailer')
  return withFile(path, 'r', (fd) => {
    const byteLength = fileBytes(fd)
    const bytes = readUpTo(fd, byteLength - snapshotTrailerBytes, snapshotTrailerBytes)
    const trailer = decodeSnapshotTrailer(bytes, { path }, byteLength)
    const file: SnapshotFile = { path, trailer, format }
    checkDatabaseHeader(file, readUpTo(fd, 0, databaseHeaderBytes))
    if (verify) checkFileChecksum(file, native.copyFile(fd, -1, trailer.pageCount * trailer.pageSize))
    return file
  })
}

export function copySnapshot({ file, path }: TaskOf<'copySnapshot'>): void {
  const { trailer, format } = file
  const byteLength = trailer.pageCount * trailer.pageSize
  writeDurably(path, (fd) => {
    checkFileChecksum(
      file,
      withFile(file.path, 'r', (source) => native.copyFile(source, fd, byteLength)),
    )
    if (format === 'mylibsql') writeAll(fd, encodeSnapshotTrailer(trailer), byteLength)
  })
}

/** A new snapshot with the frames of `logs` in it. All of them are checked before the first is applied. */
export function appendLogs({ file, logs, path }: TaskOf<'appendLogs'>): SnapshotFile {
  return makeTemporary(path, () => {
    const laid = withFile(path, 'wx+', (fd) => layDatabase(file, logs, fd))
    const { pageSize } = file.trailer
    const trailer = sealSnapshot(path, { pageSize, pageCount: laid.pageCount }, laid.position)
    return { path, trailer, format: 'mylibsql' }
  })
}

/** The database that SQLite makes of nothing: one page, WAL mode. */
export function blankSnapshot({ pageSize, path }: TaskOf<'blankSnapshot'>): SnapshotFile {
  return makeTemporary(path, () => {
    attemptOpen(path, () => {
      const database = new Database(path)
      try {
        database.pragma('synchronous = OFF')
        database.pragma(`page_size = ${pageSize}`)
        database.pragma('journal_mode = WAL')
      } finally {
        database.close()
      }
    })
    return { path, trailer: sealDatabase(path), format: 'mylibsql' }
  })
}

/** Turns a database file, in WAL mode and with nothing left in its WAL, into a snapshot without frames. */
export function sealDatabase(path: string): SnapshotTrailer {
  const header = withFile(path, 'r', (fd) => decodeDatabaseHeader(readUpTo(fd, 0, databaseHeaderBytes)))
  if (header === undefined) throw notASnapshot({ path }, 'it is no SQLite database')
  return sealSnapshot(path, header, { nextFrameNo: 0, checksum: 0n })
}

/** The size and kind of a file, without opening it. Throws ERR_IO, ERR_NOT_A_SNAPSHOT. */
export function statFile(path: string): Stats {
  const stats = attempt('read', path, () => statSync(path))
  if (!stats.isFile()) throw notASnapshot({ path }, 'it is not a regular file')
  return stats
}

/** Writes the trailer behind the pages. */
function sealSnapshot(
  path: string,
  size: { pageSize: number; pageCount: number },
  position: Position,
): SnapshotTrailer {
  const { pageSize, pageCount } = size
  return withFile(path, 'r+', (fd) => {
    const byteLength = pageSize * pageCount
    const trailer: SnapshotTrailer = {
      version: 1,
      pageSize,
      pageCount,
      lastFrameNo: lastFrameNoBefore(position.nextFrameNo),
      checksum: position.checksum,
      createdAtMs: Date.now(),
      fileChecksum: native.copyFile(fd, -1, byteLength),
    }
    checkDatabaseHeader({ path, trailer, format: 'mylibsql' }, readUpTo(fd, 0, databaseHeaderBytes))
    writeAll(fd, encodeSnapshotTrailer(trailer), byteLength)
    return trailer
  })
}

function openCrateSnapshot(path: string): SnapshotFile {
  // A snapshot is one file. With frames in a WAL beside it, it is a database that somebody works on.
  const walBytes = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  if (walBytes > 0) throw notASnapshot({ path }, 'there is a WAL beside it, with a part of the database')
  return withFile(path, 'r', (fd) => ({
    path,
    trailer: crateTrailer(readUpTo(fd, 0, databaseHeaderBytes), { path }, fileBytes(fd)),
    format: 'crate',
  }))
}

function checkDatabaseHeader({ path, trailer }: SnapshotFile, bytes: Uint8Array): void {
  const header = decodeDatabaseHeader(bytes)
  const isSame =
    header?.pageSize === trailer.pageSize && header.pageCount === trailer.pageCount && header.isWal
  if (isSame) return
  const message = `${path}: the snapshot is damaged: the database header and the trailer differ`
  throw new MylibsqlError('ERR_CORRUPT', message, { path, byteOffset: 0 })
}
