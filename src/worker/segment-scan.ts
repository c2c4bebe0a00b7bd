/** Which logs are in a file of a FileStore: protocol/segment-format.ts says what a segment is. */
import { closeSync, fstatSync } from 'node:fs'
import type { FrameNo } from '../protocol/frame.js'
import { type LogHeader, logByteLength, logHeaderBytesV3, logNextFrameNo } from '../protocol/log-format.js'
import {
  decodeSegmentHeader,
  isSegmentMark,
  segmentBlockBytes,
  segmentMarkBytes,
  segmentRecordBytes,
} from '../protocol/segment-format.js'
import { openToRead, readUpTo } from './file-io.js'
import { wholeRun } from './log-source.js'
import { native } from './native.js'

/** A log in a segment. */
export interface SegmentLog {
  readonly byteOffset: number
  /** Of the log alone. */
  readonly byteLength: number
  readonly startFrameNo: FrameNo
  readonly nextFrameNo: FrameNo
  readonly createdAtMs: number
}

export interface Segment {
  readonly epoch: number
  /** By frame number; what is damaged among them too. */
  readonly logs: readonly SegmentLog[]
  /** Where the next one would begin. */
  readonly endOffset: number
  /** Something was written there: a log that is being written, was never finished, or is damaged. */
  readonly isDirty: boolean
}

/** What a file of logs/ is: a log, or a segment. */
export interface ScannedFile {
  readonly byteLength: number
  readonly segment: Segment | undefined
}

export interface ScanOptions {
  /** Look at every checksum of the last log: it may have been written half, and nobody knows. */
  readonly checksLast?: boolean
}

/** Read at a time where a log is searched for. */
const searchBytes = 64 * segmentBlockBytes

/** Undefined when there is no such file. Throws what the system says. */
export function scanFile(path: string, options: ScanOptions = {}): ScannedFile | undefined {
  let fd: number
  try {
    fd = openToRead(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return scan(fd, options)
  } finally {
    closeSync(fd)
  }
}

/** The same of a file that is open. */
export function scan(fd: number, { checksLast = false }: ScanOptions = {}): ScannedFile {
  const { size } = fstatSync(fd)
  const first = size > 0 && size % segmentBlockBytes === 0 ? logAt(fd, 0, size) : undefined
  if (first === undefined || logByteLength(first) === size) return { byteLength: size, segment: undefined }
  return { byteLength: size, segment: segmentOf(fd, size, first, checksLast) }
}

function segmentOf(fd: number, size: number, first: LogHeader, checksLast: boolean): Segment {
  const logs: SegmentLog[] = []
  const headers: LogHeader[] = []
  let byteOffset = 0
  let before: LogHeader | undefined
  for (;;) {
    const header = byteOffset === 0 ? first : logAt(fd, byteOffset, size)
    if (header !== undefined && continues(header, before, first)) {
      logs.push(segmentLog(header, byteOffset))
      headers.push(header)
      before = header
      byteOffset += segmentRecordBytes(logByteLength(header))
      continue
    }
    // Where others follow, this one was there too: it is damaged, and whoever reads it is told.
    const next = nextLogBehind(fd, byteOffset, size, first, before!)
    if (next === undefined) break
    logs.push(damagedLog(byteOffset, next.byteOffset, before!, next.header))
    before = undefined
    byteOffset = next.byteOffset
  }
  if (checksLast && headers.length > 0) {
    const last = logs.at(-1)!
    if (!isWhole(fd, headers.at(-1)!, last.byteOffset)) {
      logs.pop()
      byteOffset = last.byteOffset
    }
  }
  const isDirty = readUpTo(fd, byteOffset, segmentBlockBytes).some((byte) => byte !== 0)
  return { epoch: first.epoch, logs, endOffset: byteOffset, isDirty }
}

/** The header of a log that has its mark. */
export function logAt(fd: number, byteOffset: number, size: number): LogHeader | undefined {
  const bytes = readUpTo(fd, byteOffset, logHeaderBytesV3)
  const header = decodeSegmentHeader(bytes)
  if (header === undefined) return undefined
  const logBytes = logByteLength(header)
  // Alone in its file it has none.
  if (byteOffset === 0 && logBytes === size) return header
  const endOffset = byteOffset + segmentRecordBytes(logBytes)
  if (endOffset > size) return undefined
  const mark = readUpTo(fd, endOffset - segmentMarkBytes, segmentMarkBytes)
  return isSegmentMark(mark, bytes) ? header : undefined
}

/** `before` undefined: behind a damaged one, of which only the numbers are known. */
function continues(header: LogHeader, before: LogHeader | undefined, first: LogHeader): boolean {
  if (header.epoch !== first.epoch || header.pageSize !== first.pageSize) return false
  if (before === undefined) return true
  return header.startFrameNo === logNextFrameNo(before) && header.startChecksum === before.endChecksum
}

/** A log of the segment further on, although there is none here. */
function nextLogBehind(
  fd: number,
  from: number,
  size: number,
  first: LogHeader,
  before: LogHeader,
): { byteOffset: number; header: LogHeader } | undefined {
  for (let at = from + segmentBlockBytes; at < size; at += searchBytes) {
    const bytes = readUpTo(fd, at, Math.min(searchBytes, size - at))
    for (let block = 0; block < bytes.length; block += segmentBlockBytes) {
      // Nearly all of it is room that was never written to.
      if (bytes[block] === 0) continue
      const header = logAt(fd, at + block, size)
      if (header === undefined || !continues(header, undefined, first)) continue
      if (header.startFrameNo > logNextFrameNo(before)) return { byteOffset: at + block, header }
    }
  }
  return undefined
}

function segmentLog(header: LogHeader, byteOffset: number): SegmentLog {
  const { startFrameNo, createdAtMs = 0 } = header
  const nextFrameNo = logNextFrameNo(header)
  return { byteOffset, byteLength: logByteLength(header), startFrameNo, nextFrameNo, createdAtMs }
}

function damagedLog(byteOffset: number, endOffset: number, before: LogHeader, next: LogHeader): SegmentLog {
  const startFrameNo = logNextFrameNo(before)
  const byteLength = endOffset - byteOffset
  return { byteOffset, byteLength, startFrameNo, nextFrameNo: next.startFrameNo, createdAtMs: 0 }
}

function isWhole(fd: number, header: LogHeader, byteOffset: number): boolean {
  const recordsAt = byteOffset + logHeaderBytesV3
  const check = native.checkFrames({ fd, byteOffset: recordsAt }, wholeRun(header))
  return check.badIndex === -1 && check.endChecksum === header.endChecksum && check.lastSizeAfter !== 0
}
