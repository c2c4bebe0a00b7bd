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
 *         40    4 flags = 0                               40    8 writer_version, 4 x u16
 *         44    4 header_bytes = 112
 *         48    8 end_checksum: of the last frame
 *         56    8 created_at_ms since 1970, 0 = not known
 *         64    8 database_checksum_before, 0 = none
 *         72    8 database_checksum_after, 0 = none
 *         80    8 epoch, 0 = none
 *         88   16 reserved = 0
 *        104    8 header_checksum of bytes 0..104
 *
 * A **version 3** log is valid when all of these hold: the header checksum; reserved bytes and flags are 0; the
 * page size is a power of two from 512 to 65536; the file is exactly `112 + frame_count * (24 + page_size)`
 * bytes; frame numbers count up from start_frame_no; page_no is from 1 to 2^32 - 2, size_after is 0 or at least
 * page_no; each frame's checksum is the CRC-64/GO-ISO of bytes [0, 8) and [16, 24 + page_size) of its record,
 * continued from the checksum of the frame before (start_checksum for the first, which is 0 before frame 0); the
 * last one is end_checksum; the last record's size_after is not 0: the log ends with a whole transaction.
 *
 * A **version 2** log has no header checksum, and the checksum of a frame covers its page alone: the register
 * starts at the bit-reversed checksum of the frame before. Its start_checksum is 0 and tells nothing about
 * lineage. Bytes after the last counted frame are the rest of a transaction that was not committed: ignored.
 */
import { crc64 } from './crc64.js'
import { type ErrorDetails, MylibsqlError } from './errors.js'
import { type FrameNo, frameHeaderBytes } from './frame.js'
import { pageSizeMaxBytes, pageSizeMinBytes } from './limits.js'

export interface LogHeader {
  readonly version: 2 | 3
  /** Bytes. */
  readonly pageSize: number
  readonly startFrameNo: FrameNo
  readonly frameCount: number
  /** Lineage: checksum of the frame before the first one. Version 2: where the log's own chain starts. */
  readonly startChecksum: bigint
  /** Checksum of the last frame, `startChecksum` when there is none. Version 2: not known. */
  readonly endChecksum: bigint | undefined
  /** When the log was sealed, milliseconds since 1970; undefined when not known. */
  readonly createdAtMs: number | undefined
  readonly headerBytes: number
  readonly flags: number
  /** Term of the primary that wrote it; 0 when the application does not count terms. */
  readonly epoch: number
  /** Version 3, kept as they were read; 0n or absent: not computed. */
  readonly databaseChecksumBefore?: bigint
  readonly databaseChecksumAfter?: bigint
  /** Version 2: release of the crate that wrote the log. */
  readonly writerVersion?: readonly number[]
}

/** Where bytes are: in a file, or in memory. Travels between threads by structured clone. */
type ByteLocation = { readonly path: string } | { readonly bytes: Uint8Array }

export interface LogFile {
  readonly location: ByteLocation
  readonly header: LogHeader
}

/** What an error says about where the bytes come from. */
export interface Where {
  readonly path?: string
}

export const logHeaderBytesV2 = 48
export const logHeaderBytesV3 = 112

const magic = new TextEncoder().encode('MYLIBSQL')
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

export function encodeLogHeader(header: LogHeader): Uint8Array {
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
 * Reads the header from the first bytes of a log (up to 112 are looked at) of `fileBytes` bytes in all. What it
 * claims is checked against the size of the file before anybody allocates for it.
 *
 * Throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT.
 */
export function decodeLogHeader(bytes: Uint8Array, where: Where, fileBytes: number): LogHeader {
  const name = where.path ?? 'The bytes'
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
        ? decodeV3(view, where)
        : unknownVersion(version, where)
  checkRange(header, where)
  checkFileSize(header, where, fileBytes)
  return header
}

/** Offset in the file of a frame's record. */
export function logFrameOffset(header: LogHeader, frameNo: FrameNo): number {
  return header.headerBytes + (frameNo - header.startFrameNo) * (frameHeaderBytes + header.pageSize)
}

/** Bytes of the header and the counted frames. */
export function logByteLength(header: LogHeader): number {
  return logFrameOffset(header, header.startFrameNo + header.frameCount)
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

function decodeV3(view: DataView, where: Where): LogHeader {
  if (view.byteLength < logHeaderBytesV3) {
    const details = { ...where, expected: logHeaderBytesV3, actual: view.byteLength }
    throw new MylibsqlError('ERR_NOT_A_LOG', `${where.path ?? 'The bytes'}: the header is cut short`, details)
  }
  const bytes = new Uint8Array(view.buffer, view.byteOffset, headerChecksumOffset)
  if (view.getBigUint64(headerChecksumOffset, true) !== crc64(bytes)) {
    throw corrupt(where, headerChecksumOffset, 'the header checksum does not match')
  }
  const flags = view.getUint32(40, true)
  const headerBytes = view.getUint32(44, true)
  if (flags !== 0 || headerBytes !== logHeaderBytesV3) {
    const message = `${where.path ?? 'The bytes'}: written with features that this release does not know`
    throw new MylibsqlError('ERR_VERSION', message, { ...where, byteOffset: 40, actual: flags })
  }
  if (bytes.subarray(reserved.start, reserved.end).some((byte) => byte !== 0)) {
    throw corrupt(where, reserved.start, 'reserved bytes are not 0')
  }
  const createdAtMs = safeU64(view, 56, 'created_at_ms', where)
  if (createdAtMs > timeMaxMs) throw corrupt(where, 56, 'created_at_ms is no time')
  return {
    version: 3,
    pageSize: view.getUint32(36, true),
    startFrameNo: safeU64(view, 16, 'start_frame_no', where),
    frameCount: safeU64(view, 24, 'frame_count', where),
    startChecksum: view.getBigUint64(8, true),
    endChecksum: view.getBigUint64(48, true),
    createdAtMs: createdAtMs === 0 ? undefined : createdAtMs,
    headerBytes,
    flags,
    epoch: safeU64(view, 80, 'epoch', where),
    databaseChecksumBefore: view.getBigUint64(64, true),
    databaseChecksumAfter: view.getBigUint64(72, true),
  }
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

function safeU64(view: DataView, byteOffset: number, field: string, where: Where): number {
  const value = view.getBigUint64(byteOffset, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw corrupt(where, byteOffset, `${field} ${value} is beyond 2^53 - 1`)
  return Number(value)
}

function corrupt(
  where: Where,
  byteOffset: number,
  reason: string,
  details: ErrorDetails = {},
): MylibsqlError {
  const message = `${where.path ?? 'The bytes'}: damaged at byte ${byteOffset}: ${reason}`
  return new MylibsqlError('ERR_CORRUPT', message, { ...where, byteOffset, ...details })
}
