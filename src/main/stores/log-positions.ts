/** Where a log may be taken, which decides what may take its place in a store. */
import { MylibsqlError } from '../../protocol/errors.js'
import type { Position } from '../../protocol/wire.js'
import type { Log } from '../log.js'

/**
 * Whether a database at this position, before the end of the log, may take the log: at its start, or further on where
 * its history has that checksum; then a merged one has to say so.
 */
export async function canTake(log: Log, { nextFrameNo, checksum }: Position): Promise<boolean> {
  if (nextFrameNo === log.startFrameNo) return checksum === log.startChecksum
  if (nextFrameNo < log.startFrameNo || nextFrameNo >= log.nextFrameNo) return false
  if (log.isMerged) return log.boundaries.some((at) => at.frameNo === nextFrameNo && at.checksum === checksum)
  const before = await log.readFrame(nextFrameNo - 1)
  return before.checksum === checksum && before.sizeAfter !== 0
}

/**
 * Whether `log` may take the place of `found`, the log that begins at its start frame in a store. Everybody who could
 * take the old one must find the way with the new one: it ends no earlier, it can be taken where the old one ends, and
 * wherever the old one could be taken. False: what is there is that log already, put by an earlier attempt.
 *
 * Throws ERR_PAGE_SIZE, ERR_LINEAGE, ERR_LOG_GAP naming `id`.
 */
export async function checkReplaces(log: Log, found: Log, id: string): Promise<boolean> {
  const details = { path: id, frameNo: log.startFrameNo }
  if (found.pageSize !== log.pageSize) {
    const message = `${id} has pages of ${found.pageSize} bytes, what is to replace it of ${log.pageSize}`
    throw new MylibsqlError('ERR_PAGE_SIZE', message, {
      ...details,
      expected: found.pageSize,
      actual: log.pageSize,
    })
  }
  if (found.nextFrameNo > log.nextFrameNo) {
    const message = `${id} ends before frame ${found.nextFrameNo}, what is to replace it before frame ${log.nextFrameNo}`
    throw new MylibsqlError('ERR_LOG_GAP', message, details)
  }
  if (found.startChecksum !== log.startChecksum || !(await reaches(log, found))) {
    const message = `${id} belongs to another history than the log that is to replace it`
    throw new MylibsqlError('ERR_LINEAGE', message, details)
  }
  for (const { frameNo, checksum } of found.boundaries) {
    if (await canTake(log, { nextFrameNo: frameNo, checksum })) continue
    const message = `${id} can be taken at frame ${frameNo}, what is to replace it cannot`
    throw new MylibsqlError('ERR_LOG_GAP', message, { ...details, expected: frameNo })
  }
  const isSame =
    found.nextFrameNo === log.nextFrameNo &&
    found.recordCount === log.recordCount &&
    found.boundaries.length === log.boundaries.length
  return !isSame
}

async function reaches(log: Log, found: Log): Promise<boolean> {
  if (found.nextFrameNo === log.nextFrameNo) return found.endChecksum === log.endChecksum
  return canTake(log, { nextFrameNo: found.nextFrameNo, checksum: found.endChecksum })
}
