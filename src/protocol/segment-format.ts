/**
 * A segment: a file of a FileStore with several logs, one behind the other. To store one more takes a synced write into
 * room that is there already, where a file of its own takes two commits of the file system's journal.
 *
 *     offset  size  field
 *          0     n  a plain log of version 3 (log-format.ts), as it would be in a file of its own
 *          n        zeros
 *     m - 8      8  mark: the log's header_checksum again; m is the next multiple of 4096 that leaves room for it
 *          m        the next log, laid out the same way, ... then zeros up to the end of the file
 *
 * A file is a segment when its size is a multiple of 4096 and it begins with a plain log that ends before the file does
 * and has its mark. A log in it counts when its header is valid and has the epoch of the first one, it continues the log
 * before it (start_frame_no, start_checksum), and its mark is there.
 *
 * The mark is written last, so that who reads meanwhile sees no half of a log. After a loss of power bytes may be missing
 * in front of it: of the last log of a segment that may have been written to until then, every checksum is looked at.
 *
 * Each log begins in a block of its own: to write it touches no block that holds another one, which a disk that loses
 * power in the midst of it could leave neither old nor new.
 */
import { MylibsqlError } from './errors.js'
import { frameHeaderBytes } from './frame.js'
import { decodeLogHeader, type LogHeader, logHeaderBytesV3 } from './log-format.js'

/** Room in a segment, which one thread adds logs to. */
export interface SegmentTail {
  /** Of the segment. */
  readonly path: string
  /** Where the next log goes. */
  readonly byteOffset: number
  /** Of the segment, the room included. */
  readonly fileBytes: number
  readonly epoch: number
  /** The folder that tells whether that is the newest one. */
  readonly epochsPath: string
}

export const segmentBlockBytes = 4096
export const segmentMarkBytes = 8
const headerChecksumOffset = 104

/** Bytes that a log takes in a segment, its mark included. */
export function segmentRecordBytes(logBytes: number): number {
  return Math.ceil((logBytes + segmentMarkBytes) / segmentBlockBytes) * segmentBlockBytes
}

/** What follows on a log in a segment: zeros and its mark. */
export function segmentPadding(headerBytes: Uint8Array, logBytes: number): Uint8Array {
  const padding = new Uint8Array(segmentRecordBytes(logBytes) - logBytes)
  padding.set(markOf(headerBytes), padding.length - segmentMarkBytes)
  return padding
}

/** The header of a log in a segment by its first bytes (112 of them); undefined when they are no such header. */
export function decodeSegmentHeader(bytes: Uint8Array): LogHeader | undefined {
  // Room that was never written to is what is met most often: an error for it would cost more than all the rest.
  if (bytes.length < logHeaderBytesV3 || bytes[0] === 0) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, logHeaderBytesV3)
  const frameCount = Number(view.getBigUint64(24, true))
  const claimedBytes = logHeaderBytesV3 + frameCount * (frameHeaderBytes + view.getUint32(36, true))
  try {
    const header = decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, claimedBytes)
    return header.version === 3 && header.flags === 0 && header.frameCount > 0 ? header : undefined
  } catch (error) {
    if (error instanceof MylibsqlError) return undefined
    throw error
  }
}

/** For those who count from the beginning of the file, as the records of a log are found. */
export function placedHeader(header: LogHeader, byteOffset: number): LogHeader {
  return { ...header, headerBytes: byteOffset + header.headerBytes }
}

/** Whether this is the mark of the log that begins with `headerBytes`. */
export function isSegmentMark(mark: Uint8Array, headerBytes: Uint8Array): boolean {
  const expected = markOf(headerBytes)
  return mark.length === segmentMarkBytes && expected.every((byte, at) => mark[at] === byte)
}

function markOf(headerBytes: Uint8Array): Uint8Array {
  return headerBytes.subarray(headerChecksumOffset, headerChecksumOffset + segmentMarkBytes)
}
