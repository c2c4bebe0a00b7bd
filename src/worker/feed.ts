/** The live stream: committed frames, sent to the main thread as they are committed, within a credit of bytes. */
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import { FramesMessage } from '../protocol/frames-message.js'
import { framesCopyBytesMax } from '../protocol/limits.js'
import type { FromActor, Position } from '../protocol/wire.js'
import type { WalKeeper } from './wal-keeper.js'

export class Feed {
  readonly #pageSize: number
  readonly #bytesMax: number
  readonly #post: (message: FromActor, transferList?: ArrayBuffer[]) => void
  /** Behind the last frame that was sent; undefined when nobody listens. */
  #sentUpTo: Position | undefined
  #feedNo = 0
  #bytesUntaken = 0
  /** A message that was copied serves for the next one of that size. */
  #copied: FramesMessage | undefined

  constructor(
    pageSize: number,
    bytesMax: number,
    post: (message: FromActor, transferList?: ArrayBuffer[]) => void,
  ) {
    this.#pageSize = pageSize
    this.#bytesMax = bytesMax
    this.#post = post
  }

  /** More was sent than the slowest subscriber has taken: writers have to wait. */
  get isFull(): boolean {
    return this.#bytesUntaken >= this.#bytesMax
  }

  start(feedNo: number, keeper: WalKeeper): void {
    this.#feedNo = feedNo
    this.#sentUpTo = keeper.position()
    this.#bytesUntaken = 0
  }

  stop(): void {
    this.#sentUpTo = undefined
    this.#bytesUntaken = 0
  }

  credit(byteCount: number): void {
    this.#bytesUntaken = Math.max(0, this.#bytesUntaken - byteCount)
  }

  /** Sends what was committed up to `nextFrameNo`, while it still is in the WAL. */
  publish(keeper: WalKeeper, nextFrameNo: FrameNo): void {
    const from = this.#sentUpTo
    if (from === undefined || from.nextFrameNo === nextFrameNo) return
    const byteCount = (nextFrameNo - from.nextFrameNo) * (frameHeaderBytes + this.#pageSize)
    const isCopied = byteCount <= framesCopyBytesMax
    const isFitting = isCopied && this.#copied?.records.byteLength === byteCount
    const message = isFitting ? this.#copied! : new FramesMessage(byteCount)
    if (isCopied) this.#copied = message
    const checksum = keeper.readFrames(message.records, from, nextFrameNo)
    message.setHeader(this.#feedNo, this.#pageSize, from.nextFrameNo, from.checksum)
    this.#sentUpTo = { nextFrameNo, checksum }
    this.#bytesUntaken += byteCount
    if (isCopied) this.#post(message.buffer)
    else this.#post(message.buffer, [message.buffer])
  }
}
