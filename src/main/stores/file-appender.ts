/**
 * Stores small logs that come one after the other, each by one task of a thread: nothing is waited for between its steps.
 * Whoever stores a log now and then needs no thread for that.
 */
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import { runAppend } from '../task-pool.js'
import { type ObjectFacts, type StoreFolder, temporaryName } from './store-folder.js'

/** Logs come one after the other when they come within so long. */
const pauseMaxMs = 1000
/** A file for the next log that is older is not used: whoever removes leftovers could take it for one. */
const spareAgeMaxMs = 60 * 60 * 1000
/** Of a log in memory, with its header. */
const bytesMax = 2 * logMemoryBytesMax

export interface AppendedFacts extends ObjectFacts {
  /** As of after the log was there. */
  readonly newestEpoch: number
}

export class FileAppender {
  readonly #folder: StoreFolder
  #lastMs = Number.NEGATIVE_INFINITY
  /** Where bytes are put for the thread to see; undefined while it looks. */
  #outbox: SharedArrayBuffer | undefined
  /** A file that is there for the next log, or is just being made. */
  #spare: { readonly path: string; readonly madeAtMs: number } | undefined
  #tidying: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(folder: StoreFolder) {
    this.#folder = folder
  }

  /** To be asked for each log. */
  takes({ location, header }: LogFile): boolean {
    const nowMs = performance.now()
    const isSoon = nowMs - this.#lastMs < pauseMaxMs
    this.#lastMs = nowMs
    return isSoon && 'bytes' in location && logByteLength(header) <= bytesMax
  }

  /** Of a log in memory, under another header. Undefined when there is one of that name: it stays. Throws ERR_STORE. */
  async append(
    name: string,
    headerBytes: Uint8Array,
    { location, header }: LogFile,
  ): Promise<AppendedFacts | undefined> {
    if (!('bytes' in location)) throw new TypeError('The log is not in memory')
    await this.#folder.prepare()
    const bytes = this.#outboxOf(logByteLength(header))
    bytes.set(headerBytes)
    bytes.set(location.bytes.subarray(headerBytes.length, bytes.length), headerBytes.length)
    await this.#tidying
    const spare = this.#takeSpare()
    const temporaryPath = spare ?? this.#newPath()
    try {
      const made = await runAppend({
        kind: 'storeFile',
        bytes,
        temporaryPath,
        isMade: spare !== undefined,
        path: this.#folder.pathOf('logs', name),
        epochsPath: join(this.#folder.path, 'epochs'),
      })
      // Only now: a thread that hangs may still write from it.
      this.#outbox = bytes.buffer as SharedArrayBuffer
      this.#tidy(temporaryPath, made !== undefined)
      if (made === undefined) return undefined
      const { byteLength, storedAtMs, newestEpoch } = made
      return { byteLength, storedAt: new Date(storedAtMs), newestEpoch }
    } catch (error) {
      this.#tidy(temporaryPath, false)
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

  #outboxOf(byteLength: number): Uint8Array {
    const outbox = this.#outbox
    this.#outbox = undefined
    const isLarge = outbox !== undefined && outbox.byteLength >= byteLength
    return new Uint8Array(isLarge ? outbox : new SharedArrayBuffer(byteLength), 0, byteLength)
  }

  #takeSpare(): string | undefined {
    const spare = this.#spare
    this.#spare = undefined
    if (spare === undefined || performance.now() - spare.madeAtMs <= spareAgeMaxMs) return spare?.path
    this.#tidy(spare.path, false)
    return undefined
  }

  /** No caller waits for it, but the next append. */
  #tidy(path: string, makesNext: boolean): void {
    const isWanted = makesNext && this.#spare === undefined && !this.#isClosed
    const spare = isWanted ? { path: this.#newPath(), madeAtMs: performance.now() } : undefined
    if (spare !== undefined) this.#spare = spare
    // First those hear of the log who wait for it.
    const done = nextTurn()
      .then(() => tidied(path, spare?.path))
      .then((isMade) => {
        if (!isMade && this.#spare === spare) this.#spare = undefined
      })
    this.#tidying = Promise.all([this.#tidying, done])
  }

  #newPath(): string {
    return join(this.#folder.path, 'tmp', temporaryName())
  }
}

/** What cannot be removed now is a leftover, and a file that cannot be made is made by whoever needs it. */
function tidied(temporaryPath: string, nextPath: string | undefined): Promise<boolean> {
  return runAppend({ kind: 'tidyStore', temporaryPath, nextPath }).then(
    () => true,
    () => false,
  )
}

function isThreadGone(error: unknown): boolean {
  return error instanceof MylibsqlError && error.code === 'ERR_WORKER_EXITED'
}
