/**
 * The main thread's end of one actor thread. Every call it makes settles: with the actor's answer, or with
 * ERR_WORKER_EXITED when the thread ends first.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import Database from 'better-sqlite3'
import * as Comlink from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { Piscina } from 'piscina'
import { fromWireError, MylibsqlError, type WireError } from '../protocol/errors.js'
import type { ActorStart, Control, FromActor, Invoke, ToActor } from '../protocol/wire.js'

export class ActorThread {
  readonly #pool: Piscina
  readonly #invoke: Invoke
  readonly #control: MessagePort
  readonly #data: MessagePort
  /** Rung with each message, for an actor that polls instead of sleeping. */
  readonly doorbell = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  readonly #doorbell = new Int32Array(this.doorbell)
  readonly #pending = new Set<(error: unknown) => void>()
  #waiting: ToActor[] = []
  #receive: (message: FromActor) => void = () => {}
  #onExit: (error: MylibsqlError) => void = () => {}
  #destroyed: Promise<void> | undefined
  /** Why nothing can be sent any more. */
  #ended: MylibsqlError | undefined

  constructor() {
    const control = new MessageChannel()
    const data = new MessageChannel()
    this.#control = control.port1
    this.#data = data.port1
    this.#pool = new Piscina({
      filename: new URL('../worker/actor.js', import.meta.url).href,
      // One task that never ends. With atomics the thread would sleep in Atomics.wait, deaf to its ports;
      // with an idle timeout or a queue an actor could vanish or wait unseen.
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      maxQueue: 0,
      atomics: 'disabled',
      recordTiming: false,
    })
    this.#invoke = Comlink.wrap<Invoke>(nodeEndpoint(control.port1)) as unknown as Invoke
    data.port1.on('message', (message: FromActor) => this.#receive(message))
    const start: ActorStart = { control: control.port2, data: data.port2 }
    this.#pool.on('error', (cause) => this.#end(exited(cause)))
    this.#pool
      .run(start, { transferList: [control.port2, data.port2] })
      .then(() => this.#end(new MylibsqlError('ERR_CLOSED', 'The database is closed')))
      .catch((cause: unknown) => this.#end(exited(cause)))
  }

  /** Who takes the messages of the data port, which are of his role, and learns of the thread's end: changes with the role. */
  attach<M extends FromActor>(receive: (message: M) => void, onExit: (error: MylibsqlError) => void): void {
    this.#receive = receive as (message: FromActor) => void
    this.#onExit = onExit
    if (this.#ended !== undefined) onExit(this.#ended)
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

  /** The same; these buffers, which are in the arguments, are the actor's from now on. */
  async callWith<K extends keyof Control>(
    buffers: ArrayBuffer[],
    method: K,
    ...args: Parameters<Control[K]>
  ): Promise<Awaited<ReturnType<Control[K]>>> {
    this.#sendWaiting()
    if (buffers.length > 0) Comlink.transfer(args, buffers)
    const outcome = await this.#settling(this.#invoke(method, args))
    // What the actor posted before it answered comes first: the frames of a write are there when its Ack is.
    this.#receiveWaiting()
    if (outcome.ok) return outcome.value
    throw reviveError(outcome.error)
  }

  /** Ends the thread, whatever it is doing. */
  async terminate(): Promise<void> {
    this.#end(new MylibsqlError('ERR_CLOSED', 'The database is closed'))
    await this.#destroyed
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

  #end(error: MylibsqlError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#control.close()
    this.#data.close()
    for (const reject of this.#pending) reject(error)
    this.#pending.clear()
    this.#onExit(error)
    // Only once: a second call would end at once and let Piscina start a thread in place of the one that exits.
    this.#destroyed = this.#pool.destroy()
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

function exited(cause: unknown): MylibsqlError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_WORKER_EXITED', `The worker thread stopped: ${reason}`, {}, { cause })
}
