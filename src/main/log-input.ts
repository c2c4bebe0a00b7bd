/** Bytes and frames as they come from outside, made fit for a log. */
import { MylibsqlError } from '../protocol/errors.js'
import { decodeFrame, type Frame, FrameBatch, type FrameNo } from '../protocol/frame.js'
import { batchOf } from '../protocol/frame-batch.js'
import { checkLastFrame, whereIs } from '../protocol/log-check.js'
import {
  decodeLogHeader,
  encodeLogHeader,
  type LogFile,
  logHeader,
  logNextFrameNo,
  logRecordCount,
  logRecordOffset,
} from '../protocol/log-format.js'
import { lineageError } from '../protocol/log-sequence.js'
import type { OpenedLog, TaskOf } from '../protocol/tasks.js'
import { type Class, checkInstance, wrong } from './arguments.js'

/** The crate knows one page size only. */
const cratePageSize = 4096

/** Keeps the bytes. Throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT: all but the checksums is checked. */
export function logOfBytes(bytes: Uint8Array): OpenedLog {
  const whole = compact(bytes)
  const header = decodeLogHeader(whole, {}, whole.byteLength)
  const file: LogFile = { location: { bytes: whole }, header }
  if (header.frameCount === 0) return { file, endChecksum: header.startChecksum }
  const lastOffset = logRecordOffset(header, logRecordCount(header) - 1)
  return { file, endChecksum: checkLastFrame(file, decodeFrame(whole, lastOffset, header.pageSize)) }
}

/** No frames, in memory. */
export function emptyLog(startFrameNo: FrameNo, pageSize: number, checksum: bigint): OpenedLog {
  const chain = { startChecksum: checksum, endChecksum: checksum }
  return logOfBytes(encodeLogHeader(logHeader({ pageSize, startFrameNo, frameCount: 0, ...chain })))
}

/** Throws TypeError, ERR_LOG_GAP, ERR_PAGE_SIZE. */
export function toBatch(frames: FrameBatch | Iterable<Frame>): FrameBatch | undefined {
  if (frames instanceof FrameBatch) return frames
  if (typeof frames !== 'object' || frames === null || !(Symbol.iterator in frames)) {
    throw wrong('frames', 'a FrameBatch or an iterable of frames', frames)
  }
  return batchOf(frames, 'frames')
}

/**
 * The log that `batch` can be appended to, which is `file`. Version 2 has a chain of its own, with which that of
 * the batch cannot be compared.
 *
 * Throws ERR_PAGE_SIZE, ERR_LOG_GAP, ERR_LINEAGE.
 */
export function continued(file: LogFile, endChecksum: bigint, batch: FrameBatch): LogFile {
  checkPlace(file, batch)
  if (file.header.version === 3 && batch.startChecksum !== endChecksum) {
    throw lineageError({}, batch.startFrameNo, endChecksum, batch.startChecksum)
  }
  return file
}

/** An empty log that takes the history of its first frames. Throws ERR_PAGE_SIZE, ERR_LOG_GAP. */
export function adopt(file: LogFile, batch: FrameBatch): LogFile {
  checkPlace(file, batch)
  const { startChecksum } = batch
  return { ...file, header: { ...file.header, startChecksum, endChecksum: startChecksum } }
}

/** A view that spans its buffer: a structured clone of another one would carry the whole buffer along. */
export function compact(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength
    ? new Uint8Array(bytes.buffer, 0, bytes.byteLength)
    : new Uint8Array(bytes)
}

/** Work for a task thread: puts the frames behind those of the log at `path`, to which the log is copied first if it is not there. */
export function appendTask(
  file: LogFile,
  endChecksum: bigint,
  { bytes, frameCount, startChecksum }: FrameBatch,
  path: string,
): TaskOf<'appendFrames'> {
  const before = file.header.version === 3 ? startChecksum : endChecksum
  const records = compact(bytes)
  return { kind: 'appendFrames', file, endChecksum: before, path, records, frameCount, startChecksum }
}

/** Throws TypeError. */
export function checkMergeable<T extends { isEmpty: boolean }>(logs: unknown, type: Class<T>): T[] {
  if (!Array.isArray(logs)) throw wrong('logs', 'an array of logs', logs)
  const list = logs.map((log: unknown, index) => checkInstance(log, type, `logs[${index}]`))
  if (list.every(({ isEmpty }) => isEmpty)) throw new TypeError('logs must hold frames, there are none')
  return list
}

/** Throws ERR_REFUSED for a log of which parts mean nothing: it has the last version of each page alone. */
export function refuseMerged(file: LogFile, whatNot: string): void {
  if (file.header.merged === undefined) return
  const message = `${whereIs(file).path ?? 'The log'} is merged and cannot ${whatNot}`
  throw new MylibsqlError('ERR_REFUSED', message, whereIs(file))
}

/** Whether the crate could hold such a log. Throws ERR_PAGE_SIZE, ERR_REFUSED. */
export function checkCrateCopy(file: LogFile): void {
  const { pageSize } = file.header
  refuseMerged(file, 'be written as version 2')
  if (pageSize === cratePageSize) return
  const message = `Version 2 has pages of ${cratePageSize} bytes, this log of ${pageSize}`
  throw new MylibsqlError('ERR_PAGE_SIZE', message, { expected: cratePageSize, actual: pageSize })
}

function checkPlace({ header }: LogFile, batch: FrameBatch): void {
  if (batch.pageSize !== header.pageSize) {
    const message = `The frames have pages of ${batch.pageSize} bytes, the log of ${header.pageSize}`
    const details = { expected: header.pageSize, actual: batch.pageSize }
    throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
  }
  const nextFrameNo = logNextFrameNo(header)
  if (batch.startFrameNo !== nextFrameNo) {
    const message = `The frames start at ${batch.startFrameNo}, the log goes on with ${nextFrameNo}`
    const details = { expected: nextFrameNo, actual: batch.startFrameNo }
    throw new MylibsqlError('ERR_LOG_GAP', message, details)
  }
}
