/**
 * Logs as the worker threads read them: where the frame records are, and the check that every log passes
 * before a frame of it is applied.
 */
import { closeSync, openSync } from 'node:fs'
import { MylibsqlError } from '../protocol/errors.js'
import { decodeFrame, type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import {
  checkLastFrame,
  corruptRecord,
  describeReason,
  endOfMerged,
  lastRecordChecksum,
  whereIs,
} from '../protocol/log-check.js'
import {
  type LogFile,
  type LogHeader,
  logFrameOffset,
  logNextFrameNo,
  logRecordCount,
  logRecordOffset,
} from '../protocol/log-format.js'
import { type LogStep, lineageError, planLog } from '../protocol/log-sequence.js'
import type { Position } from '../protocol/wire.js'
import { attempt, readUpTo } from './file-io.js'
import { type FrameCheck, type FrameRun, type FrameSource, native, type WalConnection } from './native.js'

interface LogSource {
  /** Starts at the record of the frame that was asked for. */
  readonly source: FrameSource
  close(): void
}

/** `fd`: the file is open already, and stays open. It is read there, whatever has its name by now. */
export interface OpenedLog extends LogFile {
  readonly fd?: number
}

/** Opens the bytes of a log from `byteOffset` on. Throws ERR_IO. */
function openLogSource({ location, fd: openedFd }: OpenedLog, byteOffset: number): LogSource {
  if ('bytes' in location) {
    return { source: { bytes: location.bytes.subarray(byteOffset) }, close: () => {} }
  }
  if (openedFd !== undefined) return { source: { fd: openedFd, byteOffset }, close: () => {} }
  const fd = attempt('read', location.path, () => openSync(location.path, 'r'))
  return { source: { fd, byteOffset }, close: () => closeSync(fd) }
}

/** Runs `use` with the records from that of `fromFrameNo` on (of a merged log: all of them) and closes the file. */
export function withLogSource<T>(file: OpenedLog, fromFrameNo: FrameNo, use: (source: FrameSource) => T): T {
  const isMerged = file.header.merged !== undefined
  return withSourceAt(
    file,
    isMerged ? file.header.headerBytes : logFrameOffset(file.header, fromFrameNo),
    use,
  )
}

function withSourceAt<T>(file: OpenedLog, byteOffset: number, use: (source: FrameSource) => T): T {
  const opened = openLogSource(file, byteOffset)
  try {
    return attempt('read', whereIs(file).path ?? 'the log', () => use(opened.source))
  } finally {
    opened.close()
  }
}

/** A log that was checked against a position. */
export type CheckedLog =
  | { readonly kind: 'skip'; readonly next: Position }
  | {
      readonly kind: 'apply'
      /** The frames to apply: read them with `withLogSource(file, run.startFrameNo, ...)`. */
      readonly run: FrameRun
      /** Where the database stands after them. */
      readonly next: Position
    }

/**
 * Checks what of `file` is to be applied at `position` of a database: sequence, lineage and every byte of the
 * new part. Nothing is changed.
 *
 * Throws ERR_PAGE_SIZE, ERR_LOG_GAP, ERR_LINEAGE, ERR_CORRUPT (details: path, frameNo, byteOffset), ERR_IO.
 */
export function checkLog(file: LogFile, position: Position, pageSize: number): CheckedLog {
  const run = planRun(file, position, pageSize)
  if (run === undefined) return { kind: 'skip', next: position }
  return { kind: 'apply', run, next: positionAfter(file, checkRun(file, run)) }
}

/**
 * Checks the same and appends the new part to the WAL of an open database, in one pass. Returns where the database
 * stands afterwards; undefined when nothing is new. Throws the same; then nothing was applied.
 */
export function injectLog(
  file: OpenedLog,
  position: Position,
  database: { readonly wal: WalConnection; readonly pageSize: number },
): Position | undefined {
  const run = planRun(file, position, database.pageSize)
  if (run === undefined) return undefined
  const check = withLogSource(file, run.startFrameNo, (source) =>
    database.wal.inject(source, run, lastRecordChecksum(file.header)),
  )
  return positionAfter(file, requireGood(file, run, check))
}

/**
 * Checks the same, then hands the new part to `apply`, out of one open file: whatever takes its name meanwhile is not read.
 * Returns where the database stands afterwards, and what `apply` does; undefined when nothing is new. Throws the same; then
 * nothing was applied.
 */
export function applyChecked<T>(
  file: OpenedLog,
  position: Position,
  pageSize: number,
  apply: (source: FrameSource, run: FrameRun) => T,
): { readonly next: Position; readonly applied: T } | undefined {
  const run = planRun(file, position, pageSize)
  if (run === undefined) return undefined
  return withLogSource(file, run.startFrameNo, (source) => {
    const check = requireGood(file, run, native.checkFrames(source, run))
    return { next: positionAfter(file, check), applied: apply(source, run) }
  })
}

/** Checks the whole log by itself. Throws ERR_CORRUPT, ERR_IO. */
export function verifyLog(file: LogFile): void {
  if (file.header.frameCount > 0) checkRun(file, wholeRun(file.header))
}

/** The same, and the page number of each record. */
export function checkRecords(file: LogFile): { pageNos: Uint32Array; lastSizeAfter: number } {
  const run = wholeRun(file.header)
  const pageNos = new Uint32Array(run.frameCount)
  const { lastSizeAfter } = checkRun(file, run, pageNos)
  return { pageNos, lastSizeAfter }
}

/** All frames of a log; a version 2 log is chained from 0n when its frames are written as version 3. */
export function wholeRun(header: LogHeader): FrameRun {
  const run = plainRun(header)
  return header.merged === undefined ? run : { ...run, mergedEndFrameNo: logNextFrameNo(header) }
}

function plainRun(header: LogHeader): FrameRun {
  return {
    frameCount: logRecordCount(header),
    pageSize: header.pageSize,
    startFrameNo: header.startFrameNo,
    version: header.version,
    fileStartChecksum: header.startChecksum,
    startChecksum: header.version === 3 ? header.startChecksum : 0n,
  }
}

/** Header of one record, by its place: what it says of the frame, without the page. */
export function readRecord(file: OpenedLog, index: number): { checksum: bigint; sizeAfter: number } {
  return withSourceAt(file, logRecordOffset(file.header, index), (source) => {
    const bytes =
      'bytes' in source
        ? source.bytes.subarray(0, frameHeaderBytes)
        : readUpTo(source.fd, source.byteOffset, frameHeaderBytes)
    if (bytes.length < frameHeaderBytes) throw corruptRecord(file, index, 'the file ends here')
    return decodeFrame(bytes, 0, 0)
  })
}

/** Checksum of the last frame in the history of the file, once the last record fits the header. Throws ERR_CORRUPT, ERR_IO. */
export function checkLastRecord(file: LogFile): bigint {
  const { header } = file
  if (header.frameCount === 0) return header.startChecksum
  return checkLastFrame(file, readRecord(file, logRecordCount(header) - 1))
}

/** The frames of `file` that are new at `position`, as far as headers tell; undefined when there are none. */
function planRun(file: OpenedLog, position: Position, pageSize: number): FrameRun | undefined {
  const { header } = file
  const step = planLog({ ...position, pageSize }, header, whereIs(file))
  if (step.kind === 'skip') return undefined
  if (header.merged !== undefined) return wholeRun(header)
  return {
    frameCount: step.frameCount,
    pageSize: header.pageSize,
    startFrameNo: step.fromFrameNo,
    version: header.version,
    fileStartChecksum: chainBefore(file, step, position),
    startChecksum: position.checksum,
  }
}

function positionAfter({ header }: LogFile, { endChecksum }: FrameCheck): Position {
  const checksum = header.merged === undefined ? endChecksum : endOfMerged(header)
  return { nextFrameNo: logNextFrameNo(header), checksum }
}

/** Where the file's own chain stands before the frames to apply. For version 3 that is the position's checksum. */
function chainBefore(file: OpenedLog, step: LogStep & { kind: 'apply' }, position: Position): bigint {
  if (!step.overlaps) return file.header.startChecksum
  const before = readRecord(file, step.fromFrameNo - 1 - file.header.startFrameNo)
  if (file.header.version === 3 && before.checksum !== position.checksum) {
    throw lineageError(whereIs(file), step.fromFrameNo, position.checksum, before.checksum)
  }
  if (before.sizeAfter === 0) {
    const message = `${whereIs(file).path ?? 'The log'} belongs to another history: frame ${step.fromFrameNo} is inside a transaction`
    throw new MylibsqlError('ERR_LINEAGE', message, { ...whereIs(file), frameNo: step.fromFrameNo })
  }
  return before.checksum
}

function checkRun(file: LogFile, run: FrameRun, pageNos?: Uint32Array): FrameCheck {
  const check = withLogSource(file, run.startFrameNo, (source) => native.checkFrames(source, run, pageNos))
  return requireGood(file, run, check)
}

/** What the addon found, once that is what the log promised. Throws ERR_CORRUPT. */
export function requireGood(file: LogFile, run: FrameRun, check: FrameCheck): FrameCheck {
  // A last record that is good by itself, but not as the last one of this log.
  const isBadEnd = check.reason === 'unfinished' || check.reason === 'endChecksum'
  if (check.badIndex !== -1 && !isBadEnd) {
    const firstIndex = run.startFrameNo - file.header.startFrameNo
    throw corruptRecord(file, firstIndex + check.badIndex, describeReason(check.reason))
  }
  checkLastFrame(file, { checksum: check.endChecksum, sizeAfter: check.lastSizeAfter })
  return check
}
