import { type FileHandle, open } from 'node:fs/promises'
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import { ioError } from '../protocol/io-error.js'
import { corruptFrame } from '../protocol/log-check.js'
import { type LogFile, logFrameOffset, logNextFrameNo } from '../protocol/log-format.js'

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

  /** The records of `frameCount` frames. A view when the log is in memory. */
  async read(frameNo: FrameNo, frameCount: number): Promise<Uint8Array> {
    const { header, location } = this.file
    const byteLength = frameCount * (frameHeaderBytes + header.pageSize)
    if ('bytes' in location) {
      const byteOffset = logFrameOffset(header, frameNo)
      return location.bytes.subarray(byteOffset, byteOffset + byteLength)
    }
    const target = new Uint8Array(byteLength)
    await this.readInto(target, frameNo)
    return target
  }

  /** Fills `target` with records from `frameNo` on. Throws ERR_CORRUPT when the file ends before. */
  async readInto(target: Uint8Array, frameNo: FrameNo): Promise<void> {
    const { header, location } = this.file
    const byteOffset = logFrameOffset(header, frameNo)
    if (this.#handle === undefined || !('path' in location)) {
      target.set(await this.read(frameNo, target.length / (frameHeaderBytes + header.pageSize)))
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
        const index = Math.floor(at / (frameHeaderBytes + header.pageSize))
        throw corruptFrame(this.file, frameNo + index, 'the file ends before it is complete')
      }
      at += bytesRead
    }
  }

  /** All records, in pieces of whole records. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const { header } = this.file
    const endFrameNo = logNextFrameNo(header)
    const step = Math.max(1, Math.floor(chunkBytes / (frameHeaderBytes + header.pageSize)))
    for (let frameNo = header.startFrameNo; frameNo < endFrameNo; frameNo += step) {
      yield await this.read(frameNo, Math.min(step, endFrameNo - frameNo))
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }
}
