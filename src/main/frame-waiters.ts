/** Who waits for a frame to be applied. */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'

interface FrameWaiter {
  readonly frameNo: FrameNo
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class FrameWaiters {
  #waiters: FrameWaiter[] = []
  readonly #lastFrameNo: () => FrameNo | undefined

  /** `lastFrameNo` tells the last frame that is applied, for messages. */
  constructor(lastFrameNo: () => FrameNo | undefined) {
    this.#lastFrameNo = lastFrameNo
  }

  /** Rejects with the signal's reason, and with ERR_TIMEOUT. */
  async wait(frameNo: FrameNo, signal: AbortSignal | undefined, timeoutMs: number): Promise<void> {
    let giveUp = () => {}
    let timer: NodeJS.Timeout | undefined
    let waiter: FrameWaiter | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        waiter = { frameNo, resolve, reject }
        this.#waiters.push(waiter)
        timer = setTimeout(() => reject(this.#timeout(frameNo, timeoutMs)), timeoutMs)
        giveUp = () => reject(signal?.reason)
        signal?.addEventListener('abort', giveUp, { once: true })
      })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
      this.#waiters = this.#waiters.filter((other) => other !== waiter)
    }
  }

  applied(lastFrameNo: FrameNo): void {
    const ready = this.#waiters.filter(({ frameNo }) => frameNo <= lastFrameNo)
    this.#waiters = this.#waiters.filter(({ frameNo }) => frameNo > lastFrameNo)
    for (const waiter of ready) waiter.resolve()
  }

  reject(error: unknown): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  #timeout(frameNo: FrameNo, timeoutMs: number): MylibsqlError {
    const message = `Frame ${frameNo} was not applied within ${timeoutMs} ms: the replica is at frame ${this.#lastFrameNo()}`
    return new MylibsqlError('ERR_TIMEOUT', message, { frameNo })
  }
}
