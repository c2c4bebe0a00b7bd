/**
 * Logs written by hand from the byte tables of docs/FORMAT.md, with a bit-by-bit CRC-64: shares no code with the
 * library, so that a mistake in its codec cannot hide in a round trip.
 */
const ones = 0xffff_ffff_ffff_ffffn

/** CRC-64/GO-ISO, one bit at a time. `register` is the state, before the final inversion. */
function advance(register: bigint, bytes: Uint8Array): bigint {
  let state = register
  for (const byte of bytes) {
    state ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) state = (state >> 1n) ^ (state & 1n ? 0xd800000000000000n : 0n)
  }
  return state
}

export function referenceCrc64(bytes: Uint8Array, previous = 0n): bigint {
  return advance(previous ^ ones, bytes) ^ ones
}

/** The crate's: the register starts at the bit-reversed checksum of the frame before. */
function referenceCrateChecksum(page: Uint8Array, previous: bigint): bigint {
  let reversed = 0n
  for (let bit = 0n; bit < 64n; bit++) if ((previous >> bit) & 1n) reversed |= 1n << (63n - bit)
  return advance(reversed, page) ^ ones
}

export interface TestFrame {
  pageNo: number
  sizeAfter: number
  data: Uint8Array
}

export interface TestLog {
  startFrameNo?: number
  pageSize: number
  startChecksum?: bigint
  frames: TestFrame[]
  /** A faster one, for logs that only have to be large. */
  crc?: (bytes: Uint8Array, previous: bigint) => bigint
}

/** Pages with a recognisable content; every `transactionFrames`-th frame is a commit, and the last. */
export function testFrames(count: number, pageSize: number, transactionFrames = 2, seed = 1): TestFrame[] {
  return Array.from({ length: count }, (_, index) => ({
    pageNo: index + 1,
    sizeAfter: (index + 1) % transactionFrames === 0 || index === count - 1 ? count : 0,
    data: Uint8Array.from({ length: pageSize }, (_, at) => (at * 31 + index * 7 + seed) & 0xff),
  }))
}

export function buildV3(log: TestLog): Uint8Array {
  const { startFrameNo = 0, pageSize, startChecksum = 0n, frames, crc = referenceCrc64 } = log
  let checksum = startChecksum
  const records = frames.map((frame, index) => {
    const record = recordOf(frame, startFrameNo + index)
    checksum = crc(record.subarray(16), crc(record.subarray(0, 8), checksum))
    setU64(record, 8, checksum)
    return record
  })
  const header = new Uint8Array(112)
  common(header, 3, startChecksum, startFrameNo, frames.length, pageSize)
  setU32(header, 44, 112)
  setU64(header, 48, checksum)
  setU64(header, 56, 1_700_000_000_000n)
  return Uint8Array.from(Buffer.concat([signHeader(header), ...records]))
}

export function buildV2({ startFrameNo = 0, pageSize, startChecksum = 0n, frames }: TestLog): Uint8Array {
  let checksum = startChecksum
  const records = frames.map((frame, index) => {
    const record = recordOf(frame, startFrameNo + index)
    checksum = referenceCrateChecksum(frame.data, checksum)
    setU64(record, 8, checksum)
    return record
  })
  const header = new Uint8Array(48)
  common(header, 2, startChecksum, startFrameNo, frames.length, pageSize)
  header.set([0, 0, 1, 0, 2, 0, 0, 0], 40)
  return Uint8Array.from(Buffer.concat([header, ...records]))
}

interface TestMergedLog {
  startFrameNo: number
  frameCount: number
  pageSize: number
  startChecksum: bigint
  endChecksum: bigint
  boundaries?: [frameNo: number, checksum: bigint][]
  frames: (TestFrame & { frameNo: number })[]
}

export function buildMerged(log: TestMergedLog): Uint8Array {
  const { startFrameNo, frameCount, pageSize, startChecksum, endChecksum, boundaries = [], frames } = log
  let checksum = startChecksum
  const records = frames.map((frame) => {
    const record = recordOf(frame, frame.frameNo)
    checksum = referenceCrc64(record.subarray(16), referenceCrc64(record.subarray(0, 8), checksum))
    setU64(record, 8, checksum)
    return record
  })
  const header = new Uint8Array(112)
  common(header, 3, startChecksum, startFrameNo, frameCount, pageSize)
  setU32(header, 40, 1)
  setU32(header, 44, 112)
  setU64(header, 48, endChecksum)
  setU64(header, 56, 1_700_000_000_000n)
  const table = new Uint8Array(32 + 16 * boundaries.length)
  setU64(table, 0, BigInt(frames.length))
  setU32(table, 8, boundaries.length)
  setU64(table, 16, checksum)
  for (const [index, [frameNo, boundaryChecksum]] of boundaries.entries()) {
    setU64(table, 24 + 16 * index, BigInt(frameNo))
    setU64(table, 32 + 16 * index, boundaryChecksum)
  }
  return signTable(Uint8Array.from(Buffer.concat([signHeader(header), table, ...records])))
}

/** Writes the checksum of the merge table, after a field was changed. */
export function signTable(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const end = 112 + 24 + 16 * view.getUint32(120, true)
  setU64(bytes, end, referenceCrc64(bytes.subarray(112, end), view.getBigUint64(48, true)))
  return bytes
}

/** Writes the header checksum of a version 3 header, after a field was changed. */
export function signHeader(bytes: Uint8Array): Uint8Array {
  setU64(bytes, 104, referenceCrc64(bytes.subarray(0, 104)))
  return bytes
}

export function setU64(bytes: Uint8Array, byteOffset: number, value: bigint): void {
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(byteOffset, value, true)
}

export function setU32(bytes: Uint8Array, byteOffset: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(byteOffset, value, true)
}

function recordOf(frame: TestFrame, frameNo: number): Uint8Array {
  const record = new Uint8Array(24 + frame.data.length)
  setU64(record, 0, BigInt(frameNo))
  setU32(record, 16, frame.pageNo)
  setU32(record, 20, frame.sizeAfter)
  record.set(frame.data, 24)
  return record
}

function common(
  header: Uint8Array,
  version: number,
  startChecksum: bigint,
  startFrameNo: number,
  frameCount: number,
  pageSize: number,
): void {
  header.set(Buffer.from('MYLIBSQL'))
  setU64(header, 8, startChecksum)
  setU64(header, 16, BigInt(startFrameNo))
  setU64(header, 24, BigInt(frameCount))
  setU32(header, 32, version)
  setU32(header, 36, pageSize)
}
