/** What every store does with logs and snapshots that it is given or has found. */
import { MylibsqlError } from '../../protocol/errors.js'
import { encodeLogHeader, type LogHeader } from '../../protocol/log-format.js'
import type { Log } from '../log.js'
import type { Snapshot } from '../snapshot.js'

/**
 * The header under which a log is stored: its own, with the epoch. Its frames are stored as they are.
 *
 * Throws TypeError for a log that no history can be made of: an empty one, one of the Rust crate.
 */
export function stampedHeader(header: LogHeader, epoch: number): Uint8Array {
  if (header.version !== 3) throw new TypeError('A store takes logs of version 3, this one is of version 2')
  if (header.frameCount === 0) throw new TypeError('A store takes logs that hold frames, this one is empty')
  return encodeLogHeader({ ...header, epoch })
}

/**
 * For an append that found a log at its start frame: passes when it is the same one, stored by an earlier attempt.
 *
 * Throws ERR_FENCED.
 */
export function checkOwnLog(found: Log, id: string, header: LogHeader, epoch: number): void {
  const isOwn =
    found.epoch === epoch &&
    found.startFrameNo === header.startFrameNo &&
    found.frameCount === header.frameCount &&
    found.pageSize === header.pageSize &&
    found.startChecksum === header.startChecksum &&
    found.endChecksum === header.endChecksum
  if (isOwn) return
  const message =
    `A newer primary has taken over: at frame ${header.startFrameNo} there is another log already, ${id}, ` +
    `of epoch ${found.epoch}; this one is of epoch ${epoch}`
  const details = { path: id, frameNo: header.startFrameNo, expected: epoch, actual: found.epoch }
  throw new MylibsqlError('ERR_FENCED', message, details)
}

/**
 * For a snapshot that is to take the place of another one of the same frame.
 *
 * Throws ERR_PAGE_SIZE, ERR_LINEAGE: it is of another history.
 */
export function checkOwnSnapshot(found: Snapshot, id: string, snapshot: Snapshot): void {
  if (found.pageSize !== snapshot.pageSize) {
    const message = `${id} has pages of ${found.pageSize} bytes, the snapshot to be stored of ${snapshot.pageSize}: it is of another history`
    const details = { path: id, expected: found.pageSize, actual: snapshot.pageSize }
    throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
  }
  if (found.checksum === snapshot.checksum) return
  const message = `${id} has lineage ${found.checksum}, the snapshot to be stored ${snapshot.checksum}: it is of another history`
  const details = { path: id, expected: String(found.checksum), actual: String(snapshot.checksum) }
  throw new MylibsqlError('ERR_LINEAGE', message, details)
}

/** What is wrong with an object, by the name that the store knows it by; `inside` is where it was copied to. */
export function namedAs(id: string, error: unknown, inside = 'The bytes'): unknown {
  if (!(error instanceof MylibsqlError) || error.code === 'ERR_IO') return error
  if (error.message.includes(id)) return error
  const message = error.message.includes(inside)
    ? error.message.replaceAll(inside, id)
    : `${id}: ${error.message}`
  return new MylibsqlError(error.code, message, { ...error.details, path: id }, { cause: error })
}
