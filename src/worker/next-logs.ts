/** Applies the logs of a FileStore as they come, on the replica's own thread: nobody else has to be woken for them. */
import { watch } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { FolderWatch } from '../protocol/folder-watch.js'
import type { FrameNo } from '../protocol/frame.js'
import { folderQuietMs, stepBytesMax, stepLogsMax } from '../protocol/limits.js'
import { type LogHeader, logRecordsByteLength } from '../protocol/log-format.js'
import { startFrameNoOf } from '../protocol/object-names.js'
import type { AppliedLogs, NextLogsEnd, NextLogsPlace, NextLogsRequest, Position } from '../protocol/wire.js'
import type { OpenedLog } from './log-source.js'
import { NextLog } from './next-log.js'
import { newestEpochIn } from './store-listing.js'

/** What it does with its replica. */
interface Applier {
  position(): Position
  /** False: it could not be applied. Whoever looks closer at the log finds out why. */
  isApplied(file: OpenedLog): boolean
  told(logs: AppliedLogs): void
}

export class NextLogs {
  readonly #applier: Applier
  readonly #watch: FolderWatch
  readonly #nextLog = new NextLog()
  #isStopped = false

  constructor(storePath: string, applier: Applier) {
    this.#applier = applier
    this.#watch = new FolderWatch(watch, join(storePath, 'logs'), startFrameNoOf)
  }

  /** Once at a time. Never throws. */
  async follow({ doubtedFrameNo, listInMs, ...from }: NextLogsRequest): Promise<NextLogsEnd> {
    let place: NextLogsPlace = from
    let listDueMs = performance.now() + listInMs
    let heard = -1
    /** What has led to this look: but for an event, there may be names that none has told of. */
    let reason: 'begin' | 'event' | 'poll' = 'begin'
    for (;;) {
      if (this.#isStopped) return this.#end('stopped')
      heard = Math.max(heard, this.#watch.takeHeard())
      const nameMax = reason === 'event' && !this.#watch.isDeaf ? heard : Number.POSITIVE_INFINITY
      const { appliedCount, isMore, isDoubtful } = this.#applyPresent(place, nameMax)
      // Others may have put another file in its place.
      if (appliedCount === 0) this.#nextLog.release()
      else {
        // What comes now is behind what was taken.
        place = { ...place, after: undefined }
        if (reason === 'poll') {
          this.#watch.foundUntold()
          reason = 'begin'
        }
        // What comes where it should need not be looked for elsewhere.
        if (!this.#watch.isDeaf) listDueMs = Math.max(listDueMs, performance.now() + folderQuietMs)
      }
      if (isMore) {
        await setImmediate()
        continue
      }
      const { nextFrameNo } = this.#applier.position()
      if (isDoubtful && nextFrameNo !== doubtedFrameNo) return this.#end('doubtful')
      if (heard >= nextFrameNo || performance.now() >= listDueMs) return this.#end('unfound')
      heard = -1
      reason = (await this.#watch.wait()) ? 'event' : 'poll'
    }
  }

  /** Ends the watch, and a `follow` under way. */
  stop(): void {
    this.#isStopped = true
    this.#watch.end()
    this.#nextLog.release()
  }

  #end(reason: NextLogsEnd['reason']): NextLogsEnd {
    return { position: this.#applier.position(), reason }
  }

  /** Those that are where they should, or enough for one step. `nameMax`: no file begins with a later frame. */
  #applyPresent(
    place: NextLogsPlace,
    nameMax: FrameNo,
  ): { appliedCount: number; isMore: boolean; isDoubtful: boolean } {
    let last: LogHeader | undefined
    let appliedCount = 0
    let byteCount = 0
    let isDoubtful = false
    const isMore = () => appliedCount >= stepLogsMax || byteCount >= stepBytesMax
    while (!isMore()) {
      const { nextFrameNo } = this.#applier.position()
      const after = appliedCount === 0 ? place.after : undefined
      const mayBeginFile = nextFrameNo <= nameMax
      const file = this.#nextLog.find({ ...place, after }, nextFrameNo, { mayBeginFile })
      if (file === undefined) break
      isDoubtful = file === 'other'
      if (file === 'other') break
      // Looked at after the log was seen: one of an older epoch may have come too late.
      isDoubtful = !isOfNewestEpoch(place.storePath, file.header) || !this.#applier.isApplied(file)
      // One that does not go on from here would be found again.
      isDoubtful ||= this.#applier.position().nextFrameNo === nextFrameNo
      if (isDoubtful) break
      this.#nextLog.taken()
      last = file.header
      appliedCount += 1
      byteCount += logRecordsByteLength(last)
    }
    if (last !== undefined) {
      const { epoch, createdAtMs } = last
      this.#applier.told({ position: this.#applier.position(), appliedCount, epoch, createdAtMs })
    }
    return { appliedCount, isMore: isMore(), isDoubtful }
  }
}

function isOfNewestEpoch(storePath: string, { epoch }: LogHeader): boolean {
  try {
    return newestEpochIn(storePath) <= epoch
  } catch {
    return false
  }
}
