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
  logNextFrameNo,
} from '../protocol/log-format.js'
import { decodeObjectHeader, isCompressedObject, objectHeaderBytes } from '../protocol/object-format.js'
import { decodeSegmentHeader, placedHeader } from '../protocol/segment-format.js'
import type { HistoryEnd } from '../protocol/tasks.js'
import type { Position } from '../protocol/wire.js'
import { openToRead, readUpTo } from './file-io.js'
import { type OpenedLog, verifyLog } from './log-source.js'
import { isTakenAtOnce, readUnpackedLog, unpackedLog } from './unpacked-log.js'

type PathLocation = Extract<LogLocation, { path: string }>

/** What comes next, as far as a header tells. */
interface Expected extends Position {
  readonly pageSize: number
  /** A log of an older primary is part of the history for sure if the next one continues it: see history-chain.ts. */
  readonly epochMin: number
  /** What it may take the history to. Default: as far as it goes. */
  readonly until?: HistoryEnd
}

/**
 * The log at this place, if its header says that it is the next one; its frames are to be checked when they are applied.
 * Undefined for everything else, whatever it is. Should another file take its place before that, its frames do not fit: they
 * are to be checked and applied out of one open file.
 * `behind`: of the log that may continue it.
 */
export function undoubtedLog(
  location: LogLocation,
  expected: Expected,
  behind: LogLocation | undefined,
  files: LastFile,
): OpenedLog | undefined {
  try {
    const file = 'path' in location ? logInFile(location, files.opened(location.path)) : logIn(location.bytes)
    if (file === undefined || !isNext(file.header, expected)) return undefined
    return file.header.epoch >= expected.epochMin || isContinued(file.header, behind, files)
      ? file
      : undefined
  } catch {
    return undefined
  }
}

function isContinued(header: LogHeader, behind: LogLocation | undefined, files: LastFile): boolean {
  const next = behind && headerAt(behind, files)
  return next?.startFrameNo === logNextFrameNo(header) && next.startChecksum === header.endChecksum
}

/** Undefined for one that is compressed, and not small. */
function headerAt(location: LogLocation, files: LastFile): LogHeader | undefined {
  if (!('path' in location)) return smallLogIn(location.bytes)?.header
  const header = (fd: number, head: Uint8Array, size: number) => {
    const { path, byteOffset } = location
    if (byteOffset !== undefined) return placedHeader(decodeSegmentHeader(head)!, byteOffset)
    if (!isCompressedObject(head)) return decodeLogHeader(head, { path }, size)
    return isSmall(size) ? smallLogIn(readUpTo(fd, 0, size))?.header : undefined
  }
  // The log before may have another file, which is still needed.
  return files.has(location.path)
    ? withHeadAt(files.opened(location.path), location, header)
    : withHead(location, header)
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
  const ownRoom = (byteLength: number) => new Uint8Array(byteLength)
  const file = isSmall(rawBytesOf(stored, stored.length)) ? logIn(stored, ownRoom) : undefined
  if (file === undefined || !isTakenAtOnce(file.header) || !('bytes' in file.location)) return undefined
  const { bytes } = file.location
  // Others are in memory that is larger than they are.
  const isOwn = bytes.byteLength === bytes.buffer.byteLength
  return isOwn ? file : { ...file, location: { bytes: new Uint8Array(bytes) } }
}

/** Of the log in an object, as far as its header tells. */
function rawBytesOf(head: Uint8Array, byteLength: number): number {
  return decodeObjectHeader(head.subarray(0, objectHeaderBytes), {})?.rawBytes ?? byteLength
}

function isSmall(byteLength: number | undefined): byteLength is number {
  return byteLength !== undefined && byteLength <= logMemoryBytesMax
}

function isNext(header: LogHeader, { until, ...expected }: Expected): boolean {
  return (
    isTakenAtOnce(header) &&
    header.pageSize === expected.pageSize &&
    header.startFrameNo === expected.nextFrameNo &&
    header.startChecksum === expected.checksum &&
    (until === undefined || isWithin(header, until))
  )
}

function isWithin(header: LogHeader, { frameNo, sealedMs }: HistoryEnd): boolean {
  const isEarly = header.createdAtMs === undefined || sealedMs === undefined || header.createdAtMs <= sealedMs
  return isEarly && (frameNo === undefined || logNextFrameNo(header) <= frameNo + 1)
}

function logIn(bytes: Uint8Array, room?: (byteLength: number) => Uint8Array): LogFile | undefined {
  if (isCompressedObject(bytes)) return unpackedLog(bytes, room)
  const header = decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, bytes.byteLength)
  return { location: { bytes }, header }
}

function logInFile(location: PathLocation, openedFd: number): OpenedLog | undefined {
  return withHeadAt(openedFd, location, (fd, head, size) => {
    const { path, byteOffset } = location
    if (byteOffset !== undefined) {
      const header = decodeSegmentHeader(head)
      return header && { location, header: placedHeader(header, byteOffset), fd }
    }
    if (isCompressedObject(head)) return readUnpackedLog(fd, size)
    return { location, header: decodeLogHeader(head, { path }, size), fd }
  })
}

/** The file that was read last, which stays open: logs of a segment are read one behind the other. */
export class LastFile {
  #open: { readonly path: string; readonly fd: number } | undefined

  has(path: string): boolean {
    return this.#open?.path === path
  }

  /** Instead of the one before. Throws what the system says. */
  opened(path: string): number {
    if (this.#open?.path !== path) {
      this.close()
      this.#open = { path, fd: openToRead(path) }
    }
    return this.#open.fd
  }

  close(): void {
    const { fd } = this.#open ?? {}
    this.#open = undefined
    if (fd !== undefined) closeSync(fd)
  }
}

/** `head`: the bytes where the header of a plain log would be; `size`: of the file. Undefined for what is no file. */
function withHead<T>(location: PathLocation, use: UseHead<T>): T | undefined {
  const fd = openToRead(location.path)
  try {
    return withHeadAt(fd, location, use)
  } finally {
    closeSync(fd)
  }
}

function withHeadAt<T>(fd: number, { byteOffset = 0 }: PathLocation, use: UseHead<T>): T | undefined {
  const facts = fstatSync(fd)
  return facts.isFile() ? use(fd, readUpTo(fd, byteOffset, logHeaderBytesV3), facts.size) : undefined
}

type UseHead<T> = (fd: number, head: Uint8Array, size: number) => T | undefined
