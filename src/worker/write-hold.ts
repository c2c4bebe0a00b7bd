/** Writers wait while too much is not saved, or a subscriber has too much before it: for a limited time. */
import { MylibsqlError } from '../protocol/errors.js'
import type { OpenRequest } from '../protocol/wire.js'
import type { Feed } from './feed.js'
import type { WalKeeper } from './wal-keeper.js'

type Limits = Pick<OpenRequest, 'busyTimeoutMs' | 'unsavedBytesMax' | 'subscriberBytesMax'>

export class WriteHold {
  readonly #keeper: WalKeeper
  readonly #feed: Feed
  readonly #limits: Limits
  readonly #refuse: (error: MylibsqlError) => void
  #timer: NodeJS.Timeout | undefined

  /** `refuse` is called with ERR_BUSY when writers have been held for `busyTimeoutMs`. */
  constructor(keeper: WalKeeper, feed: Feed, limits: Limits, refuse: (error: MylibsqlError) => void) {
    this.#keeper = keeper
    this.#feed = feed
    this.#limits = limits
    this.#refuse = refuse
  }

  /** To be asked before each write: whether it has to wait. */
  isHeld(): boolean {
    const isFull = this.#keeper.unsavedBytes >= this.#limits.unsavedBytesMax || this.#feed.isFull
    if (isFull) this.#timer ??= setTimeout(() => this.#timeOut(), this.#limits.busyTimeoutMs)
    else this.end()
    return isFull
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #timeOut(): void {
    this.#timer = undefined
    const { busyTimeoutMs, unsavedBytesMax, subscriberBytesMax } = this.#limits
    const reason = this.#feed.isFull
      ? `a subscriber of captureFrames() has not taken ${subscriberBytesMax} bytes of frames (option subscriberBytesMax)`
      : `${this.#keeper.unsavedBytes} bytes are not saved, ${unsavedBytesMax} may be (option unsavedBytesMax): call checkpoint()`
    this.#refuse(new MylibsqlError('ERR_BUSY', `Writers were held for ${busyTimeoutMs} ms: ${reason}`))
  }
}
