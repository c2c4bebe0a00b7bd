/** What makes a log's frames valid beyond its header, in words that name file, frame and byte. */
import { MylibsqlError } from './errors.js'
import type { Frame, FrameNo } from './frame.js'
import { type LogFile, logFrameOffset, logNextFrameNo, type Where } from './log-format.js'

export function whereIs(file: LogFile): Where {
  return 'path' in file.location ? { path: file.location.path } : {}
}

/**
 * The last record says something about the whole log: it ends a transaction, with the checksum that the header
 * names. Returns that checksum. Throws ERR_CORRUPT.
 */
export function checkLastFrame(file: LogFile, last: Pick<Frame, 'checksum' | 'sizeAfter'>): bigint {
  const { header } = file
  const lastFrameNo = logNextFrameNo(header) - 1
  if (last.sizeAfter === 0) throw corruptFrame(file, lastFrameNo, 'the log ends inside a transaction')
  if (header.endChecksum !== undefined && last.checksum !== header.endChecksum) {
    throw corruptFrame(
      file,
      lastFrameNo,
      'its checksum is not the one that the header names for the last frame',
    )
  }
  return last.checksum
}

export function corruptFrame(file: LogFile, frameNo: FrameNo, reason: string): MylibsqlError {
  const where = whereIs(file)
  const byteOffset = logFrameOffset(file.header, frameNo)
  const message = `${where.path ?? 'The log'}: frame ${frameNo} at byte ${byteOffset} is damaged: ${reason}`
  return new MylibsqlError('ERR_CORRUPT', message, { ...where, frameNo, byteOffset })
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
