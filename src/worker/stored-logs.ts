/** Logs of a store, as a replica's thread takes them without anybody having looked at them before: files, or bytes that came. */
import { closeSync, fstatSync } from 'node:fs'
import {
  decodeLogHeader,
  type LogFile,
  type LogHeader,
  type LogLocation,
  logHeaderBytesV3,
} from '../protocol/log-format.js'
import { isCompressedObject } from '../protocol/object-format.js'
import { decodeSegmentHeader, placedHeader } from '../protocol/segment-format.js'
import type { Position } from '../protocol/wire.js'
import { openToRead, readUpTo } from './file-io.js'
import { isTakenAtOnce, readUnpackedLog, unpackedLog } from './unpacked-log.js'

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
    const file = 'path' in location ? logInFile(location) : logIn(location.bytes)
    return file !== undefined && isNext(file.header, expected) ? file : undefined
  } catch {
    return undefined
  }
}

function isNext(header: LogHeader, expected: Expected): boolean {
  return (
    isTakenAtOnce(header) &&
    header.pageSize === expected.pageSize &&
    header.startFrameNo === expected.nextFrameNo &&
    header.startChecksum === expected.checksum &&
    header.epoch >= expected.epochMin
  )
}

function logIn(bytes: Uint8Array): LogFile | undefined {
  if (isCompressedObject(bytes)) return unpackedLog(bytes)
  const header = decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, bytes.byteLength)
  return { location: { bytes }, header }
}

function logInFile(location: Extract<LogLocation, { path: string }>): LogFile | undefined {
  const { path, byteOffset } = location
  const fd = openToRead(path)
  try {
    const facts = fstatSync(fd)
    if (!facts.isFile()) return undefined
    const bytes = readUpTo(fd, byteOffset ?? 0, logHeaderBytesV3)
    if (byteOffset !== undefined) {
      const header = decodeSegmentHeader(bytes)
      return header && { location, header: placedHeader(header, byteOffset) }
    }
    if (isCompressedObject(bytes)) return readUnpackedLog(fd, facts.size)
    return { location, header: decodeLogHeader(bytes, { path }, facts.size) }
  } finally {
    closeSync(fd)
  }
}
