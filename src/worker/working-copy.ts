/** Lays a database down in a file: the pages of a snapshot, then the frames of logs. Nobody has it open yet. */

import { writeSync } from 'node:fs'
import { MylibsqlError } from '../protocol/errors.js'
import { nextFrameNoAfter } from '../protocol/frame.js'
import type { LogFile } from '../protocol/log-format.js'
import { planLogs } from '../protocol/log-sequence.js'
import type { SnapshotFile, SnapshotTrailer } from '../protocol/snapshot-format.js'
import type { Position } from '../protocol/wire.js'
import { withFile } from './file-io.js'
import { type CheckedLog, checkLog, withLogSource } from './log-source.js'
import { native } from './native.js'

export interface LaidDatabase {
  readonly position: Position
  readonly pageCount: number
}

/**
 * Writes snapshot and logs into the empty file `fd`. All logs are checked before the first byte is written.
 *
 * Throws ERR_CORRUPT, ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_IO.
 */
export function layDatabase(snapshot: SnapshotFile, logs: readonly LogFile[], fd: number): LaidDatabase {
  const checked = checkLogs(snapshot, logs)
  copyPages(snapshot, fd)
  let { pageCount } = snapshot.trailer
  for (const [index, log] of checked.entries()) {
    if (log.kind === 'skip') continue
    const { run } = log
    pageCount = withLogSource(logs[index]!, run.startFrameNo, (source) => native.applyFrames(source, run, fd))
  }
  return { position: checked.at(-1)?.next ?? snapshotPosition(snapshot.trailer), pageCount }
}

/** Copies the pages of a snapshot and checks them on the way. Returns their bytes. */
export function copyPages(snapshot: SnapshotFile, targetFd: number): number {
  const byteLength = snapshot.trailer.pageCount * snapshot.trailer.pageSize
  const checksum = withFile(snapshot.path, 'r', (fd) => native.copyFile(fd, targetFd, byteLength))
  checkFileChecksum(snapshot, checksum)
  if (snapshot.format === 'crate') forgetFrameNo(targetFd)
  return byteLength
}

export function checkFileChecksum({ path, trailer, format }: SnapshotFile, checksum: bigint): void {
  if (format === 'crate' || checksum === trailer.fileChecksum) return
  const message = `${path}: the snapshot is damaged: the checksum of the pages does not match`
  throw new MylibsqlError('ERR_CORRUPT', message, { path })
}

export function snapshotPosition({ lastFrameNo, checksum }: SnapshotTrailer): Position {
  return { nextFrameNo: nextFrameNoAfter(lastFrameNo), checksum }
}

function checkLogs(snapshot: SnapshotFile, logs: readonly LogFile[]): CheckedLog[] {
  const { pageSize } = snapshot.trailer
  let position = snapshotPosition(snapshot.trailer)
  // First by the headers alone, which costs nothing.
  planLogs({ ...position, pageSize }, logs)
  return logs.map((log) => {
    const checked = checkLog(log, position, pageSize)
    position = checked.next
    return checked
  })
}

/** The crate keeps the frame number in user_version and application_id, which belong to the user: back to 0. */
function forgetFrameNo(fd: number): void {
  const zero = new Uint8Array(4)
  for (const byteOffset of [60, 68]) writeSync(fd, zero, 0, zero.length, byteOffset)
}
