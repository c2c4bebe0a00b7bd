/**
 * A WAL can be folded to its end, and started over, only when nobody reads what was before. Where queries overlap all
 * the time, somebody always does, and the WAL grows for ever (SQLite calls it checkpoint starvation). The remedy is a gap:
 * the database's own readers begin nothing new until those under way are done and the WAL is folded.
 *
 * How long that takes is not known; a query may take hours. So a gap that waits for readers is given up after some time, and the
 * next one may wait twice as long. None is made again before ten times as long has passed as the last one took, folding
 * included, nor while the same reader is in the way: reads wait for a tenth of the time at most, and only where it may help.
 * Readers of other processes cannot be asked to wait.
 */
import type { MessagePort } from 'node:worker_threads'
import { readerGapMs, readerGapPauses, readerGapWalBytes } from '../protocol/limits.js'
import type { ActorStats, FromReaders, ToReaders } from '../protocol/wire.js'
import type { WalConnection, WalPosition } from './native.js'

export class ReaderGap {
  readonly #port: MessagePort
  #gapNo = 0
  #waitMs = readerGapMs.min
  /** As performance.now() has it. */
  #notBeforeMs = 0
  /** Where the WAL stood after a gap that was in vain. */
  #inVainAt: WalPosition | undefined
  /** Of the gap that waits for readers. */
  #end: (isQuiet: boolean) => void = () => {}
  #count = 0
  #ms = 0

  /** `port`: to the readers of the database. */
  constructor(port: MessagePort) {
    this.#port = port
    port.on('message', (gapNo: FromReaders) => {
      if (gapNo === this.#gapNo) this.#end(true)
    })
    port.on('close', () => this.cancel())
  }

  get stats(): Pick<ActorStats, 'readerGapCount' | 'readerGapMs'> {
    return { readerGapCount: this.#count, readerGapMs: this.#ms }
  }

  /**
   * Runs `fold` in a gap, and returns what it does: whether the WAL can be started over. False when it is not time for a gap, or
   * readers did not end. Throws what `fold` throws. Readers go on in any case.
   */
  async folding(wal: WalConnection, walBytes: number, fold: () => Promise<boolean>): Promise<boolean> {
    if (walBytes < readerGapWalBytes || !this.#isDue(wal.position())) return false
    const startMs = performance.now()
    let isFolded = false
    try {
      isFolded = (await this.#untilQuiet()) && (await fold())
    } finally {
      this.#port.postMessage(undefined satisfies ToReaders)
      const heldMs = performance.now() - startMs
      this.#count += 1
      this.#ms += heldMs
      this.#notBeforeMs = performance.now() + readerGapPauses * heldMs
      this.#waitMs = isFolded
        ? Math.max(this.#waitMs / 2, readerGapMs.min)
        : Math.min(2 * this.#waitMs, readerGapMs.max)
      this.#inVainAt = isFolded ? undefined : wal.position()
    }
    return isFolded
  }

  /** A gap that waits is given up. */
  cancel(): void {
    this.#end(false)
  }

  #isDue({ salt1, foldedCount }: WalPosition): boolean {
    if (performance.now() < this.#notBeforeMs) return false
    return this.#inVainAt?.salt1 !== salt1 || this.#inVainAt.foldedCount !== foldedCount
  }

  #untilQuiet(): Promise<boolean> {
    this.#gapNo += 1
    this.#port.postMessage(this.#gapNo satisfies ToReaders)
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(false), this.#waitMs)
      this.#end = (isQuiet) => {
        clearTimeout(timer)
        this.#end = () => {}
        resolve(isQuiet)
      }
    })
  }
}
