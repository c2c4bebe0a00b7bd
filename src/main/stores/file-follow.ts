import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { FrameNo } from '../../protocol/frame.js'
import { frameHeaderBytes } from '../../protocol/frame.js'
import { decodeLogHeader, logHeaderBytesV3 } from '../../protocol/log-format.js'
import { logName, startFrameNoOf } from '../../protocol/object-names.js'
import { segmentRecordBytes } from '../../protocol/segment-format.js'
import { storeError } from '../../protocol/store-error.js'
import type { NextLogs, NextLogsPlace } from '../../protocol/wire.js'
import { FolderWatch } from './folder-watch.js'
import { placeOf } from './log-place.js'
import { SegmentCursor } from './segment-cursor.js'
import type { FollowLogsOptions, StoredLog } from './store.js'

/** The logs of one folder, as `followLogs` needs to know them. */
interface LogFolder {
  readonly storePath: string
  /** Those that begin at `from` or later, and maybe one that begins before. */
  list(from: FrameNo): Promise<readonly StoredLog[]>
  /** Whether no newer epoch was claimed. */
  isNewestEpoch(epoch: number): Promise<boolean>
  /** The log that begins a file; undefined: there is no such file. */
  findFirst(startFrameNo: FrameNo): Promise<StoredLog | undefined>
}

/** All names are looked at this often, for logs that begin elsewhere than where the last one ends, ... */
const listMs = 1000
/** ... or after so many times as long as it took: a week of small logs is a million names. */
const listRest = 50

/**
 * Logs that begin at `from` or later, those that are there and those that come, until `ended` aborts.
 *
 * A folder of many thousand logs is not listed for each new one: a log is looked for where the last one ends, behind it in
 * its segment, or in a file of that name; by the thread that applies it, where there is one. All are listed when an event
 * tells of another name, and once a second. So a wrong guess costs time only.
 */
export async function* followLogs(
  folder: LogFolder,
  from: FrameNo,
  { signal: ended, take }: FollowLogsOptions,
): AsyncGenerator<StoredLog, void, undefined> {
  if (ended.aborted) return
  const watch = new FolderWatch(join(folder.storePath, 'logs'), startFrameNoOf)
  const onEnd = () => watch.end()
  ended.addEventListener('abort', onEnd)
  const next = new NextLog(folder)
  let nextStart = from
  let after: NextLogsPlace['after']
  let dueMs = Number.NEGATIVE_INFINITY
  let hadEvent = true
  try {
    while (!ended.aborted) {
      let heard = -1
      let taken: NextLogs | undefined
      do {
        heard = Math.max(heard, watch.takeHeard())
        taken = await take?.({ storePath: folder.storePath, after })
        if (taken !== undefined && taken.appliedCount > 0) {
          if (!hadEvent) watch.foundUntold()
          nextStart = Math.max(nextStart, taken.position.nextFrameNo)
          // What comes where it should need not be looked for elsewhere.
          if (!watch.isDeaf) dueMs = Math.max(dueMs, performance.now() + listMs)
          await next.forget()
        }
        // One that was heard of meanwhile may have come behind the look.
      } while (taken !== undefined && !ended.aborted && (taken.isMore || watch.hasHeard(nextStart)))
      const isTaken = taken !== undefined
      for (let isToldOf = !isTaken; isToldOf; ) {
        const stored = await next.find()
        if (stored === undefined || ended.aborted) break
        if (!hadEvent) watch.foundUntold()
        await next.note(stored)
        nextStart = stored.startFrameNo + 1
        yield stored
        isToldOf = next.isInSegment || watch.mayKnow(next.frameNo)
      }
      if (!isTaken) heard = Math.max(heard, watch.takeHeard())
      const startMs = performance.now()
      const isDoubtful = taken?.isDoubtful ?? next.isDoubtful
      const isUnknown = !isTaken && next.frameNo === undefined
      const isDue = startMs >= dueMs || isDoubtful || (watch.isDeaf && isUnknown)
      if (heard >= nextStart || isDue) {
        const logs = await folder.list(nextStart)
        const endMs = performance.now()
        dueMs = endMs + Math.max(listMs, listRest * (endMs - startMs))
        for (const stored of logs) {
          if (ended.aborted) break
          after = placeBehind(stored)
          // Also the one before the first: behind it the next one may come, in the same segment.
          if (!isTaken && (stored.startFrameNo >= nextStart || next.frameNo === undefined))
            await next.note(stored)
          if (stored.startFrameNo < nextStart) continue
          nextStart = stored.startFrameNo + 1
          yield stored
        }
      }
      hadEvent = await watch.wait()
    }
  } finally {
    ended.removeEventListener('abort', onEnd)
    watch.end()
    await next.close()
  }
}

/** Where another one may come in the same file. */
function placeBehind(stored: StoredLog): NextLogsPlace['after'] {
  const { path, byteOffset } = placeOf(stored)
  if (byteOffset === undefined) return undefined
  return { path, byteOffset: byteOffset + segmentRecordBytes(stored.byteLength) }
}

/** Where the log after the last one is, if nothing is compressed. */
class NextLog {
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
