/**
 * Merging: logs that follow each other become one that holds only the last version of each page. The logs are read
 * twice, front to back, and every byte is checked both times: first, from the last log to the first, to see which
 * records are the last of their page; then to write those. Held in memory are a bit for each page of the database that
 * was seen, and a byte for each record.
 */
import { MylibsqlError } from '../protocol/errors.js'
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import { whereIs } from '../protocol/log-check.js'
import {
  encodeLogHeader,
  type LogFile,
  type LogHeader,
  logNextFrameNo,
  mergedHeaderBytes,
  mergedLogHeader,
} from '../protocol/log-format.js'
import { lineageError } from '../protocol/log-sequence.js'
import type { LogBoundary } from '../protocol/merge-table.js'
import type { TaskOf } from '../protocol/tasks.js'
import { discardFile, withFile, writeAll } from './file-io.js'
import { checkRecords, readRecord, requireGood, wholeRun, withLogSource } from './log-source.js'
import { native } from './native.js'
import { PageSet } from './page-set.js'

interface Picked {
  readonly file: LogFile
  /** For each record, whether it goes into the merged log. */
  readonly isPicked: Uint8Array
  readonly count: number
}

/** Throws ERR_VERSION, ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_IO; then there is no file. */
export function mergeLogs({ logs, at, path }: TaskOf<'mergeLogs'>): LogFile {
  checkSequence(logs)
  const picked = pickLast(logs.filter(({ header }) => header.frameCount > 0))
  try {
    return { location: { path }, header: writeMerged(picked, at, path) }
  } catch (error) {
    discardFile(path)
    throw error
  }
}

function checkSequence(logs: readonly LogFile[]): void {
  for (const [index, file] of logs.entries()) {
    const { header } = file
    const where = whereIs(file)
    const name = where.path ?? `logs[${index}]`
    if (header.version !== 3) {
      const message = `${name} is of version ${header.version}, which has no lineage: it cannot be merged`
      throw new MylibsqlError('ERR_VERSION', message, { ...where, expected: 3, actual: header.version })
    }
    const before = logs[index - 1]?.header
    if (before === undefined) continue
    if (header.pageSize !== before.pageSize) {
      const message = `${name} has pages of ${header.pageSize} bytes, the log before it of ${before.pageSize}`
      const details = { ...where, expected: before.pageSize, actual: header.pageSize }
      throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
    }
    const expected = logNextFrameNo(before)
    if (header.startFrameNo !== expected) {
      const message = `${name} starts at frame ${header.startFrameNo}, the log before it ends before ${expected}`
      const details = { ...where, expected, actual: header.startFrameNo }
      throw new MylibsqlError('ERR_LOG_GAP', message, details)
    }
    const checksum = before.endChecksum ?? before.startChecksum
    if (header.startChecksum !== checksum)
      throw lineageError({ path: name }, expected, checksum, header.startChecksum)
  }
}

/** Marks the last version of each page that exists at the end. */
function pickLast(logs: readonly LogFile[]): Picked[] {
  const seen = new PageSet()
  let pageCount: number | undefined
  const picked = [...logs].reverse().map((file): Picked => {
    const { pageNos, lastSizeAfter } = checkRecords(file)
    pageCount ??= lastSizeAfter
    const isPicked = new Uint8Array(pageNos.length)
    let count = 0
    for (let index = pageNos.length - 1; index >= 0; index--) {
      const pageNo = pageNos[index]!
      if (pageNo > pageCount || !seen.add(pageNo)) continue
      isPicked[index] = 1
      count += 1
    }
    return { file, isPicked, count }
  })
  return picked.reverse()
}

function writeMerged(picked: readonly Picked[], at: readonly FrameNo[], path: string): LogHeader {
  const files = picked.map(({ file }) => file)
  const first = files[0]!.header
  const last = files.at(-1)!.header
  const boundaries = boundariesOf(files, at)
  return withFile(path, 'wx+', (fd) => {
    const recordsChecksum = writeRecords(picked, fd, mergedHeaderBytes(boundaries.length))
    const recordCount = picked.reduce((sum, { count }) => sum + count, 0)
    const header = mergedLogHeader({
      pageSize: first.pageSize,
      startFrameNo: first.startFrameNo,
      frameCount: logNextFrameNo(last) - first.startFrameNo,
      startChecksum: first.startChecksum,
      endChecksum: last.endChecksum,
      createdAtMs: last.createdAtMs,
      epoch: last.epoch,
      databaseChecksumBefore: first.databaseChecksumBefore ?? 0n,
      databaseChecksumAfter: last.databaseChecksumAfter ?? 0n,
      merged: { recordCount, recordsChecksum, boundaries },
    })
    writeAll(fd, encodeLogHeader(header), 0)
    return header
  })
}

/** Returns the checksum of the last record. */
function writeRecords(picked: readonly Picked[], fd: number, headerBytes: number): bigint {
  let checksum = picked[0]!.file.header.startChecksum
  let byteOffset = headerBytes
  for (const [index, { file, isPicked, count }] of picked.entries()) {
    const { header } = file
    const run = wholeRun(header)
    const endsLog = index === picked.length - 1
    const result = withLogSource(file, header.startFrameNo, (source) =>
      native.pickFrames(source, run, isPicked, fd, byteOffset, checksum, endsLog),
    )
    requireGood(file, run, result.check)
    checksum = result.checksum
    byteOffset += count * (frameHeaderBytes + header.pageSize)
  }
  return checksum
}

/** The starts of all logs but the first, the boundaries of merged ones, and of the positions `at` those that are states. */
function boundariesOf(files: readonly LogFile[], at: readonly FrameNo[]): LogBoundary[] {
  const found = new Map<FrameNo, bigint>()
  for (const [index, file] of files.entries()) {
    const { header } = file
    if (index > 0) found.set(header.startFrameNo, header.startChecksum)
    for (const { frameNo, checksum } of header.merged?.boundaries ?? []) found.set(frameNo, checksum)
    if (header.merged !== undefined) continue
    for (const frameNo of at) {
      if (frameNo <= header.startFrameNo || frameNo >= logNextFrameNo(header)) continue
      const before = readRecord(file, frameNo - 1 - header.startFrameNo)
      if (before.sizeAfter !== 0) found.set(frameNo, before.checksum)
    }
  }
  return [...found]
    .map(([frameNo, checksum]) => ({ frameNo, checksum }))
    .sort((a, b) => a.frameNo - b.frameNo)
}
