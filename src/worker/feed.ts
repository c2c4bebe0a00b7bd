/** The live stream: committed frames, sent to the main thread as they are committed, within a credit of bytes. */
import { type FrameNo, frameHeaderBytes } from '../protocol/frame.js'
import type { FromActor, Position } from '../protocol/wire.js'
import type { WalKeeper } from './wal-keeper.js'

export class Feed {
  readonly #pageSize: number
  readonly #bytesMax: number
  readonly #post: (message: FromActor, transferList: ArrayBuffer[]) => void
  /** Behind the last frame that was sent; undefined when nobody listens. */
  #sentUpTo: Position | undefined
  #feedNo = 0
  #bytesUntaken = 0

  constructor(
    pageSize: number,
    bytesMax: number,
    post: (message: FromActor, transferList: ArrayBuffer[]) => void,
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
    const bytes = new Uint8Array((nextFrameNo - from.nextFrameNo) * (frameHeaderBytes + this.#pageSize))
    const checksum = keeper.readFrames(bytes, from, nextFrameNo)
    this.#sentUpTo = { nextFrameNo, checksum }
    this.#bytesUntaken += bytes.byteLength
    const { nextFrameNo: startFrameNo, checksum: startChecksum } = from
    this.#post(
      { kind: 'frames', feedNo: this.#feedNo, bytes, pageSize: this.#pageSize, startFrameNo, startChecksum },
      [bytes.buffer],
    )
  }
}
