import { setMaxListeners } from 'node:events'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Log } from '../log.js'
import type { ReadableStore } from './patient-store.js'
import type { CallLimits, StoredLog } from './store.js'
import { atOnce } from './transfer-limit.js'

/** Of logs that are read before their turn, as stored; one is always read. */
const byteCountMax = 64 * 1024 * 1024

/**
 * Reads logs of a store, some of them ahead, so that the way to it is not waited for again and again. What was read and not
 * taken is closed with it.
 */
export class ReadAhead {
  readonly #store: ReadableStore
  readonly #signal: AbortSignal | undefined
  /** Ends what nobody waits for. Its own, because every read listens to it. */
  readonly #ending = new AbortController()
  readonly #end = (): void => this.#ending.abort(this.#signal?.reason)
  readonly #reads = new Map<string, Promise<Log>>()

  constructor(store: ReadableStore, { signal }: CallLimits) {
    this.#store = store
    this.#signal = signal
    setMaxListeners(0, this.#ending.signal)
    if (signal?.aborted) this.#end()
    signal?.addEventListener('abort', this.#end, { once: true })
  }

  /** Begins to read the first ones of these, as far as the limits go. */
  begin(next: readonly StoredLog[]): void {
    let byteCount = 0
    for (const [index, stored] of next.slice(0, atOnce.countMax).entries()) {
      byteCount += stored.byteLength
      const bytesMax = index < atOnce.countMin ? byteCountMax : atOnce.smallBytesMax
      if (byteCount > bytesMax && index > 0) return
      void this.look(stored)
    }
  }

  /** The log stays here: it is taken or closed later. */
  look(stored: StoredLog): Promise<Log> {
    let read = this.#reads.get(stored.id)
    if (read === undefined) {
      read = readChecked(this.#store, stored, { signal: this.#ending.signal })
      // Whoever takes it hears of it.
      read.catch(() => {})
      this.#reads.set(stored.id, read)
    }
    return read
  }

  /** The log is the caller's, to close. */
  take(stored: StoredLog): Promise<Log> {
    const read = this.look(stored)
    this.#reads.delete(stored.id)
    return read
  }

  /** Somebody else has taken them. */
  async drop(logs: readonly StoredLog[]): Promise<void> {
    const dropped = logs.map(({ id }) => this.#reads.get(id))
    for (const { id } of logs) this.#reads.delete(id)
    await Promise.allSettled(dropped.map(async (read) => (await read)?.close()))
  }

  async close(): Promise<void> {
    const reads = [...this.#reads.values()]
    this.#reads.clear()
    this.#signal?.removeEventListener('abort', this.#end)
    if (reads.length > 0) this.#end()
    const closed = Promise.allSettled(reads.map(async (read) => (await read).close()))
    // A store that does not heed the signal is not waited for.
    if (this.#signal?.aborted !== true) await closed
  }
}

/**
 * Reads one log.
 *
 * @throws ERR_LOG_GAP when it is no longer there: it was removed since it was listed
 */
export async function readChecked(store: ReadableStore, stored: StoredLog, limits: CallLimits): Promise<Log> {
  let log: Log
  try {
    log = await store.readLog(stored, limits)
  } catch (error) {
    if (!(error instanceof MylibsqlError) || error.code !== 'ERR_NOT_FOUND') throw error
    const message = `${named(store, stored)} was removed before it was read`
    throw new MylibsqlError('ERR_LOG_GAP', message, detailsOf(stored), { cause: error })
  }
  const { startFrameNo, version } = log
  if (startFrameNo === stored.startFrameNo && version === 3) return log
  await log.close()
  if (version !== 3) {
    const message = `${named(store, stored)} is a log of version ${version}: a store holds version 3`
    throw new MylibsqlError('ERR_VERSION', message, { ...detailsOf(stored), expected: 3, actual: version })
  }
  const message = `${named(store, stored)} is damaged: it begins at frame ${startFrameNo}, its name says ${stored.startFrameNo}`
  const details = { expected: stored.startFrameNo, actual: startFrameNo }
  throw new MylibsqlError('ERR_CORRUPT', message, { ...detailsOf(stored), ...details })
}

/** What readChecked throws for a log that was listed, and is not there any more. */
export function isRemoved(error: unknown): boolean {
  if (!(error instanceof MylibsqlError) || error.code !== 'ERR_LOG_GAP') return false
  return error.cause instanceof MylibsqlError && error.cause.code === 'ERR_NOT_FOUND'
}

/** As messages call an object of a store. */
export function named(store: ReadableStore, object: { readonly id: string }): string {
  return `${object.id} (in ${store.url})`
}

function detailsOf({ id, startFrameNo }: StoredLog): { path: string; frameNo: number } {
  return { path: id, frameNo: startFrameNo }
}
