/**
 * The merge table: what stands between header and records of a merged log (log-format.ts, flag bit 0). Everything is
 * little-endian; offsets count from the end of the header.
 *
 *     offset  size  field
 *          0     8  record_count: records in the file, 1 .. frame_count
 *          8     4  boundary_count
 *         12     4  reserved = 0
 *         16     8  records_checksum: of the last record
 *         24    16  for each boundary: frame_no u64, checksum u64
 *      24+16n    8  table_checksum: CRC-64 of the table up to here, continued from end_checksum
 *
 * A table is valid when all of these hold: reserved bytes are 0; the table checksum; record_count; the boundaries go up
 * and lie inside the log: start_frame_no < frame_no < start_frame_no + frame_count; with the header and record_count
 * records, the table fills the file exactly.
 *
 * A **boundary** is a position from which the log may be taken, besides its start: a database whose next frame is
 * frame_no and whose last checksum is `checksum`. All records are applied there too. That is right, because the pages
 * that the history changes from there to the end are among those that it changes from the start to the end, and the
 * last version of each is the same.
 */
import { crc64 } from './crc64.js'
import type { FrameNo } from './frame.js'
import { corrupt, safeU64, type Where } from './header-fields.js'

export interface LogBoundary {
  /** Number of the next frame. */
  readonly frameNo: FrameNo
  /** Checksum of the frame before it, in the history. */
  readonly checksum: bigint
}

export interface MergeTable {
  readonly recordCount: number
  /** Of the last record, in the chain of the log's own records. */
  readonly recordsChecksum: bigint
  readonly boundaries: readonly LogBoundary[]
}

/** What the header says that the table has to fit. */
interface Around {
  readonly startFrameNo: FrameNo
  readonly frameCount: number
  readonly endChecksum: bigint
  /** Bytes: of the header, of a record, of the file. */
  readonly headerBytes: number
  readonly recordBytes: number
  readonly fileBytes: number
}

/** Bytes of the table up to the boundaries: what tells how long it is. */
export const mergeTableFixedBytes = 24
const boundaryBytes = 16
const checksumBytes = 8

export function mergeTableBytes(boundaryCount: number): number {
  return mergeTableFixedBytes + boundaryCount * boundaryBytes + checksumBytes
}

/** How long a table that begins like this says it is, and the table with its records. Nothing of it is checked. */
export function claimedBytes(view: DataView, recordBytes: number): { table: number; total: number } {
  const table = mergeTableBytes(view.getUint32(8, true))
  return { table, total: table + Number(view.getBigUint64(0, true)) * recordBytes }
}

export function encodeMergeTable(table: MergeTable, endChecksum: bigint): Uint8Array {
  const bytes = new Uint8Array(mergeTableBytes(table.boundaries.length))
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(table.recordCount), true)
  view.setUint32(8, table.boundaries.length, true)
  view.setBigUint64(16, table.recordsChecksum, true)
  for (const [index, { frameNo, checksum }] of table.boundaries.entries()) {
    const at = mergeTableFixedBytes + index * boundaryBytes
    view.setBigUint64(at, BigInt(frameNo), true)
    view.setBigUint64(at + 8, checksum, true)
  }
  const checksumOffset = bytes.length - checksumBytes
  view.setBigUint64(checksumOffset, crc64(bytes.subarray(0, checksumOffset), endChecksum), true)
  return bytes
}

/** Reads the table from the bytes behind the header. Throws ERR_CORRUPT. */
export function decodeMergeTable(view: DataView, around: Around, where: Where): MergeTable {
  const { headerBytes, fileBytes } = around
  if (view.byteLength < mergeTableFixedBytes) throw corrupt(where, fileBytes, 'the merge table is cut short')
  const claimed = claimedBytes(view, around.recordBytes)
  const expected = headerBytes + claimed.total
  if (fileBytes !== expected) {
    const message = `table and records make ${expected} bytes, there are ${fileBytes}`
    throw corrupt(where, Math.min(fileBytes, expected), message, { expected, actual: fileBytes })
  }
  const checksumOffset = claimed.table - checksumBytes
  const checked = new Uint8Array(view.buffer, view.byteOffset, checksumOffset)
  if (view.getBigUint64(checksumOffset, true) !== crc64(checked, around.endChecksum)) {
    throw corrupt(where, headerBytes + checksumOffset, 'the checksum of the merge table does not match')
  }
  if (view.getUint32(12, true) !== 0) throw corrupt(where, headerBytes + 12, 'reserved bytes are not 0')
  const recordCount = safeU64(view, 0, 'record_count', where, headerBytes)
  if (recordCount < 1 || recordCount > around.frameCount) {
    throw corrupt(where, headerBytes, `${recordCount} records of ${around.frameCount} frames`)
  }
  const boundaries = decodeBoundaries(view, around, where)
  return { recordCount, recordsChecksum: view.getBigUint64(16, true), boundaries }
}

function decodeBoundaries(view: DataView, around: Around, where: Where): LogBoundary[] {
  const endFrameNo = around.startFrameNo + around.frameCount
  let before = around.startFrameNo
  return Array.from({ length: view.getUint32(8, true) }, (_, index) => {
    const at = mergeTableFixedBytes + index * boundaryBytes
    const frameNo = safeU64(view, at, 'frame_no of a boundary', where, around.headerBytes)
    if (frameNo <= before || frameNo >= endFrameNo) {
      throw corrupt(where, around.headerBytes + at, `a boundary at frame ${frameNo} is out of order`)
    }
    before = frameNo
    return { frameNo, checksum: view.getBigUint64(at + 8, true) }
  })
}
