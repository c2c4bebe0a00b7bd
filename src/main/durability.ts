/** Which frames are saved, and who waits for that. */
import { MylibsqlError } from '../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore } from '../protocol/frame.js'
import { rejection } from './rejection.js'
import { whenAborted } from './shared-signal.js'

/** What was committed together becomes durable together. */
export interface Commit {
  readonly durability: Durability
  /** Last frame that was committed by then; undefined before the first one. */
  readonly frameNo: FrameNo | undefined
}

interface Waiter {
  readonly frameNo: FrameNo
  readonly resolve: (failure?: Promise<never>) => void
}

export class Durability {
  /** Frames before this one are saved. */
  #savedNextFrameNo: FrameNo
  /** In order of frame number. */
  #waiters: Waiter[] = []
  #closed: MylibsqlError | undefined

  constructor(savedNextFrameNo: FrameNo) {
    this.#savedNextFrameNo = savedNextFrameNo
  }

  get savedFrameNo(): FrameNo | undefined {
    return lastFrameNoBefore(this.#savedNextFrameNo)
  }

  isSaved(frameNo: FrameNo | undefined): boolean {
    return frameNo === undefined || frameNo < this.#savedNextFrameNo
  }

  /** Resolves once the frame and all before it are saved; rejects when that can no longer happen. */
  wait(frameNo: FrameNo | undefined): Promise<void> {
    if (frameNo === undefined || this.isSaved(frameNo)) return Promise.resolve()
    if (this.#closed !== undefined) return Promise.reject(unsaved(frameNo, this.#closed))
    return new Promise((resolve) => this.#add({ frameNo, resolve }))
  }

  /**
   * The same until it is given up, which changes nothing about the write. Rejects with the signal's reason and ERR_TIMEOUT
   * too.
   */
  async waitWithin(
    frameNo: FrameNo | undefined,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
  ): Promise<void> {
    signal?.throwIfAborted()
    if (frameNo === undefined || this.isSaved(frameNo) || this.#closed !== undefined)
      return this.wait(frameNo)
    let waiter: Waiter | undefined
    let timer: NodeJS.Timeout | undefined
    let forget: (() => void) | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        waiter = { frameNo, resolve: resolve as Waiter['resolve'] }
        this.#add(waiter)
        if (timeoutMs !== undefined)
          timer = setTimeout(() => resolve(rejection(() => late(frameNo, timeoutMs))), timeoutMs)
        forget = signal && whenAborted(signal, () => reject(signal.reason))
      })
    } finally {
      clearTimeout(timer)
      forget?.()
      this.#waiters = this.#waiters.filter((other) => other !== waiter)
    }
  }

  #add(waiter: Waiter): void {
    let at = this.#waiters.length
    while (at > 0 && this.#waiters[at - 1]!.frameNo > waiter.frameNo) at -= 1
    this.#waiters.splice(at, 0, waiter)
  }

  saved(nextFrameNo: FrameNo): void {
    if (nextFrameNo <= this.#savedNextFrameNo) return
    this.#savedNextFrameNo = nextFrameNo
    const remaining = this.#waiters.findIndex((waiter) => waiter.frameNo >= nextFrameNo)
    const count = remaining === -1 ? this.#waiters.length : remaining
    for (const waiter of this.#waiters.splice(0, count)) waiter.resolve()
  }

  close(cause: MylibsqlError): void {
    if (this.#closed !== undefined) return
    this.#closed = cause
    for (const { frameNo, resolve } of this.#waiters.splice(0))
      resolve(rejection(() => unsaved(frameNo, cause)))
  }
}

function unsaved(frameNo: FrameNo, cause: MylibsqlError): MylibsqlError {
  const message = `Frame ${frameNo} was not saved before the primary ended: ${cause.message}`
  return new MylibsqlError(cause.code, message, { frameNo }, { cause })
}

function late(frameNo: FrameNo, timeoutMs: number): MylibsqlError {
  const message =
    `Frame ${frameNo} was not saved within ${timeoutMs} ms; it may be later. Without a store it is saved by checkpoint(), ` +
    'which somebody has to call'
  return new MylibsqlError('ERR_TIMEOUT', message, { frameNo })
}
