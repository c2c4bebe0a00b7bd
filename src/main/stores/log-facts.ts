/** What headers of a store's logs say. A log has to be read for it once, wholly; then it is remembered. */
import { setMaxListeners } from 'node:events'
import type { FrameNo } from '../../protocol/frame.js'
import type { Log } from '../log.js'
import { readChecked } from './read-ahead.js'
import type { CallLimits, Store, StoredLog } from './store.js'

export interface LogFacts {
  readonly stored: StoredLog
  readonly startFrameNo: FrameNo
  readonly nextFrameNo: FrameNo
  readonly startChecksum: bigint
  readonly endChecksum: bigint
  /** Bytes. */
  readonly pageSize: number
  readonly epoch: number
  /** When it was sealed; 0: not known. */
  readonly createdAtMs: number
  readonly isMerged: boolean
  readonly boundaries: Log['boundaries']
}

const readAtOnce = { count: 8, bytes: 16 * 1024 * 1024 }

export class KnownLogs {
  readonly #store: Store
  #facts = new Map<string, LogFacts>()

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Of all of these, in their order; what else was remembered is forgotten.
   *
   * Throws what is wrong with one of them, naming it; ERR_LOG_GAP when it is no longer there; ERR_STORE.
   */
  async of(listed: readonly StoredLog[], { signal }: CallLimits): Promise<LogFacts[]> {
    // Every read listens to it.
    const ending = new AbortController()
    setMaxListeners(0, ending.signal)
    const end = () => ending.abort(signal?.reason)
    signal?.addEventListener('abort', end, { once: true })
    if (signal?.aborted) end()
    const facts = new Map<string, LogFacts>()
    try {
      for (let at = 0; at < listed.length; ) {
        const some = firstOf(listed, at)
        const read = some.map((stored) => this.#factsOf(stored, ending))
        for (const one of await Promise.all(read)) facts.set(keyOf(one.stored), one)
        at += some.length
      }
    } finally {
      signal?.removeEventListener('abort', end)
    }
    this.#facts = facts
    return [...facts.values()]
  }

  async #factsOf(stored: StoredLog, { signal }: AbortController): Promise<LogFacts> {
    const known = this.#facts.get(keyOf(stored))
    if (known !== undefined) return { ...known, stored }
    const log = await readChecked(this.#store, stored, { signal })
    await log.close()
    const { startFrameNo, nextFrameNo, startChecksum, endChecksum, pageSize, epoch, isMerged, boundaries } =
      log
    const createdAtMs = log.createdAt?.getTime() ?? 0
    const checksums = { startChecksum, endChecksum }
    return {
      stored,
      startFrameNo,
      nextFrameNo,
      ...checksums,
      pageSize,
      epoch,
      createdAtMs,
      isMerged,
      boundaries,
    }
  }
}

/** Of an object: another one in its place has another. */
export function keyOf({
  id,
  byteLength,
  storedAt,
}: Pick<StoredLog, 'id' | 'byteLength' | 'storedAt'>): string {
  return `${id} ${byteLength} ${storedAt.getTime()}`
}

function firstOf(listed: readonly StoredLog[], from: number): readonly StoredLog[] {
  let byteCount = 0
  let end = from
  while (end < listed.length && end - from < readAtOnce.count) {
    byteCount += listed[end]!.byteLength
    if (end > from && byteCount > readAtOnce.bytes) break
    end += 1
  }
  return listed.slice(from, end)
}
