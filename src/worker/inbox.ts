/**
 * The messages of an actor's data port, those together that were sent together: in order, a turn of the event loop for
 * each batch, polled for when that was asked for.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { spinTurnMaxMs, spinUs } from '../protocol/limits.js'
import type { OpenRequest, ToActor } from '../protocol/wire.js'
import { PollPolicy } from './poll-policy.js'

type Batch = readonly ToActor[]

export class Inbox {
  readonly #port: MessagePort
  readonly #deal: (batch: Batch) => void
  /** A batch was dealt with in this turn of the event loop. */
  #isTurnTaken = false
  /** Batches that came later in the same turn. */
  #waiting: Batch[] = []
  #doorbell: Int32Array = new Int32Array(1)
  #heard = 0
  #policy = new PollPolicy('never')
  /** When the last batch had been dealt with. */
  #idleSinceMs = 0

  constructor(port: MessagePort, deal: (batch: Batch) => void) {
    this.#port = port
    this.#deal = deal
  }

  /** Whatever was posted to the port waits there until now. */
  listen({ doorbell, polling }: Pick<OpenRequest, 'doorbell' | 'polling'>): void {
    this.#doorbell = new Int32Array(doorbell)
    this.#policy = new PollPolicy(polling)
    this.#port.on('message', (batch: Batch) => this.#takeTurn(batch))
  }

  /** Two ports keep no order between them: what was posted to this one before a call on the other comes before it. */
  receiveWaiting(): void {
    // First all are fetched, then dealt with: each answer brings the next group.
    for (let next = this.#receive(); next !== undefined; next = this.#receive()) this.#waiting.push(next)
    this.#dealWithWaiting()
  }

  /**
   * One batch in each turn of the event loop, at once; what else comes waits for the next turn. A port hands over
   * messages as long as there are any (up to a thousand) before anything else has its turn, and under load another
   * group is always there by the time one is answered: calls, and folds and copies that have ended, would have to
   * wait for seconds.
   */
  #takeTurn(batch: Batch): void {
    if (this.#isTurnTaken) {
      this.#waiting.push(batch)
      return
    }
    this.#isTurnTaken = true
    setImmediate(() => {
      this.#isTurnTaken = false
      this.#dealWithWaiting()
    })
    const afterMs = performance.now() - this.#idleSinceMs
    this.#deal(batch)
    this.#idleSinceMs = performance.now()
    this.#policy.woken(afterMs)
    if (this.#policy.polls) this.#policy.polled(this.#spin())
  }

  /** Whether more has come than what is dealt with now. */
  hasMore(): boolean {
    const next = this.#waiting.length === 0 ? this.#receive() : undefined
    if (next !== undefined) this.#waiting.push(next)
    return this.#waiting.length > 0
  }

  #dealWithWaiting(): void {
    for (const batch of this.#waiting.splice(0)) this.#deal(batch)
  }

  #receive(): Batch | undefined {
    return receiveMessageOnPort(this.#port)?.message as Batch | undefined
  }

  /** Polls, and deals with what comes. The bell rings behind each message, so it is there by then. True: one came. */
  #spin(): boolean {
    const startMs = this.#idleSinceMs
    let nowMs = startMs
    let hasCome = false
    while (nowMs - this.#idleSinceMs < spinUs / 1000 && nowMs - startMs < spinTurnMaxMs) {
      const rung = Atomics.load(this.#doorbell, 0)
      const next = this.#waiting.shift() ?? (rung === this.#heard ? undefined : this.#receive())
      this.#heard = rung
      if (next !== undefined) this.#deal(next)
      nowMs = performance.now()
      if (next === undefined) continue
      hasCome = true
      this.#idleSinceMs = nowMs
    }
    return hasCome
  }
}
