/** Goes through the logs of one segment of a FileStore, those that are there and those that are added. */
import { type FileHandle, open } from 'node:fs/promises'
import type { FrameNo } from '../../protocol/frame.js'
import { logByteLength, logHeaderBytesV3, logNextFrameNo } from '../../protocol/log-format.js'
import {
  decodeSegmentHeader,
  isSegmentMark,
  segmentBlockBytes,
  segmentMarkBytes,
  segmentRecordBytes,
} from '../../protocol/segment-format.js'
import { placedLog } from './log-place.js'
import type { StoredLog } from './store.js'

/** Read at a time: most logs are smaller. */
const readBytes = 16 * segmentBlockBytes

export class SegmentCursor {
  readonly #path: string
  readonly #handle: FileHandle
  readonly #buffer = Buffer.allocUnsafe(readBytes)
  #byteOffset: number
  #nextFrameNo: FrameNo
  #epoch = 0

  private constructor(path: string, handle: FileHandle, byteOffset: number, nextFrameNo: FrameNo) {
    this.#path = path
    this.#handle = handle
    this.#byteOffset = byteOffset
    this.#nextFrameNo = nextFrameNo
  }

  /** Where the log of that frame may come to be. Throws what the system says. */
  static async open(path: string, byteOffset: number, nextFrameNo: FrameNo): Promise<SegmentCursor> {
    return new SegmentCursor(path, await open(path, 'r'), byteOffset, nextFrameNo)
  }

  /** Of the next log. */
  get nextFrameNo(): FrameNo {
    return this.#nextFrameNo
  }

  /** Of the log that was found last. */
  get epoch(): number {
    return this.#epoch
  }

  /** The next log; undefined: it is not there, or not wholly. */
  async next(): Promise<StoredLog | undefined> {
    const byteOffset = this.#byteOffset
    const { bytesRead } = await this.#handle.read(this.#buffer, 0, readBytes, byteOffset)
    const header = decodeSegmentHeader(this.#buffer.subarray(0, Math.min(bytesRead, logHeaderBytesV3)))
    if (header === undefined || header.startFrameNo !== this.#nextFrameNo) return undefined
    const byteLength = logByteLength(header)
    const recordBytes = segmentRecordBytes(byteLength)
    if (!(await this.#hasMark(recordBytes, bytesRead))) return undefined
    this.#byteOffset = byteOffset + recordBytes
    this.#nextFrameNo = logNextFrameNo(header)
    this.#epoch = header.epoch
    const { startFrameNo, createdAtMs: storedAtMs = 0 } = header
    return placedLog({ path: this.#path, byteOffset, startFrameNo, byteLength, storedAtMs, isOpen: true })
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  async #hasMark(recordBytes: number, bytesRead: number): Promise<boolean> {
    const header = this.#buffer.subarray(0, logHeaderBytesV3)
    const markAt = recordBytes - segmentMarkBytes
    if (recordBytes <= bytesRead) return isSegmentMark(this.#buffer.subarray(markAt, recordBytes), header)
    const mark = Buffer.alloc(segmentMarkBytes)
    const found = await this.#handle.read(mark, 0, segmentMarkBytes, this.#byteOffset + markAt)
    return found.bytesRead === segmentMarkBytes && isSegmentMark(mark, header)
  }
}
