/**
 * The logs of a folder, those that are there and those that come.
 *
 * A folder of many thousand logs is not listed for each new one: a log is looked for where the last one ends, behind it in
 * its segment, or in a file of that name; by the thread that applies it, where there is one. All are listed when an event
 * tells of another name, when nothing has come for a second, and where only a listing can tell what counts. So a wrong guess
 * costs time only.
 */
import { watch } from 'node:fs'
import { join } from 'node:path'
import { FolderWatch } from '../../protocol/folder-watch.js'
import type { FrameNo } from '../../protocol/frame.js'
import { folderQuietMs } from '../../protocol/limits.js'
import { startFrameNoOf } from '../../protocol/object-names.js'
import { segmentRecordBytes } from '../../protocol/segment-format.js'
import type { NextLogsPlace } from '../../protocol/wire.js'
import { LogFinder } from './log-finder.js'
import { placeOf } from './log-place.js'
import type { FollowLogsOptions, StoredLog } from './store.js'

/** The logs of one folder, as `followLogs` needs to know them. */
interface LogFolder {
  readonly storePath: string
  /** Those that begin at `from` or later, and maybe one that begins before. */
  list(from: FrameNo): Promise<ListedLogs>
  /** Whether no newer epoch was claimed. */
  isNewestEpoch(epoch: number): Promise<boolean>
  /** The log that begins a file; undefined: there is no such file. */
  findFirst(startFrameNo: FrameNo): Promise<StoredLog | undefined>
}

export interface ListedLogs {
  readonly logs: readonly StoredLog[]
  /** What the thread needed for it. */
  readonly tookMs: number
}

/** All names are looked at after a pause of so many times as long as it took: a week of small logs is a million names. */
const listRest = 50

/** Logs that begin at `from` or later, until the signal aborts. */
export async function* followLogs(
  folder: LogFolder,
  from: FrameNo,
  { signal, take }: FollowLogsOptions,
): AsyncGenerator<StoredLog, void, undefined> {
  if (signal.aborted) return
  const follow = new FolderFollow(folder, from, { signal, take })
  const onEnd = () => follow.endWatch()
  signal.addEventListener('abort', onEnd)
  try {
    while (!signal.aborted) {
      const isTaken = await follow.takeNext()
      if (!isTaken) yield* follow.tellNext()
      if (follow.isListingDue()) yield* follow.tellAll()
      if (!isTaken && !signal.aborted) await follow.wait()
    }
  } finally {
    signal.removeEventListener('abort', onEnd)
    await follow.close()
  }
}

class FolderFollow {
  readonly #folder: LogFolder
  readonly #options: FollowLogsOptions
  readonly #finder: LogFinder
  /** While logs are told, not taken. */
  #watch: FolderWatch | undefined
  /** Logs from here on are neither told nor taken yet. */
  #nextStart: FrameNo
  /** Behind the last one that was told, where another one may come in the same segment. */
  #after: NextLogsPlace['after']
  /** Greatest number that an event told of. */
  #heard = -1
  #hadEvent = true
  /** Logs are taken, not told. */
  #isTaking = false
  /** Somebody met a log of which only a listing tells whether it counts, ... */
  #isDoubtful = false
  /** ... and where a taker did so last: it meets that again each time it looks. */
  #doubtedFrameNo: FrameNo | undefined
  #listDueMs = Number.NEGATIVE_INFINITY

  constructor(folder: LogFolder, from: FrameNo, options: FollowLogsOptions) {
    this.#folder = folder
    this.#options = options
    this.#finder = new LogFinder(folder)
    this.#nextStart = from
  }

  /** Has the thread that applies logs take those that come next, as they come. False: there is none, or it takes none now. */
  async takeNext(): Promise<boolean> {
    const listInMs = Math.max(0, this.#listDueMs - performance.now())
    const request = { storePath: this.#folder.storePath, after: this.#after, listInMs }
    const { take, signal } = this.#options
    const taken = await take?.({ ...request, doubtedFrameNo: this.#doubtedFrameNo }, signal)
    // Where the finder would have to go on, only a listing tells.
    if (taken === undefined && this.#isTaking) this.#listDueMs = Number.NEGATIVE_INFINITY
    this.#isTaking = taken !== undefined
    if (taken === undefined) return false
    this.endWatch()
    await this.#finder.forget()
    const { reason, position } = taken
    this.#nextStart = Math.max(this.#nextStart, position.nextFrameNo)
    if (reason !== 'stopped') this.#listDueMs = Number.NEGATIVE_INFINITY
    if (reason === 'doubtful') this.#doubtedFrameNo = position.nextFrameNo
    return true
  }

  /** Those that are where they should. */
  async *tellNext(): AsyncGenerator<StoredLog, void, undefined> {
    for (let isToldOf = true; isToldOf; ) {
      const stored = await this.#finder.find()
      if (stored === undefined || this.#options.signal.aborted) break
      if (!this.#hadEvent) this.#watching().foundUntold()
      await this.#finder.note(stored)
      this.#noteTold(stored)
      yield stored
      isToldOf = this.#finder.isInSegment || this.#watching().mayKnow(this.#finder.frameNo)
    }
    this.#heard = Math.max(this.#heard, this.#watching().takeHeard())
    if (this.#finder.isDoubtful) this.#isDoubtful = true
  }

  isListingDue(): boolean {
    if (performance.now() >= this.#listDueMs) return true
    if (this.#isTaking) return false
    const isLost = this.#finder.frameNo === undefined && this.#watching().isDeaf
    return isLost || this.#isDoubtful || this.#heard >= this.#nextStart
  }

  async *tellAll(): AsyncGenerator<StoredLog, void, undefined> {
    this.#isDoubtful = false
    this.#heard = -1
    const { logs, tookMs } = await this.#folder.list(this.#nextStart)
    this.#listDueMs = performance.now() + Math.max(folderQuietMs, listRest * tookMs)
    for (const stored of logs) {
      if (this.#options.signal.aborted) break
      const isNew = stored.startFrameNo >= this.#nextStart
      // Also the one before the first: behind it the next one may come, in the same segment.
      if (!this.#isTaking && (isNew || this.#finder.frameNo === undefined)) await this.#finder.note(stored)
      if (isNew) this.#noteTold(stored)
      else this.#after = placeBehind(stored)
      if (isNew) yield stored
    }
  }

  /** For an event, or until it is time to look anyway. */
  async wait(): Promise<void> {
    this.#hadEvent = await this.#watching().wait()
  }

  /** A wait ends at once. */
  endWatch(): void {
    this.#watch?.end()
    this.#watch = undefined
  }

  close(): Promise<void> {
    this.endWatch()
    return this.#finder.close()
  }

  #watching(): FolderWatch {
    const path = join(this.#folder.storePath, 'logs')
    this.#watch ??= new FolderWatch(watch, path, startFrameNoOf)
    return this.#watch
  }

  #noteTold(stored: StoredLog): void {
    this.#nextStart = stored.startFrameNo + 1
    this.#after = placeBehind(stored)
  }
}

function placeBehind(stored: StoredLog): NextLogsPlace['after'] {
  const { path, byteOffset } = placeOf(stored)
  if (byteOffset === undefined) return undefined
  return { path, byteOffset: byteOffset + segmentRecordBytes(stored.byteLength) }
}
