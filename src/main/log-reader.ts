import { type FileHandle, open } from 'node:fs/promises'
import { decodeFrame, type Frame, type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import { ioError } from '../protocol/io-error.js'
import { corruptRecord } from '../protocol/log-check.js'
import {
  encodeLogHeader,
  type LogFile,
  logNextFrameNo,
  logRecordCount,
  logRecordOffset,
} from '../protocol/log-format.js'

/** Bytes asked of the system at once, which takes no more than 2^31. */
const readBytesMax = 64 * 1024 * 1024
/** Bytes of one chunk, about. */
const chunkBytes = 1024 * 1024

/**
 * Reads frame records of a log as it was when it was opened: frames pushed later do not move earlier ones, and
 * an open file outlives its name.
 */
export class LogReader {
  readonly file: LogFile
  readonly #handle: FileHandle | undefined

  private constructor(file: LogFile, handle: FileHandle | undefined) {
    this.file = file
    this.#handle = handle
  }

  static async open(file: LogFile): Promise<LogReader> {
    const { location } = file
    if ('bytes' in location) return new LogReader(file, undefined)
    const handle = await open(location.path, 'r').catch((error: unknown) => {
      throw ioError(error, 'read', location.path)
    })
    return new LogReader(file, handle)
  }

  /** `recordCount` records, from that of place `index` on. A view when the log is in memory. */
  async read(index: number, recordCount: number): Promise<Uint8Array> {
    const { header, location } = this.file
    const byteLength = recordCount * (frameHeaderBytes + header.pageSize)
    if ('bytes' in location) {
      const byteOffset = logRecordOffset(header, index)
      return location.bytes.subarray(byteOffset, byteOffset + byteLength)
    }
    const target = new Uint8Array(byteLength)
    await this.#readInto(target, index)
    return target
  }

  /** All bytes of the log. Throws ERR_CORRUPT when the file ends before. */
  async bytes(): Promise<Uint8Array> {
    const { header } = this.file
    const bytes = new Uint8Array(logRecordOffset(header, logRecordCount(header)))
    bytes.set(encodeLogHeader(header))
    await this.#readInto(bytes.subarray(header.headerBytes), 0)
    return bytes
  }

  /** Throws RangeError when the log does not hold it. */
  async frame(frameNo: FrameNo): Promise<Frame> {
    const { header } = this.file
    const endFrameNo = logNextFrameNo(header)
    if (frameNo < header.startFrameNo || frameNo >= endFrameNo) {
      const range =
        header.frameCount === 0
          ? 'in the log, which is empty'
          : `from ${header.startFrameNo} to ${endFrameNo - 1}`
      throw new RangeError(`frameNo must be ${range}, got ${frameNo}`)
    }
    const index = header.merged === undefined ? frameNo - header.startFrameNo : await this.#find(frameNo)
    return decodeFrame(await this.read(index, 1), 0, header.pageSize)
  }

  /** Place of a frame's record in a merged log, of which the numbers go up. */
  async #find(frameNo: FrameNo): Promise<number> {
    let [low, high] = [0, logRecordCount(this.file.header)]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const found = decodeFrame(await this.read(middle, 1), 0, 0).frameNo
      if (found === frameNo) return middle
      if (found < frameNo) low = middle + 1
      else high = middle
    }
    const reason = 'the log is merged, and a later version of its page is in it, or the page is gone'
    throw new RangeError(`Frame ${frameNo} was left out: ${reason}`)
  }

  /** Fills `target` with records. Throws ERR_CORRUPT when the file ends before. */
  async #readInto(target: Uint8Array, index: number): Promise<void> {
    const { header, location } = this.file
    const byteOffset = logRecordOffset(header, index)
    if (this.#handle === undefined || !('path' in location)) {
      target.set(await this.read(index, target.length / (frameHeaderBytes + header.pageSize)))
      return
    }
    for (let at = 0; at < target.length; ) {
      const byteLength = Math.min(readBytesMax, target.length - at)
      const { bytesRead } = await this.#handle
        .read(target, at, byteLength, byteOffset + at)
        .catch((error: unknown) => {
          throw ioError(error, 'read', location.path)
        })
      if (bytesRead === 0) {
        const endIndex = index + Math.floor(at / (frameHeaderBytes + header.pageSize))
        throw corruptRecord(this.file, endIndex, 'the file ends before it is complete')
      }
      at += bytesRead
    }
  }

  /** All records, in pieces of whole records. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const { header } = this.file
    const recordCount = logRecordCount(header)
    const step = Math.max(1, Math.floor(chunkBytes / (frameHeaderBytes + header.pageSize)))
    for (let index = 0; index < recordCount; index += step) {
      yield await this.read(index, Math.min(step, recordCount - index))
    }
  }

  async *frames(): AsyncGenerator<Frame, void, undefined> {
    const { pageSize } = this.file.header
    const recordBytes = frameHeaderBytes + pageSize
    for await (const bytes of this.chunks()) {
      for (let at = 0; at < bytes.length; at += recordBytes) yield decodeFrame(bytes, at, pageSize)
    }
  }

  /** The log as a file has it, in pieces. */
  async *byteChunks(): AsyncGenerator<Uint8Array, void, undefined> {
    yield encodeLogHeader(this.file.header)
    yield* this.chunks()
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }
}
