/**
 * The log file: a header, then frame records (protocol/frame.ts) without gaps. Everything is little-endian.
 *
 *     version 3, 112 bytes                            version 2, 48 bytes (the crate's)
 *     offset size field                               offset size field
 *          0    8 magic "MYLIBSQL"                         0    8 magic "MYLIBSQL"
 *          8    8 start_checksum (lineage)                8    8 start_checksum
 *         16    8 start_frame_no                          16    8 start_frame_no
 *         24    8 frame_count                             24    8 frame_count
 *         32    4 version = 3                             32    4 version = 2
 *         36    4 page_size                               36    4 page_size = 4096
 *         40    4 flags: 1 = merged                       40    8 writer_version, 4 x u16
 *         44    4 header_bytes = 112
 *         48    8 end_checksum: of the last frame
 *         56    8 created_at_ms since 1970, 0 = not known
 *         64    8 database_checksum_before, 0 = none
 *         72    8 database_checksum_after, 0 = none
 *         80    8 epoch, 0 = none
 *         88   16 reserved = 0
 *        104    8 header_checksum of bytes 0..104
 *
 * A **version 3** log is valid when all of these hold: the header checksum; reserved bytes and other flags are 0; the
 * page size is a power of two from 512 to 65536; the file is exactly `112 + frame_count * (24 + page_size)`
 * bytes; frame numbers count up from start_frame_no; page_no is from 1 to 2^32 - 2, size_after is 0 or at least
 * page_no; each frame's checksum is the CRC-64/GO-ISO of bytes [0, 8) and [16, 24 + page_size) of its record,
 * continued from the checksum of the frame before (start_checksum for the first, which is 0 before frame 0); the
 * last one is end_checksum; the last record's size_after is not 0: the log ends with a whole transaction.
 *
 * A **merged** log (version 3, flag 1) covers the same frames but holds, of each page, only the last of them, and of pages
 * beyond the final size none. Behind the header it has a table (merge-table.ts), then `record_count` records. Frame
 * numbers of records go up, from start_frame_no on; the last one is the last frame that is covered, and it alone has a
 * size_after: the final size, beyond which there is no page_no. It is always there: nothing follows it that could have
 * written its page again, and a frame that ends a transaction lies within the size. The checksums of records are chained
 * in the same way, from start_checksum, but from one record to the next: the last one is records_checksum of the table.
 * end_checksum is that of the history, as if nothing were left out. Checksums and numbers of frames are those of the
 * history everywhere but in the records' own checksums.
 *
 * A page that one transaction cuts off, and a later one has again, is written again by SQLite. Were it not, its version
 * from before would be taken, as it is when a log that holds all of these frames is applied in one go.
 *
 * A **version 2** log has no header checksum, and the checksum of a frame covers its page alone: the register
 * starts at the bit-reversed checksum of the frame before. Its start_checksum is 0 and tells nothing about
 * lineage. Bytes after the last counted frame are the rest of a transaction that was not committed: ignored.
 */
import { crc64 } from './crc64.js'
import { MylibsqlError } from './errors.js'
import { type FrameNo, frameHeaderBytes } from './frame.js'
import { corrupt, safeU64, type Where } from './header-fields.js'
import { pageSizeMaxBytes, pageSizeMinBytes } from './limits.js'
import {
  claimedBytes,
  decodeMergeTable,
  encodeMergeTable,
  type MergeTable,
  mergeTableBytes,
  mergeTableFixedBytes,
} from './merge-table.js'
import { isCompressedObject } from './object-format.js'

export type { Where } from './header-fields.js'

export interface LogHeader {
  readonly version: 2 | 3
  /** Bytes. */
  readonly pageSize: number
  readonly startFrameNo: FrameNo
  /** Frames that the log covers: it holds all of them, unless it is merged. */
  readonly frameCount: number
  /** Lineage: checksum of the frame before the first one. Version 2: where the log's own chain starts. */
  readonly startChecksum: bigint
  /** Checksum of the last frame, `startChecksum` when there is none. Version 2: not known. */
  readonly endChecksum: bigint | undefined
  /** When the log was sealed, milliseconds since 1970; undefined when not known. */
  readonly createdAtMs: number | undefined
  /** Bytes before the first record, with the table of a merged log. */
  readonly headerBytes: number
  readonly flags: number
  /** Of a merged log: one that holds only the last version of each page. */
  readonly merged?: MergeTable
  /** Term of the primary that wrote it; 0 when the application does not count terms. */
  readonly epoch: number
  /** Version 3, kept as they were read; 0n or absent: not computed. */
  readonly databaseChecksumBefore?: bigint
  readonly databaseChecksumAfter?: bigint
  /** Version 2: release of the crate that wrote the log. */
  readonly writerVersion?: readonly number[]
}

/** Where bytes are: in a file, or in memory. Travels between threads by structured clone. */
export type ByteLocation = { readonly path: string } | { readonly bytes: Uint8Array }

/** Where the bytes of a log of a store are at hand: `byteOffset` when other ones come before it. */
export type LogLocation =
  | { readonly path: string; readonly byteOffset?: number }
  | { readonly bytes: Uint8Array }

export interface LogFile {
  readonly location: ByteLocation
  readonly header: LogHeader
}

export const logHeaderBytesV2 = 48
export const logHeaderBytesV3 = 112

const magic = new TextEncoder().encode('MYLIBSQL')
/** What has to be read of a file to know how long its header is. */
export const logHeadMinBytes = logHeaderBytesV3 + mergeTableFixedBytes
const mergedFlag = 1
const headerChecksumOffset = 104
const reserved = { start: 88, end: 104 }
/** The largest time that a Date can hold. */
export const timeMaxMs = 8.64e15

/** A header of a version 3 log with everything that is usually the same filled in. */
export function logHeader(
  fields: Pick<LogHeader, 'pageSize' | 'startFrameNo' | 'frameCount' | 'startChecksum' | 'endChecksum'> &
    Partial<LogHeader>,
): LogHeader {
  return { version: 3, createdAtMs: Date.now(), headerBytes: logHeaderBytesV3, flags: 0, epoch: 0, ...fields }
}

/** The header of a merged log; frames and checksums are those of the history that it covers. */
export function mergedLogHeader(
  fields: Parameters<typeof logHeader>[0] & { readonly merged: MergeTable },
): LogHeader {
  const headerBytes = mergedHeaderBytes(fields.merged.boundaries.length)
  return logHeader({ ...fields, flags: mergedFlag, headerBytes })
}

export function mergedHeaderBytes(boundaryCount: number): number {
  return logHeaderBytesV3 + mergeTableBytes(boundaryCount)
}

/** All bytes before the first record. */
export function encodeLogHeader(header: LogHeader): Uint8Array {
  const fixed = encodeFixedHeader(header)
  if (header.merged === undefined) return fixed
  const bytes = new Uint8Array(header.headerBytes)
  bytes.set(fixed)
  bytes.set(encodeMergeTable(header.merged, header.endChecksum ?? header.startChecksum), fixed.length)
  return bytes
}

function encodeFixedHeader(header: LogHeader): Uint8Array {
  const bytes = new Uint8Array(header.version === 2 ? logHeaderBytesV2 : logHeaderBytesV3)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setBigUint64(8, header.startChecksum, true)
  view.setBigUint64(16, BigInt(header.startFrameNo), true)
  view.setBigUint64(24, BigInt(header.frameCount), true)
  view.setUint32(32, header.version, true)
  view.setUint32(36, header.pageSize, true)
  if (header.version === 2) {
    for (const [index, part] of (header.writerVersion ?? []).entries())
      view.setUint16(40 + 2 * index, part, true)
    return bytes
  }
  view.setUint32(40, header.flags, true)
  view.setUint32(44, logHeaderBytesV3, true)
  view.setBigUint64(48, header.endChecksum ?? header.startChecksum, true)
  view.setBigUint64(56, BigInt(header.createdAtMs ?? 0), true)
  view.setBigUint64(64, header.databaseChecksumBefore ?? 0n, true)
  view.setBigUint64(72, header.databaseChecksumAfter ?? 0n, true)
  view.setBigUint64(80, BigInt(header.epoch), true)
  view.setBigUint64(headerChecksumOffset, crc64(bytes.subarray(0, headerChecksumOffset)), true)
  return bytes
}

/**
 * How many bytes of a file of `fileBytes` decodeLogHeader needs, by the first logHeadMinBytes of them. Of a file that
 * is not what it claims to be no more than those: they are enough to refuse it.
 */
export function logHeadBytes(bytes: Uint8Array, fileBytes: number): number {
  if (bytes.length < logHeadMinBytes) return bytes.length
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const isMerged = view.getUint32(32, true) === 3 && (view.getUint32(40, true) & mergedFlag) !== 0
  if (!isMerged) return bytes.length
  const table = new DataView(bytes.buffer, bytes.byteOffset + logHeaderBytesV3)
  const claimed = claimedBytes(table, frameHeaderBytes + view.getUint32(36, true))
  return fileBytes === logHeaderBytesV3 + claimed.total ? logHeaderBytesV3 + claimed.table : bytes.length
}

/**
 * Reads the header from the first bytes of a log (at least logHeadBytes) of `fileBytes` bytes in all. What it
 * claims is checked against the size of the file before anybody allocates for it.
 *
 * Throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT.
 */
export function decodeLogHeader(bytes: Uint8Array, where: Where, fileBytes: number): LogHeader {
  const name = where.path ?? 'The bytes'
  if (isCompressedObject(bytes)) {
    const message = `${name} is no plain log, but a compressed object of a store: read it with store.readLog`
    throw new MylibsqlError('ERR_NOT_A_LOG', message, { ...where })
  }
  if (bytes.length < logHeaderBytesV2 || magic.some((byte, at) => bytes[at] !== byte)) {
    const found = fileBytes < logHeaderBytesV2 ? `of ${fileBytes} bytes` : 'with other first bytes'
    throw new MylibsqlError('ERR_NOT_A_LOG', `${name} is no log: a file ${found}`, { ...where })
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const version = view.getUint32(32, true)
  const header =
    version === 2
      ? decodeV2(view, where)
      : version === 3
        ? decodeV3(view, where, fileBytes)
        : unknownVersion(version, where)
  checkRange(header, where)
  if (header.merged === undefined) checkFileSize(header, where, fileBytes)
  return header
}

/** Offset in the file of a record, counted from 0. */
export function logRecordOffset(header: LogHeader, index: number): number {
  return header.headerBytes + index * (frameHeaderBytes + header.pageSize)
}

/** The same of a frame's record; in a merged log, of its first frame alone. */
export function logFrameOffset(header: LogHeader, frameNo: FrameNo): number {
  return logRecordOffset(header, frameNo - header.startFrameNo)
}

/** Frames that are in the file: fewer than it covers in a merged log. */
export function logRecordCount(header: LogHeader): number {
  return header.merged?.recordCount ?? header.frameCount
}

/** Bytes of the records alone, wherever they are. */
export function logRecordsByteLength(header: LogHeader): number {
  return logRecordCount(header) * (frameHeaderBytes + header.pageSize)
}

/** Bytes of the header and the counted frames, of a log that nothing comes before. */
export function logByteLength(header: LogHeader): number {
  return logRecordOffset(header, logRecordCount(header))
}

/** Number of the frame after the last one. */
export function logNextFrameNo(header: LogHeader): FrameNo {
  return header.startFrameNo + header.frameCount
}

export function isPageSize(value: number): boolean {
  return value >= pageSizeMinBytes && value <= pageSizeMaxBytes && (value & (value - 1)) === 0
}

function decodeV2(view: DataView, where: Where): LogHeader {
  if (isDamagedV3(view)) {
    throw corrupt(where, 32, 'the header checksum says version 3, the version field says 2')
  }
  return {
    version: 2,
    pageSize: view.getUint32(36, true),
    startFrameNo: safeU64(view, 16, 'start_frame_no', where),
    frameCount: safeU64(view, 24, 'frame_count', where),
    startChecksum: view.getBigUint64(8, true),
    endChecksum: undefined,
    createdAtMs: undefined,
    headerBytes: logHeaderBytesV2,
    flags: 0,
    epoch: 0,
    writerVersion: [40, 42, 44, 46].map((offset) => view.getUint16(offset, true)),
  }
}

function decodeV3(view: DataView, where: Where, fileBytes: number): LogHeader {
  if (view.byteLength < logHeaderBytesV3) {
    const details = { ...where, expected: logHeaderBytesV3, actual: view.byteLength }
    throw new MylibsqlError('ERR_NOT_A_LOG', `${where.path ?? 'The bytes'}: the header is cut short`, details)
  }
  const bytes = new Uint8Array(view.buffer, view.byteOffset, headerChecksumOffset)
  if (view.getBigUint64(headerChecksumOffset, true) !== crc64(bytes)) {
    throw corrupt(where, headerChecksumOffset, 'the header checksum does not match')
  }
  const flags = view.getUint32(40, true)
  if ((flags & ~mergedFlag) !== 0 || view.getUint32(44, true) !== logHeaderBytesV3) {
    const message = `${where.path ?? 'The bytes'}: written with features that this release does not know`
    throw new MylibsqlError('ERR_VERSION', message, { ...where, byteOffset: 40, actual: flags })
  }
  if (bytes.subarray(reserved.start, reserved.end).some((byte) => byte !== 0)) {
    throw corrupt(where, reserved.start, 'reserved bytes are not 0')
  }
  const createdAtMs = safeU64(view, 56, 'created_at_ms', where)
  if (createdAtMs > timeMaxMs) throw corrupt(where, 56, 'created_at_ms is no time')
  const endChecksum = view.getBigUint64(48, true)
  const header = {
    version: 3,
    pageSize: view.getUint32(36, true),
    startFrameNo: safeU64(view, 16, 'start_frame_no', where),
    frameCount: safeU64(view, 24, 'frame_count', where),
    startChecksum: view.getBigUint64(8, true),
    endChecksum,
    createdAtMs: createdAtMs === 0 ? undefined : createdAtMs,
    headerBytes: logHeaderBytesV3,
    flags,
    epoch: safeU64(view, 80, 'epoch', where),
    databaseChecksumBefore: view.getBigUint64(64, true),
    databaseChecksumAfter: view.getBigUint64(72, true),
  } as const
  if (flags === 0) return header
  const table = new DataView(
    view.buffer,
    view.byteOffset + logHeaderBytesV3,
    view.byteLength - logHeaderBytesV3,
  )
  const around = { ...header, recordBytes: frameHeaderBytes + header.pageSize, fileBytes }
  const merged = decodeMergeTable(table, around, where)
  return { ...header, headerBytes: mergedHeaderBytes(merged.boundaries.length), merged }
}

/** Version 2 has no header checksum of its own, so a damaged version field would make a v2 log of a v3 one. */
function isDamagedV3(view: DataView): boolean {
  if (view.byteLength < logHeaderBytesV3) return false
  const bytes = new Uint8Array(view.buffer, view.byteOffset, headerChecksumOffset).slice()
  bytes[32] = 3
  return view.getBigUint64(headerChecksumOffset, true) === crc64(bytes)
}

function unknownVersion(version: number, where: Where): never {
  const message = `${where.path ?? 'The bytes'}: log version ${version}, this release reads 2 and 3`
  throw new MylibsqlError('ERR_VERSION', message, { ...where, expected: 3, actual: version })
}

function checkRange(header: LogHeader, where: Where): void {
  if (!isPageSize(header.pageSize)) {
    throw corrupt(where, 36, `page size ${header.pageSize} is not a power of two from 512 to 65536`)
  }
  if (!Number.isSafeInteger(header.startFrameNo + header.frameCount)) {
    throw corrupt(where, 16, 'frame numbers go beyond 2^53 - 1')
  }
  if (header.version === 3 && header.frameCount === 0 && header.startChecksum !== header.endChecksum) {
    throw corrupt(where, 48, 'the checksums of an empty log differ')
  }
}

function checkFileSize(header: LogHeader, where: Where, fileBytes: number): void {
  const expected = logByteLength(header)
  if (fileBytes === expected || (header.version === 2 && fileBytes > expected)) return
  const relation = fileBytes < expected ? 'cut short' : 'followed by other bytes'
  const message = `${header.frameCount} frames are ${expected} bytes, there are ${fileBytes}: ${relation}`
  throw corrupt(where, Math.min(fileBytes, expected), message, { expected, actual: fileBytes })
}
