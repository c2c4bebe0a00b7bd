/** What the task threads do with logs: open, verify, append, write. */
import { MylibsqlError } from '../protocol/errors.js'
import { frameHeaderBytes } from '../protocol/frame.js'
import { describeReason } from '../protocol/log-check.js'
import {
  decodeLogHeader,
  encodeLogHeader,
  type LogFile,
  type LogHeader,
  logFrameOffset,
  logHeadBytes,
  logHeader,
  logHeaderBytesV2,
  logHeaderBytesV3,
  logHeadMinBytes,
  logNextFrameNo,
  logRecordsByteLength,
} from '../protocol/log-format.js'
import type { OpenedLog, TaskOf } from '../protocol/tasks.js'
import {
  copyRange,
  discardFile,
  fileBytes,
  readUpTo,
  truncateFile,
  withFile,
  writeAll,
  writeDurably,
} from './file-io.js'
import { checkLastRecord, readRecord, verifyLog, wholeRun, withLogSource } from './log-source.js'
import { type FrameRun, native } from './native.js'
import { scan } from './segment-scan.js'

export function openLog({ path, verify }: TaskOf<'openLog'>): OpenedLog {
  const header = withFile(path, 'r', (fd) => {
    refuseSegment(fd, path)
    return readHeader(fd, path)
  })
  const file: LogFile = { location: { path }, header }
  const endChecksum = checkLastRecord(file)
  if (verify) verifyLog(file)
  return { file, endChecksum }
}

/** All logs of a segment, in memory; of any other file, the one that it is. */
export function openLogs({ path, verify }: TaskOf<'openLogs'>): OpenedLog[] {
  const files = withFile(path, 'r', (fd) => {
    const { segment } = scan(fd)
    return segment?.logs.map(({ byteOffset, byteLength }): LogFile => {
      const bytes = readUpTo(fd, byteOffset, byteLength)
      return {
        location: { bytes },
        header: decodeLogHeader(bytes, { path: `${path}@${byteOffset}` }, byteLength),
      }
    })
  })
  if (files === undefined) return [openLog({ kind: 'openLog', path, verify })]
  return files.map((file) => {
    if (verify) verifyLog(file)
    return { file, endChecksum: checkLastRecord(file) }
  })
}

/** It would be taken for a log that is damaged. */
function refuseSegment(fd: number, path: string): void {
  const { segment } = scan(fd)
  if (segment === undefined) return
  const message =
    `${path} is a segment: ${segment.logs.length} logs, one behind the other, as a FileStore keeps them. Log.openAll ` +
    'opens them'
  throw new MylibsqlError('ERR_NOT_A_LOG', message, { path })
}

function readHeader(fd: number, path: string): LogHeader {
  const byteLength = fileBytes(fd)
  let bytes = readUpTo(fd, 0, logHeadMinBytes)
  const wanted = logHeadBytes(bytes, byteLength)
  if (wanted > bytes.length) bytes = readUpTo(fd, 0, wanted)
  return decodeLogHeader(bytes, { path }, byteLength)
}

export function appendFrames(task: TaskOf<'appendFrames'>): OpenedLog {
  const { file, path, records, frameCount, startChecksum } = task
  const run: FrameRun = {
    frameCount,
    pageSize: file.header.pageSize,
    startFrameNo: logNextFrameNo(file.header),
    version: 3,
    fileStartChecksum: startChecksum,
    startChecksum,
  }
  const batchEndChecksum = checkBatch(records, run)
  const isMoved = !('path' in file.location) || file.location.path !== path
  if (isMoved) writeLogFile(file, file.header.version, file.header.startFrameNo, path)
  try {
    return appendRecords(task, run, batchEndChecksum)
  } catch (error) {
    if (isMoved) discardFile(path)
    throw error
  }
}

export function writeLog({ file, version, fromFrameNo, path, durably }: TaskOf<'writeLog'>): OpenedLog {
  if (!durably) return writeLogFile(file, version, fromFrameNo, path)
  const written = writeDurably(path, (fd) => writeFrames(file, version, fromFrameNo, fd))
  return { ...written, file: { location: { path }, header: written.header } }
}

function writeLogFile(file: LogFile, version: 2 | 3, fromFrameNo: number, path: string): OpenedLog {
  try {
    const { header, endChecksum } = withFile(path, 'wx+', (fd) => writeFrames(file, version, fromFrameNo, fd))
    return { file: { location: { path }, header }, endChecksum }
  } catch (error) {
    discardFile(path)
    throw error
  }
}

interface WrittenLog {
  readonly header: LogHeader
  readonly endChecksum: bigint
}

function writeFrames(file: LogFile, version: 2 | 3, fromFrameNo: number, fd: number): WrittenLog {
  const { header } = file
  if (fromFrameNo >= logNextFrameNo(header)) return writeEmpty(file, version, fromFrameNo, fd)
  // The records of a version 2 log that starts later need checksums that start anew, because the crate writes
  // start_checksum 0 in every log.
  const isSame = header.version === version && (version === 3 || fromFrameNo === header.startFrameNo)
  return isSame ? copyFrames(file, fromFrameNo, fd) : rewriteFrames(file, version, fromFrameNo, fd)
}

function writeEmpty(file: LogFile, version: 2 | 3, startFrameNo: number, fd: number): WrittenLog {
  const isNext = startFrameNo === logNextFrameNo(file.header)
  const checksum = version === 3 && isNext ? checkLastRecord(file) : 0n
  const header = headerOf(file.header, version, startFrameNo, 0, checksum, checksum)
  writeAll(fd, encodeLogHeader(header), 0)
  return { header, endChecksum: checksum }
}

function copyFrames(file: LogFile, fromFrameNo: number, fd: number): WrittenLog {
  const { header } = file
  const frameCount = logNextFrameNo(header) - fromFrameNo
  const isWhole = fromFrameNo === header.startFrameNo
  const startChecksum = isWhole
    ? header.startChecksum
    : readRecord(file, fromFrameNo - 1 - header.startFrameNo).checksum
  const endChecksum = checkLastRecord(file)
  const copied = isWhole
    ? header
    : headerOf(header, header.version, fromFrameNo, frameCount, startChecksum, endChecksum)
  const byteLength = logRecordsByteLength(copied)
  withLogSource(file, fromFrameNo, (source) => {
    if ('bytes' in source) writeAll(fd, source.bytes.subarray(0, byteLength), copied.headerBytes)
    else copyRange(source.fd, source.byteOffset, fd, copied.headerBytes, byteLength)
  })
  writeAll(fd, encodeLogHeader(copied), 0)
  return { header: copied, endChecksum }
}

/** Into the other version, with a chain that starts at 0. The source is checked first: no damage is signed anew. */
function rewriteFrames(file: LogFile, version: 2 | 3, fromFrameNo: number, fd: number): WrittenLog {
  verifyLog(file)
  const run: FrameRun = {
    ...wholeRun(file.header),
    startFrameNo: fromFrameNo,
    frameCount: logNextFrameNo(file.header) - fromFrameNo,
    // Where a chain of version 2 starts.
    fileStartChecksum: 0n,
  }
  const headerBytes = version === 2 ? logHeaderBytesV2 : logHeaderBytesV3
  const endChecksum = withLogSource(file, fromFrameNo, (source) =>
    native.rewriteFrames(source, run, version, fd, headerBytes, 0n),
  )
  const header = headerOf(file.header, version, fromFrameNo, run.frameCount, 0n, endChecksum)
  writeAll(fd, encodeLogHeader(header), 0)
  return { header, endChecksum }
}

function headerOf(
  from: LogHeader,
  version: 2 | 3,
  startFrameNo: number,
  frameCount: number,
  startChecksum: bigint,
  endChecksum: bigint,
): LogHeader {
  const { pageSize, createdAtMs, epoch } = from
  const fields = { pageSize, startFrameNo, frameCount, startChecksum, endChecksum }
  if (version === 3) return logHeader({ ...fields, createdAtMs, epoch })
  return logHeader({
    ...fields,
    version,
    headerBytes: logHeaderBytesV2,
    endChecksum: undefined,
    createdAtMs: undefined,
  })
}

function appendRecords(task: TaskOf<'appendFrames'>, run: FrameRun, batchEndChecksum: bigint): OpenedLog {
  const { path, records } = task
  const old = task.file.header
  const byteOffset = logFrameOffset(old, run.startFrameNo)
  return withFile(path, 'r+', (fd) => {
    try {
      let endChecksum = batchEndChecksum
      if (old.version === 3) writeAll(fd, records, byteOffset)
      else {
        const continued = { ...run, fileStartChecksum: task.endChecksum }
        endChecksum = native.rewriteFrames({ bytes: records }, continued, 2, fd, byteOffset, 0n)
      }
      const header: LogHeader = {
        ...old,
        frameCount: old.frameCount + run.frameCount,
        endChecksum: old.version === 3 ? endChecksum : undefined,
        databaseChecksumAfter: 0n,
      }
      // The header last: it is what makes the new frames a part of the log.
      writeAll(fd, encodeLogHeader(header), 0)
      return { file: { location: { path }, header }, endChecksum }
    } catch (error) {
      truncateFile(fd, byteOffset)
      throw error
    }
  })
}

function checkBatch(records: Uint8Array, run: FrameRun): bigint {
  const check = native.checkFrames({ bytes: records }, run)
  const badIndex = check.badIndex === -1 && check.lastSizeAfter === 0 ? run.frameCount - 1 : check.badIndex
  if (badIndex === -1) return check.endChecksum
  const frameNo = run.startFrameNo + badIndex
  const reason = check.badIndex === -1 ? 'the frames end inside a transaction' : describeReason(check.reason)
  const byteOffset = badIndex * (frameHeaderBytes + run.pageSize)
  throw new MylibsqlError('ERR_CORRUPT', `Frame ${frameNo} to append is damaged: ${reason}`, {
    frameNo,
    byteOffset,
  })
}
