/** Writers wait while too much is not saved, or a subscriber has too much before it: each for a limited time. */
import { MylibsqlError } from '../protocol/errors.js'
import type { OpenRequest } from '../protocol/wire.js'
import type { Feed } from './feed.js'
import { sharedNowMs } from './thread-times.js'
import type { WalKeeper } from './wal-keeper.js'

type Limits = Pick<OpenRequest, 'busyTimeoutMs' | 'unsavedBytesMax' | 'subscriberBytesMax'>

type Refuse = (error: MylibsqlError, isLate: (askedAtMs: number) => boolean) => void

export class WriteHold {
  readonly #keeper: WalKeeper
  readonly #feed: Feed
  readonly #limits: Limits
  readonly #refuse: Refuse
  /** When a limit was found to be reached; undefined while none is. */
  #sinceMs: number | undefined
  /** When the first writer has been held for too long, and what notices that. */
  #dueMs = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  /**
   * `refuse` is called with ERR_BUSY when somebody has been held for `busyTimeoutMs`: those who have, and have asked before, are
   * late.
   */
  constructor(keeper: WalKeeper, feed: Feed, limits: Limits, refuse: Refuse) {
    this.#keeper = keeper
    this.#feed = feed
    this.#limits = limits
    this.#refuse = refuse
  }

  /** To be asked before each write, with when it was asked for (milliseconds since 1970): whether it has to wait. */
  isHeld(askedAtMs: number): boolean {
    const isFull = this.#keeper.unsavedBytes >= this.#limits.unsavedBytesMax || this.#feed.isFull
    if (isFull) this.#watch(askedAtMs)
    else this.end()
    return isFull
  }

  end(): void {
    this.#sinceMs = undefined
    this.#stopTimer()
  }

  #watch(askedAtMs: number): void {
    const nowMs = sharedNowMs()
    this.#sinceMs ??= nowMs
    const dueMs = this.#dueAtMs(askedAtMs)
    if (dueMs >= this.#dueMs) return
    this.#stopTimer()
    this.#dueMs = dueMs
    this.#timer = setTimeout(() => this.#timeOut(), Math.max(0, dueMs - nowMs))
  }

  #stopTimer(): void {
    clearTimeout(this.#timer)
    this.#dueMs = Number.POSITIVE_INFINITY
  }

  /** What it waited for before, such as a long transaction of somebody else, does not count. */
  #dueAtMs(askedAtMs: number): number {
    return Math.max(askedAtMs, this.#sinceMs!) + this.#limits.busyTimeoutMs
  }

  #timeOut(): void {
    // A timer may be early by a part of a millisecond.
    const nowMs = Math.max(this.#dueMs, sharedNowMs())
    this.#stopTimer()
    const { busyTimeoutMs, unsavedBytesMax, subscriberBytesMax } = this.#limits
    const reason = this.#feed.isFull
      ? `a subscriber of captureFrames() has not taken ${subscriberBytesMax} bytes of frames (option subscriberBytesMax)`
      : `${this.#keeper.unsavedBytes} bytes are not saved, ${unsavedBytesMax} may be (option unsavedBytesMax): call checkpoint()`
    const error = new MylibsqlError('ERR_BUSY', `Writers were held for ${busyTimeoutMs} ms: ${reason}`)
    this.#refuse(error, (askedAtMs) => this.#dueAtMs(askedAtMs) <= nowMs)
  }
}
