/** The messages of a port, for a consumer that takes them one by one. */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { addCallers } from '../protocol/callers.js'
import { MylibsqlError } from '../protocol/errors.js'
import { SqliteError } from './sqlite-error.js'

/** Messages of a port in order. Waiting ends with an error when the task that posts them ends. */
export class PortInbox<T> {
  readonly #messages: T[] = []
  #wake: (() => void) | undefined
  #isFinished = false
  #error: unknown

  constructor(port: MessagePort, finished: Promise<unknown>) {
    port.on('message', (message: T) => {
      this.#messages.push(message)
      this.#wake?.()
    })
    const end = (error: unknown) => {
      // What was posted before the task ended is here, but not handed out yet: that is another port.
      for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
        this.#messages.push(next.message as T)
      }
      this.#isFinished = true
      this.#error = error
      this.#wake?.()
    }
    finished.then(() => end(undefined), end)
  }

  async take(): Promise<T> {
    while (this.#messages.length === 0) {
      if (this.#isFinished) throw this.#ending()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#messages.shift()!
  }

  #ending(): unknown {
    // It was made where the task ended: there nothing is known of who waits for a message. Other errors may be shared.
    if (this.#error instanceof SqliteError) addCallers(this.#error)
    return this.#error ?? new MylibsqlError('ERR_CLOSED', 'The query has ended')
  }
}
