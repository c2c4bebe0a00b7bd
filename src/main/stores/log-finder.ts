/** Where the log after the last one is, for who tells of logs: behind it in its segment, or in a file of that name. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { FrameNo } from '../../protocol/frame.js'
import { frameHeaderBytes } from '../../protocol/frame.js'
import { decodeLogHeader, logHeaderBytesV3 } from '../../protocol/log-format.js'
import { logName } from '../../protocol/object-names.js'
import { segmentRecordBytes } from '../../protocol/segment-format.js'
import { storeError } from '../../protocol/store-error.js'
import { placeOf } from './log-place.js'
import { SegmentCursor } from './segment-cursor.js'
import type { StoredLog } from './store.js'

interface LogFolder {
  readonly storePath: string
  /** Whether no newer epoch was claimed. */
  isNewestEpoch(epoch: number): Promise<boolean>
  /** The log that begins a file; undefined: there is no such file. */
  findFirst(startFrameNo: FrameNo): Promise<StoredLog | undefined>
}

/** Finds nothing where logs are compressed: how many frames they have is not known without reading them. */
export class LogFinder {
  readonly #folder: LogFolder
  #frameNo: FrameNo | undefined
  #pageSize: number | undefined
  #isDoubtful = false
  /** Of the last one, when that is in a segment. */
  #cursor: { readonly path: string; readonly segment: SegmentCursor } | undefined

  constructor(folder: LogFolder) {
    this.#folder = folder
  }

  /** That it begins with, as far as that can be known. */
  get frameNo(): FrameNo | undefined {
    return this.#frameNo
  }

  /** It may come behind the last one, of which no event tells by name. */
  get isInSegment(): boolean {
    return this.#cursor !== undefined
  }

  /** One was found of which only a listing can tell whether it is part of the history. */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  async find(): Promise<StoredLog | undefined> {
    if (this.#frameNo === undefined) return undefined
    this.#isDoubtful = false
    try {
      const segment = this.#cursor?.segment
      const stored = await segment?.next()
      if (stored === undefined) return await this.#folder.findFirst(this.#frameNo)
      // Looked at behind the log. Under a newer epoch it may have been added late.
      if (await this.#folder.isNewestEpoch(segment!.epoch)) return stored
      this.#isDoubtful = true
      return undefined
    } catch (error) {
      throw storeError(error, 'read', this.#cursor?.path ?? this.#folder.storePath)
    }
  }

  async note(stored: StoredLog): Promise<void> {
    const { startFrameNo, byteLength } = stored
    const { path, byteOffset } = placeOf(stored)
    this.#pageSize ??= await pageSizeOf(path, byteOffset ?? 0, byteLength)
    const frameCount = (byteLength - logHeaderBytesV3) / (frameHeaderBytes + (this.#pageSize ?? 0))
    const isKnown = this.#pageSize !== undefined && frameCount > 0 && Number.isInteger(frameCount)
    this.#frameNo = isKnown ? startFrameNo + frameCount : undefined
    if (byteOffset === undefined || this.#frameNo === undefined) return this.close()
    if (this.#cursor?.path === path && this.#cursor.segment.nextFrameNo === this.#frameNo) return
    await this.close()
    try {
      const endOffset = byteOffset + segmentRecordBytes(byteLength)
      this.#cursor = { path, segment: await SegmentCursor.open(path, endOffset, this.#frameNo) }
    } catch {
      // It is gone: whoever wants to read it is told.
    }
  }

  /** It is somewhere else meanwhile. */
  forget(): Promise<void> {
    this.#frameNo = undefined
    return this.close()
  }

  async close(): Promise<void> {
    const cursor = this.#cursor
    this.#cursor = undefined
    await cursor?.segment.close()
  }
}

/** Undefined for what is no plain log; what is wrong with it is told to whoever reads it. */
async function pageSizeOf(path: string, byteOffset: number, byteLength: number): Promise<number | undefined> {
  try {
    const handle = await open(path, 'r')
    try {
      const buffer = new Uint8Array(logHeaderBytesV3)
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, byteOffset)
      return decodeLogHeader(buffer.subarray(0, bytesRead), { path }, byteLength).pageSize
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}

/** The log that begins a file of a folder of logs, if it is a segment with its first log. */
export async function firstOfSegment(folder: string, startFrameNo: FrameNo): Promise<StoredLog | undefined> {
  const segment = await SegmentCursor.open(join(folder, logName(startFrameNo)), 0, startFrameNo)
  try {
    return await segment.next()
  } finally {
    await segment.close()
  }
}
