/**
 * The log that is being written: frames copied out of the WAL, sealed with a header when it is handed over. While it is
 * open it has a name that the main thread knows, which removes it when this thread dies; a sealed one is its owner's.
 */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs'
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import { encodeLogHeader, type LogFile, logHeader, logHeaderBytesV3 } from '../protocol/log-format.js'
import { openLogPath, sealedLogPath } from '../protocol/temporary.js'
import type { Position } from '../protocol/wire.js'
import type { Capture } from './capture.js'
import { attempt, attemptAsync, writeAll } from './file-io.js'
import type { WalConnection } from './native.js'

export class OpenLog {
  readonly #pathPrefix: string
  readonly #path: string
  readonly #pageSize: number
  readonly #start: Position
  #end: Position
  #fd: number | undefined

  /** Makes no file before there is a frame to put into it. */
  constructor(pathPrefix: string, pageSize: number, start: Position) {
    this.#pathPrefix = pathPrefix
    this.#path = openLogPath(pathPrefix)
    this.#pageSize = pageSize
    this.#start = start
    this.#end = start
  }

  /** Behind the last frame that was copied. */
  get end(): Position {
    return this.#end
  }

  get isEmpty(): boolean {
    return this.#end.nextFrameNo === this.#start.nextFrameNo
  }

  /** Copies the frames up to `nextFrameNo` out of the WAL, on a libuv thread. */
  async copy(wal: WalConnection, capture: Capture, nextFrameNo: FrameNo): Promise<void> {
    const frameCount = nextFrameNo - this.#end.nextFrameNo
    if (frameCount <= 0) return
    const { nextFrameNo: from, checksum } = this.#end
    const fd = this.#open()
    const index = capture.walIndex(from)
    const copied = await attemptAsync('write', this.#path, () =>
      wal.copyFrames(fd, this.#byteOffset(), index, frameCount, from, checksum),
    )
    this.#end = { nextFrameNo, checksum: copied }
  }

  /** The same on this thread. */
  copySync(wal: WalConnection, capture: Capture, nextFrameNo: FrameNo): void {
    const frameCount = nextFrameNo - this.#end.nextFrameNo
    if (frameCount <= 0) return
    const { nextFrameNo: from, checksum } = this.#end
    const fd = this.#open()
    const index = capture.walIndex(from)
    const copied = attempt('write', this.#path, () =>
      wal.copyFramesSync(fd, this.#byteOffset(), index, frameCount, from, checksum),
    )
    this.#end = { nextFrameNo, checksum: copied }
  }

  /** Writes the header; the file then belongs to who asked for it. */
  seal(): LogFile {
    const header = logHeader({
      pageSize: this.#pageSize,
      startFrameNo: this.#start.nextFrameNo,
      frameCount: this.#end.nextFrameNo - this.#start.nextFrameNo,
      startChecksum: this.#start.checksum,
      endChecksum: this.#end.checksum,
    })
    const path = sealedLogPath(this.#pathPrefix, header.startFrameNo)
    attempt('write', this.#path, () => writeAll(this.#open(), encodeLogHeader(header), 0))
    attempt('write', path, () => renameSync(this.#path, path))
    this.#close()
    return { location: { path }, header }
  }

  /** Removes its file, if it has one. What the system says to that is passed over: it is removed at the end again. */
  discard(): void {
    if (this.#fd === undefined) return
    try {
      this.#close()
      rmSync(this.#path, { force: true })
    } catch {}
  }

  #byteOffset(): number {
    const frameCount = this.#end.nextFrameNo - this.#start.nextFrameNo
    return logHeaderBytesV3 + frameCount * (frameHeaderBytes + this.#pageSize)
  }

  #open(): number {
    this.#fd ??= attempt('write', this.#path, () => openSync(this.#path, 'w+', 0o600))
    return this.#fd
  }

  #close(): void {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) closeSync(fd)
  }
}
