/** What makes a log's frames valid beyond its header, in words that name file, frame and byte. */
import { MylibsqlError } from './errors.js'
import type { Frame } from './frame.js'
import { type LogFile, type LogHeader, logRecordCount, logRecordOffset, type Where } from './log-format.js'

export function whereIs(file: LogFile): Where {
  return 'path' in file.location ? { path: file.location.path } : {}
}

/**
 * The last record says something about the whole log: it ends a transaction, with the checksum that the header
 * names. Returns the checksum of the last frame in the history. Throws ERR_CORRUPT.
 */
export function checkLastFrame(file: LogFile, last: Pick<Frame, 'checksum' | 'sizeAfter'>): bigint {
  const { header } = file
  const lastIndex = logRecordCount(header) - 1
  if (last.sizeAfter === 0) throw corruptRecord(file, lastIndex, 'the log ends inside a transaction')
  const expected = lastRecordChecksum(header)
  if (expected !== undefined && last.checksum !== expected) {
    throw corruptRecord(
      file,
      lastIndex,
      'its checksum is not the one that the header names for the last frame',
    )
  }
  return header.merged === undefined ? last.checksum : endOfMerged(header)
}

/** What the header says about the checksum of the last record. */
export function lastRecordChecksum(header: LogHeader): bigint | undefined {
  return header.merged?.recordsChecksum ?? header.endChecksum
}

/** Where the history stands after a merged log, which its records do not tell. */
export function endOfMerged({ endChecksum, startChecksum }: LogHeader): bigint {
  return endChecksum ?? startChecksum
}

/** Which frame the records of a merged log hold is not known for a damaged one. */
export function corruptRecord(file: LogFile, index: number, reason: string): MylibsqlError {
  const where = whereIs(file)
  const byteOffset = logRecordOffset(file.header, index)
  const isMerged = file.header.merged !== undefined
  const frameNo = file.header.startFrameNo + index
  const name = isMerged ? `record ${index}` : `frame ${frameNo}`
  const message = `${where.path ?? 'The log'}: ${name} at byte ${byteOffset} is damaged: ${reason}`
  return new MylibsqlError('ERR_CORRUPT', message, {
    ...where,
    ...(isMerged ? {} : { frameNo }),
    byteOffset,
  })
}

/** Of a file that has fewer bytes than its log. */
export function cutShort(path: string, byteLength: number, actual: number): MylibsqlError {
  const message = `${path}: the log is damaged: the file ends before it is complete`
  return new MylibsqlError('ERR_CORRUPT', message, { path, byteOffset: actual, expected: byteLength, actual })
}

/** A reason of the addon's checkFrames in words. */
export function describeReason(reason: string | undefined): string {
  switch (reason) {
    case 'frameNo':
      return 'its frame number is not the next one'
    case 'pageNo':
      return 'its page number is out of range'
    case 'sizeAfter':
      return 'its database size is out of range'
    case 'truncated':
      return 'the file ends before it is complete'
    default:
      return 'its checksum does not match'
  }
}
