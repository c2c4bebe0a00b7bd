/**
 * The snapshot file: a plain SQLite database, then a trailer that SQLite does not look at, because it starts
 * after the last page that the database header counts. Everything in the trailer is little-endian.
 *
 *     offset  size  field
 *          0     8  magic "MYLIBSNP"
 *          8     4  version = 1
 *         12     4  page_size
 *         16     4  page_count
 *         20     4  reserved = 0
 *         24     8  last_frame_no, all ones: the database holds no frame
 *         32     8  checksum of that frame (lineage), 0 when none
 *         40     8  created_at_ms since 1970
 *         48     8  file_checksum: CRC-64/GO-ISO of all pages
 *         56     8  reserved = 0
 *         64     8  trailer_checksum of bytes 0..64
 *
 * A snapshot is valid when all of these hold: the trailer checksum; reserved bytes are 0; the page size is a power
 * of two from 512 to 65536 and the one in the database header; the file is exactly
 * `page_count * page_size + 72` bytes; the database header counts page_count pages and is in WAL mode; the
 * file checksum.
 *
 * The crate's snapshots have no trailer: the number of the last frame overwrites user_version (upper 32 bits)
 * and application_id (lower 32 bits) in the database header, all ones for none. Nothing tells such a file from any
 * other database, which is why one is read only on request.
 */
import { crc64 } from './crc64.js'
import { MylibsqlError } from './errors.js'
import type { FrameNo } from './frame.js'
import { pageNoMax } from './limits.js'
import { isPageSize, timeMaxMs, type Where } from './log-format.js'

export interface SnapshotTrailer {
  readonly version: 1
  /** Bytes. */
  readonly pageSize: number
  readonly pageCount: number
  readonly lastFrameNo: FrameNo | undefined
  /** Lineage: checksum of the last frame, 0n when there is none. */
  readonly checksum: bigint
  readonly createdAtMs: number
  /** CRC-64 of all pages; 0n: not known. */
  readonly fileChecksum: bigint
}

export interface SnapshotFile {
  readonly path: string
  /** For the crate's format: made up from the database header. */
  readonly trailer: SnapshotTrailer
  readonly format: 'mylibsql' | 'crate'
}

export const snapshotTrailerBytes = 72
/** Bytes of the header at the start of every SQLite database. */
export const databaseHeaderBytes = 100

const magic = new TextEncoder().encode('MYLIBSNP')
const databaseMagic = new TextEncoder().encode('SQLite format 3\0')
const trailerChecksumOffset = 64
const noFrame = 0xffff_ffff_ffff_ffffn

export function encodeSnapshotTrailer(trailer: SnapshotTrailer): Uint8Array {
  const bytes = new Uint8Array(snapshotTrailerBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setUint32(8, trailer.version, true)
  view.setUint32(12, trailer.pageSize, true)
  view.setUint32(16, trailer.pageCount, true)
  view.setBigUint64(24, trailer.lastFrameNo === undefined ? noFrame : BigInt(trailer.lastFrameNo), true)
  view.setBigUint64(32, trailer.checksum, true)
  view.setBigUint64(40, BigInt(trailer.createdAtMs), true)
  view.setBigUint64(48, trailer.fileChecksum, true)
  view.setBigUint64(trailerChecksumOffset, crc64(bytes.subarray(0, trailerChecksumOffset)), true)
  return bytes
}

/**
 * Reads a trailer, the last 72 bytes of a file of `fileBytes` bytes in all.
 *
 * Throws ERR_NOT_A_SNAPSHOT, ERR_VERSION, ERR_CORRUPT.
 */
export function decodeSnapshotTrailer(bytes: Uint8Array, where: Where, fileBytes: number): SnapshotTrailer {
  if (bytes.length !== snapshotTrailerBytes || magic.some((byte, at) => bytes[at] !== byte)) {
    throw notASnapshot(where, 'it has no trailer')
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const version = view.getUint32(8, true)
  if (version !== 1) {
    const message = `${where.path ?? 'The bytes'}: snapshot version ${version}, this release reads 1`
    throw new MylibsqlError('ERR_VERSION', message, { ...where, expected: 1, actual: version })
  }
  if (view.getBigUint64(trailerChecksumOffset, true) !== crc64(bytes.subarray(0, trailerChecksumOffset))) {
    throw corrupt(where, 'the checksum of the trailer does not match')
  }
  const lastFrameNo = view.getBigUint64(24, true)
  const createdAtMs = view.getBigUint64(40, true)
  const trailer: SnapshotTrailer = {
    version: 1,
    pageSize: view.getUint32(12, true),
    pageCount: view.getUint32(16, true),
    lastFrameNo: lastFrameNo === noFrame ? undefined : Number(lastFrameNo),
    checksum: view.getBigUint64(32, true),
    createdAtMs: Number(createdAtMs),
    fileChecksum: view.getBigUint64(48, true),
  }
  if (view.getUint32(20, true) !== 0 || view.getBigUint64(56, true) !== 0n) {
    throw corrupt(where, 'reserved bytes of the trailer are not 0')
  }
  checkTrailer(trailer, where, fileBytes)
  return trailer
}

/** What the header of a SQLite database says. */
export interface DatabaseHeader {
  /** Bytes. */
  readonly pageSize: number
  readonly pageCount: number
  readonly isWal: boolean
  readonly userVersion: number
  readonly applicationId: number
}

/** Reads the first 100 bytes of a database; undefined when it is none. */
export function decodeDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < databaseHeaderBytes || databaseMagic.some((byte, at) => bytes[at] !== byte))
    return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const pageSize = view.getUint16(16) === 1 ? 65_536 : view.getUint16(16)
  if (!isPageSize(pageSize)) return undefined
  return {
    pageSize,
    pageCount: view.getUint32(28),
    isWal: bytes[18] === 2 && bytes[19] === 2,
    userVersion: view.getUint32(60),
    applicationId: view.getUint32(68),
  }
}

/** The trailer that a file of the crate stands for. Throws ERR_NOT_A_SNAPSHOT, ERR_CORRUPT. */
export function crateTrailer(databaseHeader: Uint8Array, where: Where, fileBytes: number): SnapshotTrailer {
  const header = decodeDatabaseHeader(databaseHeader)
  if (header === undefined) throw notASnapshot(where, 'it is no SQLite database')
  const lastFrameNo = (BigInt(header.userVersion) << 32n) | BigInt(header.applicationId)
  const trailer: SnapshotTrailer = {
    version: 1,
    pageSize: header.pageSize,
    pageCount: header.pageCount,
    lastFrameNo: lastFrameNo === noFrame ? undefined : Number(lastFrameNo),
    checksum: 0n,
    createdAtMs: 0,
    fileChecksum: 0n,
  }
  checkTrailer(trailer, where, fileBytes + snapshotTrailerBytes)
  return trailer
}

export function notASnapshot(where: Where, reason: string): MylibsqlError {
  const message =
    `${where.path ?? 'The bytes'} is no snapshot: ${reason}. ` +
    "Import a SQLite database with Snapshot.fromDatabase(path); open a snapshot of the Rust crate with { format: 'crate' }"
  return new MylibsqlError('ERR_NOT_A_SNAPSHOT', message, { ...where })
}

function checkTrailer(trailer: SnapshotTrailer, where: Where, fileBytes: number): void {
  const { pageSize, pageCount, lastFrameNo, createdAtMs } = trailer
  if (!isPageSize(pageSize))
    throw corrupt(where, `page size ${pageSize} is not a power of two from 512 to 65536`)
  if (pageCount < 1 || pageCount > pageNoMax) throw corrupt(where, `a database of ${pageCount} pages`)
  if (lastFrameNo !== undefined && lastFrameNo >= Number.MAX_SAFE_INTEGER) {
    throw corrupt(where, `last frame number ${lastFrameNo} is beyond 2^53 - 2`)
  }
  if (createdAtMs > timeMaxMs) throw corrupt(where, 'created_at_ms is no time')
  const expected = pageCount * pageSize + snapshotTrailerBytes
  if (fileBytes !== expected) {
    const message = `${pageCount} pages of ${pageSize} bytes and a trailer are ${expected} bytes, not ${fileBytes}`
    throw corrupt(where, message, { expected, actual: fileBytes })
  }
}

function corrupt(
  where: Where,
  reason: string,
  details: { expected?: number; actual?: number } = {},
): MylibsqlError {
  const message = `${where.path ?? 'The bytes'}: the snapshot is damaged: ${reason}`
  return new MylibsqlError('ERR_CORRUPT', message, { ...where, ...details })
}
