/** The live stream of committed frames, fanned out to every subscriber on the main thread. */
import type { Subscriber } from 'rxjs'
// The class alone: with the rest of rxjs, of which nothing is used here, it takes as long to load as all of this library.
import { Observable } from 'rxjs/internal/Observable'
import type { FrameBatch, FrameNo } from '../protocol/frame.js'
import { readFramesMessage } from '../protocol/frames-message.js'
import { creditShare } from '../protocol/limits.js'
import type { ActorThread } from './actor-thread.js'
import { checkFrameNo, checkOptions, oneOf, withDefault } from './arguments.js'
import type { RequestQueue } from './request-queue.js'

/** A batch, and how many subscribers have yet to give it back. */
interface Delivery {
  readonly feedNo: number
  readonly batch: FrameBatch
  holderCount: number
}

export interface FramesOptions {
  /**
   * When a batch no longer counts against the limit that holds writers back: once it was `taken` (default), or once
   * it was `acknowledged` with ackReplicated, for consumers that keep batches in a pipeline of their own.
   */
  readonly credit?: 'taken' | 'acknowledged' | undefined
}

/** One for each primary: all of its subscribers share one copy of the frames. */
export class FrameFeed {
  readonly #thread: Pick<ActorThread, 'send'>
  readonly #requests: Pick<RequestQueue, 'flush'>
  readonly #saved: (frameNo: FrameNo) => void
  /** Another array for each change: those that come or go while a batch is delivered make no difference to that. */
  #subscribers: readonly Frames[] = []
  /** Frames that are still on their way when the last subscriber leaves are not the next one's. */
  #feedNo = 0
  readonly #creditBytes: number
  /** Bytes that were taken, and the actor does not know it yet. */
  #takenBytes = 0

  /** `saved` is told the last frame that a subscriber has acknowledged. */
  constructor(
    thread: Pick<ActorThread, 'send'>,
    requests: Pick<RequestQueue, 'flush'>,
    saved: (frameNo: FrameNo) => void,
    subscriberBytesMax: number,
  ) {
    this.#thread = thread
    this.#requests = requests
    this.#saved = saved
    this.#creditBytes = subscriberBytesMax * creditShare
  }

  /** Throws TypeError for options that there are not. */
  capture(options: FramesOptions | undefined): Frames {
    const known = { credit: withDefault(oneOf('taken', 'acknowledged'), 'taken') }
    const { credit } = checkOptions(options, known, 'captureFrames')
    const frames = new Frames(
      credit,
      (delivery) => this.#release(delivery),
      this.#saved,
      () => this.#leave(frames),
    )
    this.#subscribers = [...this.#subscribers, frames]
    if (this.#subscribers.length === 1) {
      this.#feedNo += 1
      this.#takenBytes = 0
      this.#feedFrom(this.#feedNo)
    }
    return frames
  }

  receive(message: ArrayBuffer): void {
    const { feedNo, batch } = readFramesMessage(message)
    if (feedNo !== this.#feedNo) return
    const delivery: Delivery = { feedNo, batch, holderCount: this.#subscribers.length }
    for (const frames of this.#subscribers) frames.deliver(delivery)
  }

  close(error: unknown): void {
    for (const frames of this.#subscribers) frames.end(error)
  }

  #release(delivery: Delivery): void {
    delivery.holderCount -= 1
    if (delivery.holderCount > 0 || delivery.feedNo !== this.#feedNo) return
    this.#takenBytes += delivery.batch.byteLength
    if (this.#takenBytes < this.#creditBytes) return
    this.#thread.send({ kind: 'credit', byteCount: this.#takenBytes })
    this.#takenBytes = 0
  }

  #feedFrom(feedNo: number | undefined): void {
    // The stream begins, and ends, behind the writes that were asked for before.
    this.#requests.flush({ kind: 'feed', feedNo })
  }

  #leave(frames: Frames): void {
    this.#subscribers = this.#subscribers.filter((other) => other !== frames)
    if (this.#subscribers.length === 0) this.#feedFrom(undefined)
  }
}

/**
 * Live stream of the frames that a primary commits, in batches of whole transactions, for those who need finer grain
 * than checkpoints. Made by `primary.captureFrames()`; begins with the first commit after that.
 *
 * Take batches one by one (`next`, `tryNext`, `for await`) or be called with them (`subscribe`, it is an RxJS
 * Observable); not both at a time. Batches that are not taken hold the primary's writers back at
 * `subscriberBytesMax`, so close what you no longer read.
 *
 * @example
 * const frames = primary.captureFrames()
 * for await (const batch of frames) {
 *   await replica.replicateFrames(batch)
 *   frames.ackReplicated(batch.nextFrameNo - 1) // writes up to here are durable now
 * }
 */
export class Frames extends Observable<FrameBatch> {
  readonly #credit: 'taken' | 'acknowledged'
  readonly #release: (delivery: Delivery) => void
  readonly #saved: (frameNo: FrameNo) => void
  readonly #leave: () => void
  /** Another array for each change, likewise. */
  #observers: readonly Subscriber<FrameBatch>[] = []
  #waiting: Delivery[] = []
  /** Taken, and not acknowledged: only with credit 'acknowledged'. */
  #unacknowledged: Delivery[] = []
  #pulls: { resolve: (batch: FrameBatch | undefined) => void; reject: (error: unknown) => void }[] = []
  #lastFrameNo: FrameNo | undefined
  #isEnded = false
  #error: unknown

  /** @internal */
  constructor(
    credit: 'taken' | 'acknowledged',
    release: (delivery: Delivery) => void,
    saved: (frameNo: FrameNo) => void,
    leave: () => void,
  ) {
    super((subscriber) => this.#observe(subscriber))
    this.#credit = credit
    this.#release = release
    this.#saved = saved
    this.#leave = leave
  }

  /**
   * The next batch, as soon as there is one; undefined once the stream is closed and empty. Rejects with
   * ERR_WORKER_EXITED when the primary's thread ended.
   */
  async next(): Promise<FrameBatch | undefined> {
    this.#refuseWhileObserved()
    const delivery = this.#waiting.shift()
    if (delivery !== undefined) return this.#take(delivery)
    if (this.#isEnded) {
      if (this.#error !== undefined) throw this.#error
      return undefined
    }
    return new Promise((resolve, reject) => this.#pulls.push({ resolve, reject }))
  }

  /** The next batch if one waits, else undefined. */
  tryNext(): FrameBatch | undefined {
    this.#refuseWhileObserved()
    const delivery = this.#waiting.shift()
    return delivery === undefined ? undefined : this.#take(delivery)
  }

  /**
   * Declares that all frames up to this one are safe elsewhere: writes up to it become durable. It has no such effect
   * on a primary with a store, where only what is in the store is durable. Throws RangeError for a frame that this
   * stream has not delivered.
   */
  ackReplicated(frameNo: FrameNo): void {
    checkFrameNo(frameNo, 'frameNo')
    if (this.#lastFrameNo === undefined || frameNo > this.#lastFrameNo) {
      const last =
        this.#lastFrameNo === undefined
          ? 'none was delivered yet'
          : `the last one delivered is ${this.#lastFrameNo}`
      throw new RangeError(`Frame ${frameNo} cannot be acknowledged: ${last}`)
    }
    while (
      this.#unacknowledged[0] !== undefined &&
      this.#unacknowledged[0].batch.nextFrameNo <= frameNo + 1
    ) {
      this.#release(this.#unacknowledged.shift()!)
    }
    this.#saved(frameNo)
  }

  /** Ends the stream: `next()` gives undefined, observers complete. What was not taken is dropped. */
  close(): void {
    this.end(undefined)
  }

  /** Takes batches until the stream is closed. Leaving the loop does not close it. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<FrameBatch> {
    for (let batch = await this.next(); batch !== undefined; batch = await this.next()) yield batch
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal */
  deliver(delivery: Delivery): void {
    // Closed by another subscriber of the same batch, which had its turn before.
    if (this.#isEnded) {
      this.#release(delivery)
      return
    }
    if (this.#observers.length > 0) {
      const batch = this.#take(delivery)
      for (const observer of this.#observers) observer.next(batch)
      return
    }
    const pull = this.#pulls.shift()
    if (pull === undefined) this.#waiting.push(delivery)
    else pull.resolve(this.#take(delivery))
  }

  /** @internal */
  end(error: unknown): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#error = error
    for (const delivery of [...this.#waiting.splice(0), ...this.#unacknowledged.splice(0)])
      this.#release(delivery)
    for (const pull of this.#pulls.splice(0)) {
      if (error === undefined) pull.resolve(undefined)
      else pull.reject(error)
    }
    const observers = this.#observers
    this.#observers = []
    for (const observer of observers) {
      if (error === undefined) observer.complete()
      else observer.error(error)
    }
    this.#leave()
  }

  #observe(subscriber: Subscriber<FrameBatch>): () => void {
    if (this.#isEnded) {
      if (this.#error === undefined) subscriber.complete()
      else subscriber.error(this.#error)
      return () => {}
    }
    if (this.#pulls.length > 0) {
      subscriber.error(new TypeError('These Frames are taken by next(): capture others to observe them'))
      return () => {}
    }
    this.#observers = [...this.#observers, subscriber]
    // One that has enough (take, first) leaves the rest to the next one.
    while (this.#waiting.length > 0 && !subscriber.closed) subscriber.next(this.#take(this.#waiting.shift()!))
    return () => {
      this.#observers = this.#observers.filter((other) => other !== subscriber)
    }
  }

  #take(delivery: Delivery): FrameBatch {
    this.#lastFrameNo = delivery.batch.nextFrameNo - 1
    if (this.#credit === 'acknowledged' && !this.#isEnded) this.#unacknowledged.push(delivery)
    else this.#release(delivery)
    return delivery.batch
  }

  #refuseWhileObserved(): void {
    if (this.#observers.length === 0) return
    throw new TypeError(
      'These Frames are delivered to subscribe(): unsubscribe, or capture others, to take batches one by one',
    )
  }
}
