/**
 * The main thread's end of one actor thread. Every call it makes settles: with the actor's answer, or with
 * ERR_WORKER_EXITED when the thread ends first.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import Database from 'better-sqlite3'
import * as Comlink from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { fromWireError, MylibsqlError, type WireError } from '../protocol/errors.js'
import type { ActorStart, Control, FromActor, Invoke, Outcome, ToActor } from '../protocol/wire.js'
import { type DatabaseThread, DatabaseThreads } from './database-threads.js'

const actorThreads = new DatabaseThreads('actor.js', 1)

export class ActorThread {
  readonly #thread: DatabaseThread
  readonly #task: Promise<Outcome<undefined>>
  readonly #invoke: Invoke & Comlink.ProxyMethods
  readonly #control: MessagePort
  readonly #data: MessagePort
  /** Rung with each message, for an actor that polls instead of sleeping. */
  readonly doorbell = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  readonly #doorbell = new Int32Array(this.doorbell)
  readonly #pending = new Set<(error: unknown) => void>()
  #waiting: ToActor[] = []
  #receive: (message: FromActor) => void = () => {}
  #onEnd: (error: MylibsqlError) => void = () => {}
  /** The thread is another one's, or no more. */
  #left: Promise<void> | undefined
  /** Why nothing can be sent any more. */
  #ended: MylibsqlError | undefined

  /** `runsForeignCode`: what that leaves in the thread is not to be met by another database, which gets none of it. */
  constructor({ runsForeignCode }: { readonly runsForeignCode: boolean }) {
    const onError = (cause: unknown) => this.#fail(cause)
    const thread = runsForeignCode ? actorThreads.start(onError) : actorThreads.take(onError)
    const control = new MessageChannel()
    const data = new MessageChannel()
    this.#control = control.port1
    this.#data = data.port1
    this.#invoke = Comlink.wrap<Invoke>(nodeEndpoint(control.port1)) as unknown as Invoke &
      Comlink.ProxyMethods
    data.port1.on('message', (message: FromActor) => this.#receive(message))
    const start: ActorStart = { control: control.port2, data: data.port2 }
    this.#thread = thread
    const isAnswered = new Promise<void>((resolve) => control.port1.once('close', () => resolve()))
    this.#task = thread.run<Outcome<undefined>>(start, [control.port2, data.port2]).then(
      async (outcome) => {
        // The actor has closed its port: what it answered before that comes first.
        await isAnswered
        const isKept = outcome.ok && !runsForeignCode
        this.#end(closed(), () => (isKept ? actorThreads.giveBack(thread) : thread.end()))
        return outcome
      },
      (cause: unknown) => {
        this.#fail(cause)
        throw this.#ended
      },
    )
    // Who closes it hears of it.
    this.#task.catch(() => {})
  }

  /** Who takes the messages of the data port, which are of his role, and learns of the thread's end: changes with the role. */
  attach<M extends FromActor>(receive: (message: M) => void, onEnd: (error: MylibsqlError) => void): void {
    this.#receive = receive as (message: FromActor) => void
    this.#onEnd = onEnd
    if (this.#ended !== undefined) onEnd(this.#ended)
  }

  /** Messages that travel together; those of `sendSoon` go first. */
  send(...messages: readonly ToActor[]): void {
    this.#post([...this.#waiting.splice(0), ...messages])
  }

  /** In this turn of the event loop, with what comes next: by itself it would wake the thread for little. */
  sendSoon(message: ToActor): void {
    if (this.#waiting.push(message) === 1) setImmediate(() => this.#sendWaiting())
  }

  /** Calls a method of the actor's control plane. Throws what it throws, or ERR_WORKER_EXITED. */
  call<K extends keyof Control>(
    method: K,
    ...args: Parameters<Control[K]>
  ): Promise<Awaited<ReturnType<Control[K]>>> {
    return this.callWith([], method, ...args)
  }

  /** The same; these buffers and ports, which are in the arguments, are the actor's from now on. */
  async callWith<K extends keyof Control>(
    transferList: (ArrayBuffer | MessagePort)[],
    method: K,
    ...args: Parameters<Control[K]>
  ): Promise<Awaited<ReturnType<Control[K]>>> {
    if (this.#ended !== undefined) throw this.#ended
    this.#sendWaiting()
    if (transferList.length > 0) Comlink.transfer(args, transferList)
    const outcome = await this.#settling(this.#invoke(method, args))
    // What the actor posted before it answered comes first: the frames of a write are there when its Ack is.
    this.#receiveWaiting()
    if (outcome.ok) return outcome.value
    throw reviveError(outcome.error)
  }

  /** Has the actor close its database, and end. Throws what went wrong there, ERR_CLOSED, ERR_WORKER_EXITED. */
  async close(): Promise<void> {
    // How it went is told by the end of the task: the answer to this call, on another port, may come behind that.
    this.call('close').catch(() => {})
    const outcome = await this.#task
    if (!outcome.ok) throw reviveError(outcome.error)
  }

  /** Ends the thread, whatever it is doing, unless its actor has ended. */
  async terminate(): Promise<void> {
    this.#end(closed(), () => this.#thread.end())
    await this.#left
  }

  #sendWaiting(): void {
    if (this.#waiting.length > 0) this.#post(this.#waiting.splice(0))
  }

  #post(messages: readonly ToActor[]): void {
    if (this.#ended !== undefined) return
    this.#data.postMessage(messages)
    Atomics.add(this.#doorbell, 0, 1)
  }

  #receiveWaiting(): void {
    if (this.#ended !== undefined) return
    for (let next = receiveMessageOnPort(this.#data); next; next = receiveMessageOnPort(this.#data)) {
      this.#receive(next.message as FromActor)
    }
  }

  #fail(cause: unknown): void {
    this.#end(exited(cause), () => this.#thread.end())
  }

  #end(error: MylibsqlError, leave: () => Promise<void>): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    // Comlink would keep those who wait for an answer for ever.
    this.#invoke[Comlink.releaseProxy]()
    this.#control.close()
    this.#data.close()
    for (const reject of this.#pending) reject(error)
    this.#pending.clear()
    this.#onEnd(error)
    this.#left = leave()
  }

  #settling<T>(answer: Promise<T>): Promise<T> {
    const ended = this.#ended
    if (ended !== undefined) return Promise.reject(ended)
    return new Promise((resolve, reject) => {
      this.#pending.add(reject)
      answer.then(resolve, reject).finally(() => this.#pending.delete(reject))
    })
  }
}

export function reviveError(error: WireError): unknown {
  return fromWireError(error, Database.SqliteError)
}

function closed(): MylibsqlError {
  return new MylibsqlError('ERR_CLOSED', 'The database is closed')
}

function exited(cause: unknown): MylibsqlError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_WORKER_EXITED', `The worker thread stopped: ${reason}`, {}, { cause })
}
