import { open } from 'node:fs/promises'
import type { FrameNo } from '../../protocol/frame.js'
import { frameHeaderBytes } from '../../protocol/frame.js'
import { decodeLogHeader, logHeaderBytesV3 } from '../../protocol/log-format.js'
import { FolderWatch } from './folder-watch.js'
import type { StoredLog } from './store.js'

/** The logs of one folder, as `followLogs` needs to know them. */
interface LogFolder {
  readonly path: string
  /** Start frames of all logs, in order. */
  startFrameNos(): Promise<FrameNo[]>
  /** Undefined: no log begins there. */
  find(startFrameNo: FrameNo): Promise<StoredLog | undefined>
  startFrameNoOf(name: string): FrameNo | undefined
}

/** All names are looked at this often, for logs that begin elsewhere than where the last one ends, ... */
const listMs = 1000
/** ... or after so many times as long as it took: a week of small logs is a million names. */
const listRest = 50

/**
 * Logs that begin at `from` or later, those that are there and those that come, until `ended` aborts.
 *
 * A folder of many thousand logs is not listed for each new one: a log is looked for where the last one ends, by its size.
 * All names are listed when an event tells of another one, and once a second. So a wrong guess costs time only.
 */
export async function* followLogs(
  folder: LogFolder,
  from: FrameNo,
  ended: AbortSignal,
): AsyncGenerator<StoredLog, void, undefined> {
  if (ended.aborted) return
  const watch = new FolderWatch(folder.path, (name) => folder.startFrameNoOf(name))
  const onEnd = () => watch.end()
  ended.addEventListener('abort', onEnd)
  const guess = new NextStart()
  let nextStart = from
  let dueMs = Number.NEGATIVE_INFINITY
  let hadEvent = true
  try {
    while (!ended.aborted) {
      let isToldOf = true
      for (let at = guess.frameNo; at !== undefined && isToldOf; at = guess.frameNo) {
        const stored = await folder.find(at)
        if (stored === undefined || ended.aborted) break
        if (!hadEvent) watch.foundUntold()
        await guess.note(stored)
        nextStart = stored.startFrameNo + 1
        yield stored
        isToldOf = watch.mayKnow(guess.frameNo)
      }
      const startMs = performance.now()
      const isDue = startMs >= dueMs || (watch.isDeaf && guess.frameNo === undefined)
      if (watch.takeHeard() >= nextStart || isDue) {
        const startFrameNos = await folder.startFrameNos()
        const endMs = performance.now()
        dueMs = endMs + Math.max(listMs, listRest * (endMs - startMs))
        for (const startFrameNo of startFrameNos) {
          if (startFrameNo < nextStart || ended.aborted) continue
          const stored = await folder.find(startFrameNo)
          if (stored === undefined) continue
          await guess.note(stored)
          nextStart = startFrameNo + 1
          yield stored
        }
      }
      hadEvent = await watch.wait()
    }
  } finally {
    ended.removeEventListener('abort', onEnd)
    watch.end()
  }
}

/** Where the log after the last one begins, if nothing is compressed. */
class NextStart {
  frameNo: FrameNo | undefined
  #pageSize: number | undefined

  async note({ id, startFrameNo, byteLength }: StoredLog): Promise<void> {
    this.#pageSize ??= await pageSizeOf(id, byteLength)
    const frameCount = (byteLength - logHeaderBytesV3) / (frameHeaderBytes + (this.#pageSize ?? 0))
    const isKnown = this.#pageSize !== undefined && frameCount > 0 && Number.isInteger(frameCount)
    this.frameNo = isKnown ? startFrameNo + frameCount : undefined
  }
}

/** Undefined for what is no plain log; what is wrong with it is told to whoever reads it. */
async function pageSizeOf(path: string, byteLength: number): Promise<number | undefined> {
  try {
    const handle = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await handle.read({ buffer: new Uint8Array(logHeaderBytesV3) })
      return decodeLogHeader(buffer.subarray(0, bytesRead), { path }, byteLength).pageSize
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}
