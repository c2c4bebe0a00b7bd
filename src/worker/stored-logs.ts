/** Logs of a store as threads take them, without anybody having looked at them before: files, or bytes that came. */
import { closeSync, fstatSync } from 'node:fs'
import { logMemoryBytesMax } from '../protocol/limits.js'
import {
  decodeLogHeader,
  type LogFile,
  type LogHeader,
  type LogLocation,
  logByteLength,
  logHeaderBytesV3,
} from '../protocol/log-format.js'
import { decodeObjectHeader, isCompressedObject, objectHeaderBytes } from '../protocol/object-format.js'
import { decodeSegmentHeader, placedHeader } from '../protocol/segment-format.js'
import type { Position } from '../protocol/wire.js'
import { openToRead, readUpTo } from './file-io.js'
import { verifyLog } from './log-source.js'
import { isTakenAtOnce, readUnpackedLog, unpackedLog } from './unpacked-log.js'

type PathLocation = Extract<LogLocation, { path: string }>

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

/**
 * The log at this place, whatever comes before it, in memory and checked. Undefined when something is wrong with it, when it is
 * merged, or has more than `logMemoryBytesMax` bytes.
 */
export function openStoredLog(location: LogLocation): LogFile | undefined {
  try {
    const stored = 'path' in location ? smallObjectAt(location) : location.bytes
    const file = stored && smallLogIn(stored)
    if (file !== undefined) verifyLog(file)
    return file
  } catch {
    return undefined
  }
}

function smallObjectAt(location: PathLocation): Uint8Array | undefined {
  return withHead(location, (fd, head, size) => {
    const { byteOffset } = location
    if (byteOffset !== undefined) {
      const header = decodeSegmentHeader(head)
      const byteLength = header && logByteLength(header)
      return isSmall(byteLength) ? readUpTo(fd, byteOffset, byteLength) : undefined
    }
    return isSmall(size) && isSmall(rawBytesOf(head, size)) ? readUpTo(fd, 0, size) : undefined
  })
}

/** In memory of its own. */
function smallLogIn(stored: Uint8Array): LogFile | undefined {
  const file = isSmall(rawBytesOf(stored, stored.length)) ? logIn(stored) : undefined
  if (file === undefined || !isTakenAtOnce(file.header) || !('bytes' in file.location)) return undefined
  const { bytes } = file.location
  // Others are in memory that is kept for the next one, or larger than they are.
  const isOwn = bytes === stored && bytes.byteLength === bytes.buffer.byteLength
  return isOwn ? file : { ...file, location: { bytes: new Uint8Array(bytes) } }
}

/** Of the log in an object, as far as its header tells. */
function rawBytesOf(head: Uint8Array, byteLength: number): number {
  return decodeObjectHeader(head.subarray(0, objectHeaderBytes), {})?.rawBytes ?? byteLength
}

function isSmall(byteLength: number | undefined): byteLength is number {
  return byteLength !== undefined && byteLength <= logMemoryBytesMax
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

function logInFile(location: PathLocation): LogFile | undefined {
  return withHead(location, (fd, head, size) => {
    const { path, byteOffset } = location
    if (byteOffset !== undefined) {
      const header = decodeSegmentHeader(head)
      return header && { location, header: placedHeader(header, byteOffset) }
    }
    if (isCompressedObject(head)) return readUnpackedLog(fd, size)
    return { location, header: decodeLogHeader(head, { path }, size) }
  })
}

/** `head`: the bytes where the header of a plain log would be; `size`: of the file. Undefined for what is no file. */
function withHead<T>(
  { path, byteOffset = 0 }: PathLocation,
  use: (fd: number, head: Uint8Array, size: number) => T | undefined,
): T | undefined {
  const fd = openToRead(path)
  try {
    const facts = fstatSync(fd)
    return facts.isFile() ? use(fd, readUpTo(fd, byteOffset, logHeaderBytesV3), facts.size) : undefined
  } finally {
    closeSync(fd)
  }
}
