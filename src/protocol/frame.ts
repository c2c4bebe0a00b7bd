/**
 * Frames and batches of frames.
 *
 * A **frame record** is the one layout that logs, batches and the injector share (little-endian):
 *
 *     offset  size  field
 *          0     8  frame_no     u64   number of the frame, 0 for the first one ever written
 *          8     8  checksum     u64   CRC-64/GO-ISO, chained (see log-format.ts)
 *         16     4  page_no      u32   1 .. 2^32 - 2
 *         20     4  size_after   u32   database size in pages after the commit, 0 when not a commit
 *         24     n  page               page_size bytes
 */

/** Number of a frame: a safe integer, 0 for the first frame ever written, without gaps. */
export type FrameNo = number

export const frameHeaderBytes = 24

/** Of what ends before `nextFrameNo`; undefined: nothing was ever written. */
export function lastFrameNoBefore(nextFrameNo: FrameNo): FrameNo | undefined {
  return nextFrameNo === 0 ? undefined : nextFrameNo - 1
}

/** The other way round. */
export function nextFrameNoAfter(lastFrameNo: FrameNo | undefined): FrameNo {
  return lastFrameNo === undefined ? 0 : lastFrameNo + 1
}

/** One page image written by a commit. */
export interface Frame {
  readonly frameNo: FrameNo
  readonly pageNo: number
  /** Database size in pages after the commit; 0 when the frame does not end a transaction. */
  readonly sizeAfter: number
  /** Checksum of this frame, chained over all frames before it. */
  readonly checksum: bigint
  /** The page. A view: copy it to keep it apart from its batch. */
  readonly data: Uint8Array
}

/**
 * Consecutive frames, whole transactions only. The frames are views on one buffer; they are decoded when
 * first asked for.
 */
export class FrameBatch {
  readonly startFrameNo: FrameNo
  readonly frameCount: number
  readonly pageSize: number
  /** Checksum of the frame before the first one (lineage); 0n before frame 0. */
  readonly startChecksum: bigint
  /** The frame records, as they stand in a log. */
  readonly bytes: Uint8Array
  #frames: readonly Frame[] | undefined

  constructor(bytes: Uint8Array, pageSize: number, startFrameNo: FrameNo, startChecksum: bigint) {
    this.bytes = bytes
    this.pageSize = pageSize
    this.startFrameNo = startFrameNo
    this.startChecksum = startChecksum
    this.frameCount = bytes.byteLength / (frameHeaderBytes + pageSize)
  }

  get nextFrameNo(): FrameNo {
    return this.startFrameNo + this.frameCount
  }

  /** Bytes of all records. */
  get byteLength(): number {
    return this.bytes.byteLength
  }

  get frames(): readonly Frame[] {
    this.#frames ??= Array.from({ length: this.frameCount }, (_, index) =>
      decodeFrame(this.bytes, index * (frameHeaderBytes + this.pageSize), this.pageSize),
    )
    return this.#frames
  }
}

/** The frame whose record starts at `byteOffset`. */
export function decodeFrame(bytes: Uint8Array, byteOffset: number, pageSize: number): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset + byteOffset, frameHeaderBytes)
  const dataOffset = byteOffset + frameHeaderBytes
  return {
    frameNo: Number(view.getBigUint64(0, true)),
    checksum: view.getBigUint64(8, true),
    pageNo: view.getUint32(16, true),
    sizeAfter: view.getUint32(20, true),
    data: bytes.subarray(dataOffset, dataOffset + pageSize),
  }
}

/** Writes a frame's record at `byteOffset`. */
export function encodeFrame(frame: Frame, bytes: Uint8Array, byteOffset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + byteOffset, frameHeaderBytes)
  view.setBigUint64(0, BigInt(frame.frameNo), true)
  view.setBigUint64(8, frame.checksum, true)
  view.setUint32(16, frame.pageNo, true)
  view.setUint32(20, frame.sizeAfter, true)
  bytes.set(frame.data, byteOffset + frameHeaderBytes)
}
