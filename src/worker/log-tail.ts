/**
 * Room in a segment of the primary's store: small logs go there from the thread that seals them, synced, and nobody else
 * has to be woken for that. What tells whether they may be acknowledged is looked at here, too.
 *
 * Where the disk is quick, and the thread has nothing else to do, it waits for the disk itself: to be woken would take it,
 * or another thread, about as long. Otherwise a libuv thread does, and writers go on meanwhile.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  statSync,
  writev,
  writevSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { epochName, newestEpoch } from '../protocol/epoch-name.js'
import { segmentLogBytesMax, tailQuickMs } from '../protocol/limits.js'
import { encodeLogHeader, type LogHeader, logByteLength } from '../protocol/log-format.js'
import { type SegmentTail, segmentPadding, segmentRecordBytes } from '../protocol/segment-format.js'
import { storeError } from '../protocol/store-error.js'
import type { StoredInTail } from '../protocol/wire.js'
import { sharedNowMs } from './thread-times.js'

const writeVector = promisify(writev)
const syncData = promisify(fdatasync)

export class LogTail {
  readonly #tail: SegmentTail
  readonly #fd: number
  #byteOffset: number
  #isBusy = false
  #isClosed = false
  /** A write has failed: what is behind the last log that was stored may be whole all the same, and count. */
  #hasFailed = false
  /** What a write took: the mean, older ones counting less. */
  #meanMs = Number.POSITIVE_INFINITY

  /** Throws ERR_STORE. */
  constructor(tail: SegmentTail) {
    this.#tail = tail
    this.#byteOffset = tail.byteOffset
    try {
      this.#fd = openSync(tail.path, 'r+')
    } catch (error) {
      throw storeError(error, 'write', tail.path)
    }
  }

  get isQuick(): boolean {
    return this.#meanMs <= tailQuickMs
  }

  takes(header: LogHeader): boolean {
    const byteLength = logByteLength(header)
    const hasRoom = this.#byteOffset + segmentRecordBytes(byteLength) <= this.#tail.fileBytes
    return hasRoom && byteLength <= segmentLogBytesMax
  }

  /** Stores a log here and now. Throws ERR_STORE: then nothing else may be stored here. */
  storeNow(bytes: Uint8Array, header: LogHeader): StoredInTail {
    const startMs = performance.now()
    try {
      const chunks = this.#chunksOf(bytes, header)
      const written = writevSync(this.#fd, chunks, this.#byteOffset)
      this.#requireAll(chunks, written)
      fdatasyncSync(this.#fd)
      return this.#stored(chunks, startMs)
    } catch (error) {
      this.#hasFailed = true
      throw storeError(error, 'write', this.#tail.path)
    }
  }

  /** The same on a libuv thread; one at a time. */
  async store(bytes: Uint8Array, header: LogHeader): Promise<StoredInTail> {
    const startMs = performance.now()
    this.#isBusy = true
    try {
      const chunks = this.#chunksOf(bytes, header)
      const { bytesWritten } = await writeVector(this.#fd, chunks, this.#byteOffset)
      this.#requireAll(chunks, bytesWritten)
      await syncData(this.#fd)
      return this.#stored(chunks, startMs)
    } catch (error) {
      this.#hasFailed = true
      throw storeError(error, 'write', this.#tail.path)
    } finally {
      this.#isBusy = false
      if (this.#isClosed) this.#release()
    }
  }

  /** Once what is under way has ended: its number would be that of another file. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (!this.#isBusy) this.#release()
  }

  /** Gives back the room that is left, in the file that it was opened as, whatever has its name by now. */
  #release(): void {
    try {
      if (!this.#hasFailed) ftruncateSync(this.#fd, this.#byteOffset)
    } catch {
      // It costs space only.
    } finally {
      closeSync(this.#fd)
    }
  }

  #chunksOf(bytes: Uint8Array, header: LogHeader): Uint8Array[] {
    const headerBytes = encodeLogHeader({ ...header, epoch: this.#tail.epoch })
    const frames = bytes.subarray(headerBytes.length)
    return [headerBytes, frames, segmentPadding(headerBytes, bytes.length)]
  }

  /** There was room for all of it, so the system takes all of it or fails, unless a signal comes in between. */
  #requireAll(chunks: readonly Uint8Array[], written: number): void {
    if (written === byteLengthOf(chunks)) return
    throw Object.assign(new Error('the write was cut short'), { syscall: 'pwritev' })
  }

  #stored(chunks: readonly Uint8Array[], startMs: number): StoredInTail {
    const lookedAtMs = sharedNowMs()
    const newest = this.#newestEpoch()
    this.#byteOffset += byteLengthOf(chunks)
    const tookMs = performance.now() - startMs
    // One slow write in many is no slow disk; the first ones say little.
    this.#meanMs = Number.isFinite(this.#meanMs) ? 0.9 * this.#meanMs + 0.1 * tookMs : 4 * tookMs
    return { newestEpoch: newest, lookedAtMs }
  }

  /**
   * Epochs are claimed without gaps, and removed from the oldest on. So two looks tell that none is newer, in this order: the
   * next one is not there, and this one still is, without which the next one could have been there and be gone.
   */
  #newestEpoch(): number {
    const { epochsPath, epoch } = this.#tail
    const isNewest = !isThere(epochsPath, epoch + 1) && isThere(epochsPath, epoch)
    return isNewest ? epoch : newestEpoch(readdirSync(epochsPath))
  }
}

/** Throws what the system says, unless that is that it is not there. */
function isThere(epochsPath: string, epoch: number): boolean {
  return statSync(join(epochsPath, epochName(epoch)), { throwIfNoEntry: false }) !== undefined
}

function byteLengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, { byteLength }) => sum + byteLength, 0)
}
