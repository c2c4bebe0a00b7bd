/** The messages of an actor's data port: in order, a turn of the event loop for each, polled for when that was asked for. */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { spinTurnMaxMs, spinUs } from '../protocol/limits.js'
import type { ToActor } from '../protocol/wire.js'

export class Inbox {
  readonly #port: MessagePort
  readonly #deal: (message: ToActor) => void
  /** A message was dealt with in this turn of the event loop. */
  #isTurnTaken = false
  /** Messages that came later in the same turn. */
  #waiting: ToActor[] = []
  #doorbell: Int32Array | undefined
  #heard = 0

  constructor(port: MessagePort, deal: (message: ToActor) => void) {
    this.#port = port
    this.#deal = deal
  }

  /** Whatever was posted to the port waits there until now. With a doorbell the thread polls before it sleeps. */
  listen(doorbell: SharedArrayBuffer | undefined): void {
    if (doorbell !== undefined) this.#doorbell = new Int32Array(doorbell)
    this.#port.on('message', (message: ToActor) => this.#takeTurn(message))
  }

  /** Two ports keep no order between them: what was posted to this one before a call on the other comes before it. */
  receiveWaiting(): void {
    // First all are fetched, then dealt with: each answer brings the next group.
    for (let next = receiveMessageOnPort(this.#port); next; next = receiveMessageOnPort(this.#port)) {
      this.#waiting.push(next.message as ToActor)
    }
    this.#dealWithWaiting()
  }

  /**
   * One message in each turn of the event loop, at once; what else comes waits for the next turn. A port hands over
   * messages as long as there are any (up to a thousand) before anything else has its turn, and under load another
   * group is always there by the time one is answered: calls, and folds and copies that have ended, would have to
   * wait for seconds.
   */
  #takeTurn(message: ToActor): void {
    if (this.#isTurnTaken) {
      this.#waiting.push(message)
      return
    }
    this.#isTurnTaken = true
    setImmediate(() => {
      this.#isTurnTaken = false
      this.#dealWithWaiting()
    })
    this.#deal(message)
    if (this.#doorbell !== undefined) this.#spin(this.#doorbell)
  }

  #dealWithWaiting(): void {
    for (const message of this.#waiting.splice(0)) this.#deal(message)
  }

  /** To be woken costs a thread tens of microseconds. The bell rings behind each message, so it is there by then. */
  #spin(doorbell: Int32Array): void {
    const startMs = performance.now()
    let nowMs = startMs
    let idleSinceMs = startMs
    while (nowMs - idleSinceMs < spinUs / 1000 && nowMs - startMs < spinTurnMaxMs) {
      const rung = Atomics.load(doorbell, 0)
      const next = rung === this.#heard ? undefined : receiveMessageOnPort(this.#port)
      this.#heard = rung
      if (next !== undefined) this.#deal(next.message as ToActor)
      nowMs = performance.now()
      if (next !== undefined) idleSinceMs = nowMs
    }
  }
}
