/**
 * Whether the epoch of a primary is still the newest. Archiving asks with each log; where there is nothing to store for
 * a while, this asks by itself, so that a primary which was paused, or cut off, soon ends with ERR_FENCED and does not go
 * on answering reads with what was true before. Acknowledgements do not depend on it.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import type { ArchiveStats } from '../stats.js'
import { attempt, isFenced } from './attempts.js'
import type { Store } from './store.js'

interface Watched {
  readonly store: Store
  /** Of the primary. */
  readonly epoch: number
  /** So long it is not asked. */
  readonly fenceCheckMs: number
  /** For one question. */
  readonly timeoutMs: number
}

export class EpochWatch {
  readonly #watched: Watched
  readonly #fenced: (error: MylibsqlError) => void
  readonly #stopped: AbortSignal
  /** When it was last seen to be the newest. */
  #seenMs = performance.now()
  #timer: NodeJS.Timeout | undefined
  #failureCount = 0
  #lastError: unknown

  /** `fenced` is told when it finds out by itself. */
  constructor(watched: Watched, fenced: (error: MylibsqlError) => void, stopped: AbortSignal) {
    this.#watched = watched
    this.#fenced = fenced
    this.#stopped = stopped
    stopped.addEventListener('abort', () => clearTimeout(this.#timer), { once: true })
    this.#wait(watched.fenceCheckMs)
  }

  /** Milliseconds since it was last seen to be the newest. */
  get ageMs(): number {
    return performance.now() - this.#seenMs
  }

  /** Throws ERR_FENCED. */
  async check(signal: AbortSignal): Promise<void> {
    const askedMs = performance.now()
    this.note(await this.#watched.store.currentEpoch({ signal }), askedMs)
  }

  /** What the store has said, to a question of that time. Throws ERR_FENCED. */
  note(newestEpoch: number, askedMs: number): void {
    if (newestEpoch !== this.#watched.epoch) throw this.takenOver(newestEpoch)
    this.#seenMs = Math.max(this.#seenMs, askedMs)
    this.#lastError = undefined
  }

  takenOver(newestEpoch: number, cause?: unknown): MylibsqlError {
    const { store, epoch } = this.#watched
    const message = `The primary of epoch ${newestEpoch} has taken over ${store.url}; this one is of epoch ${epoch}`
    const details = { expected: epoch, actual: newestEpoch }
    return new MylibsqlError('ERR_FENCED', message, details, cause === undefined ? undefined : { cause })
  }

  stats(): Pick<ArchiveStats, 'epochAgeMs' | 'fenceCheckFailureCount' | 'lastFenceCheckError'> {
    return {
      epochAgeMs: this.ageMs,
      fenceCheckFailureCount: this.#failureCount,
      lastFenceCheckError: this.#lastError,
    }
  }

  #wait(durationMs: number): void {
    if (durationMs === Number.POSITIVE_INFINITY || this.#stopped.aborted) return
    // Of an application that is done otherwise, it keeps nothing alive.
    this.#timer = setTimeout(() => void this.#due(), Math.max(1, Math.ceil(durationMs))).unref()
  }

  async #due(): Promise<void> {
    const { store, fenceCheckMs, timeoutMs } = this.#watched
    // A log was stored meanwhile.
    if (this.ageMs < fenceCheckMs) return this.#wait(fenceCheckMs - this.ageMs)
    const limits = { store, timeoutMs, signal: this.#stopped }
    try {
      await attempt('tell its newest epoch', limits, (signal) => this.check(signal))
    } catch (error) {
      if (this.#stopped.aborted) return
      if (isFenced(error)) return this.#fenced(error)
      this.#failureCount += 1
      this.#lastError = error
    }
    this.#wait(fenceCheckMs)
  }
}
