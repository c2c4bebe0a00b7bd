/**
 * Frames on their way from an actor to the main thread: one buffer and nothing else, because an object around it
 * costs as much as all of a small commit's bytes (little-endian):
 *
 *     offset  size  field
 *          0     4  feed_no         u32   which stream they belong to
 *          4     4  page_size       u32
 *          8     8  start_frame_no  f64   number of the first frame
 *         16     8  start_checksum  u64   checksum of the frame before it
 *         24     n  frame records         see frame.ts
 */
import { FrameBatch, type FrameNo } from './frame.js'

const framesHeaderBytes = 24

/** A message to be filled. To make its views takes longer than to fill it with the frames of a small commit. */
export class FramesMessage {
  readonly buffer: ArrayBuffer
  readonly records: Uint8Array
  readonly #header: DataView

  constructor(recordsByteCount: number) {
    this.buffer = new ArrayBuffer(framesHeaderBytes + recordsByteCount)
    this.records = new Uint8Array(this.buffer, framesHeaderBytes)
    this.#header = new DataView(this.buffer, 0, framesHeaderBytes)
  }

  setHeader(feedNo: number, pageSize: number, startFrameNo: FrameNo, startChecksum: bigint): void {
    this.#header.setUint32(0, feedNo, true)
    this.#header.setUint32(4, pageSize, true)
    this.#header.setFloat64(8, startFrameNo, true)
    this.#header.setBigUint64(16, startChecksum, true)
  }
}

export function readFramesMessage(message: ArrayBuffer): { feedNo: number; batch: FrameBatch } {
  const view = new DataView(message, 0, framesHeaderBytes)
  const batch = new FrameBatch(
    new Uint8Array(message, framesHeaderBytes),
    view.getUint32(4, true),
    view.getFloat64(8, true),
    view.getBigUint64(16, true),
  )
  return { feedNo: view.getUint32(0, true), batch }
}
