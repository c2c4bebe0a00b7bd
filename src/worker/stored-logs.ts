/** Logs of a store, as a replica's thread takes them without anybody having looked at them before: files, or bytes that came. */
import { closeSync, fstatSync } from 'node:fs'
import { decodeLogHeader, type LogFile, type LogLocation, logHeaderBytesV3 } from '../protocol/log-format.js'
import { decodeSegmentHeader, placedHeader } from '../protocol/segment-format.js'
import type { Position } from '../protocol/wire.js'
import { openToRead, readUpTo } from './file-io.js'

/** What comes next, as far as a header tells. */
interface Expected extends Position {
  readonly pageSize: number
  /** Of logs of older primaries somebody has to find out whether they are part of the history. */
  readonly epochMin: number
}

/**
 * The log at this place, if its header says that it is the next one; its frames are to be checked when they are applied.
 * Undefined for everything else, whatever it is. Should another file take its place before that, its frames do not fit.
 */
export function undoubtedLog(location: LogLocation, expected: Expected): LogFile | undefined {
  try {
    const header = 'path' in location ? readHeader(location) : headerOf(location.bytes)
    const isNext =
      header !== undefined &&
      header.version === 3 &&
      header.flags === 0 &&
      header.frameCount > 0 &&
      header.pageSize === expected.pageSize &&
      header.startFrameNo === expected.nextFrameNo &&
      header.startChecksum === expected.checksum &&
      header.epoch >= expected.epochMin
    return isNext ? { location, header } : undefined
  } catch {
    return undefined
  }
}

function headerOf(bytes: Uint8Array): LogFile['header'] {
  return decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, bytes.byteLength)
}

function readHeader({
  path,
  byteOffset,
}: Extract<LogLocation, { path: string }>): LogFile['header'] | undefined {
  const fd = openToRead(path)
  try {
    const facts = fstatSync(fd)
    if (!facts.isFile()) return undefined
    const bytes = readUpTo(fd, byteOffset ?? 0, logHeaderBytesV3)
    if (byteOffset === undefined) return decodeLogHeader(bytes, { path }, facts.size)
    const header = decodeSegmentHeader(bytes)
    return header && placedHeader(header, byteOffset)
  } finally {
    closeSync(fd)
  }
}
