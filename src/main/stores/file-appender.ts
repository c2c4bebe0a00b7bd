/**
 * Stores small logs that come one after the other, each by one task of a thread: nothing is waited for between its steps.
 * Whoever stores a log now and then needs no thread for that, and nobody waits until one has started. For a caller who can
 * add to a segment by himself, the log begins one.
 */
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import {
  logMemoryBytesMax,
  packedLogBytesMax,
  segmentBytesMax,
  segmentBytesMin,
  segmentLogBytesMax,
} from '../../protocol/limits.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import { type SegmentTail, segmentRecordBytes } from '../../protocol/segment-format.js'
import type { PlainRecords } from '../../protocol/tasks.js'
import { runStoreTask, warmUpStoreThread } from '../task-pool.js'
import { Outbox } from './outbox.js'
import type { ObjectFacts, StoreFolder } from './store-folder.js'

/** Logs come one after the other when they come within so long. */
const pauseMaxMs = 1000
/** A file for the next log that is older is not used: whoever removes leftovers could take it for one. */
const spareAgeMaxMs = 60 * 60 * 1000
/** Of a log in memory, with its header. */
const bytesMax = 2 * logMemoryBytesMax
/** So many small logs come one after the other before one begins a segment: for few of them it would be mostly room. */
const segmentAfterLogs = 4
/** Of the size of a log: a segment has room for so many like the first one at least, as far as it may. */
const logsPerSegment = 16

export interface AppendedFacts extends ObjectFacts {
  /** As of after the log was there. */
  readonly newestEpoch: number
  readonly tail?: SegmentTail
}

interface AppendOptions {
  readonly tailOf?: number | undefined
  readonly packs?: boolean
  /** Those of a log of which only the header is given, and its size. */
  readonly records?: PlainRecords
}

interface SpareFile {
  readonly path: string
  readonly byteLength: number
}

export class FileAppender {
  readonly #folder: StoreFolder
  #lastMs = Number.NEGATIVE_INFINITY
  /** Small logs that came one after the other. */
  #smallCount = 0
  readonly #outbox = new Outbox(bytesMax)
  /** A file that is there for the next log, or is just being made. */
  #spare: (SpareFile & { readonly madeAtMs: number }) | undefined
  /** Of the next segment: they grow as long as they are filled. */
  #segmentBytes = segmentBytesMin
  #tidying: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(folder: StoreFolder) {
    this.#folder = folder
  }

  /**
   * To be asked for each log; starts a thread when others may follow. `isNext`: the caller has stored the one before just
   * now, here or by himself.
   */
  takes({ location, header }: LogFile, isNext: boolean, packs: boolean): boolean {
    const nowMs = performance.now()
    const isSoon = isNext || nowMs - this.#lastMs < pauseMaxMs
    const byteLength = logByteLength(header)
    this.#lastMs = nowMs
    if (isSoon && byteLength <= segmentLogBytesMax) this.#smallCount += 1
    else this.#startOver()
    const isFit = packs ? byteLength <= packedLogBytesMax : 'bytes' in location && byteLength <= bytesMax
    // To pack takes a thread in any case.
    return (isSoon || packs) && isFit && warmUpStoreThread()
  }

  /**
   * What a log is stored as; `packs`: once it is packed, with records that are in a file if need be. With `tailOf`, once logs
   * go on coming, as the first one of a segment of that epoch: a plain one. Undefined when there is one of that name: it
   * stays. Throws ERR_STORE; ERR_IO, ERR_CORRUPT of the file of records.
   */
  async append(
    name: string,
    object: readonly Uint8Array[],
    { tailOf, packs = false, records }: AppendOptions,
  ): Promise<AppendedFacts | undefined> {
    const isSegment = tailOf !== undefined && this.#smallCount >= segmentAfterLogs
    await this.#folder.prepare()
    const bytes = this.#outbox.filled(object)
    await this.#tidying
    const fileBytes = isSegment ? this.#segmentBytesFor(bytes.length) : 0
    const spare = this.#takeSpare(fileBytes)
    const temporaryPath = spare?.path ?? this.#folder.newTemporaryPath()
    const path = this.#folder.pathOf('logs', name)
    const epochsPath = join(this.#folder.path, 'epochs')
    try {
      const isMade = spare !== undefined
      const file = {
        log: { bytes, ...(records && { records }) },
        packs,
        fileBytes: spare?.byteLength ?? fileBytes,
        temporaryPath,
        isMade,
        path,
        epochsPath,
      }
      const made = await runStoreTask({ kind: 'storeFile', ...file })
      // Only now: a thread that hangs may still write from it.
      this.#outbox.giveBack(bytes)
      this.#tidy(temporaryPath, made && { byteLength: isSegment ? this.#segmentBytes : 0 })
      if (made === undefined) return undefined
      const { byteLength, storedAtMs, newestEpoch } = made
      const facts = { byteLength, storedAt: new Date(storedAtMs), newestEpoch }
      if (!isSegment) return facts
      const byteOffset = segmentRecordBytes(byteLength)
      return { ...facts, tail: { path, byteOffset, fileBytes: file.fileBytes, epoch: tailOf, epochsPath } }
    } catch (error) {
      this.#tidy(temporaryPath, undefined)
      // Where there is little room there may be enough for the log alone.
      this.#startOver()
      throw isThreadGone(error) ? new MylibsqlError('ERR_STORE', String(error), {}, { cause: error }) : error
    }
  }

  /** Leaves no temporary file. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#tidying
    const path = this.#spare?.path
    this.#spare = undefined
    if (path !== undefined) await tidied(path, undefined)
  }

  /** It takes as many small logs again before one begins a segment, which is a small one. */
  #startOver(): void {
    this.#smallCount = 0
    this.#segmentBytes = segmentBytesMin
  }

  #segmentBytesFor(logBytes: number): number {
    const wanted = Math.max(this.#segmentBytes, logsPerSegment * segmentRecordBytes(logBytes))
    this.#segmentBytes = Math.min(2 * this.#segmentBytes, segmentBytesMax)
    return Math.min(wanted, segmentBytesMax)
  }

  /** Undefined when there is none of at least that size, or an empty one is wanted and there is another. */
  #takeSpare(byteLength: number): SpareFile | undefined {
    const spare = this.#spare
    this.#spare = undefined
    if (spare === undefined) return undefined
    const isFitting = byteLength === 0 ? spare.byteLength === 0 : spare.byteLength >= byteLength
    if (isFitting && performance.now() - spare.madeAtMs <= spareAgeMaxMs) return spare
    this.#tidy(spare.path, undefined)
    return undefined
  }

  /** No caller waits for it, but the next append. */
  #tidy(path: string, next: { readonly byteLength: number } | undefined): void {
    const isWanted = next !== undefined && this.#spare === undefined && !this.#isClosed
    const spare = isWanted
      ? { path: this.#folder.newTemporaryPath(), ...next, madeAtMs: performance.now() }
      : undefined
    if (spare !== undefined) this.#spare = spare
    // First those hear of the log who wait for it.
    const done = nextTurn()
      .then(() => tidied(path, spare))
      .then((isMade) => {
        if (!isMade && this.#spare === spare) this.#spare = undefined
      })
    this.#tidying = Promise.all([this.#tidying, done])
  }
}

/** What cannot be removed now is a leftover, and a file that cannot be made is made by whoever needs it. */
function tidied(temporaryPath: string, next: SpareFile | undefined): Promise<boolean> {
  const spare = next && { path: next.path, byteLength: next.byteLength }
  return runStoreTask({ kind: 'tidyStore', temporaryPath, next: spare }).then(
    () => true,
    () => false,
  )
}

function isThreadGone(error: unknown): boolean {
  return error instanceof MylibsqlError && error.code === 'ERR_WORKER_EXITED'
}
