/**
 * One JetStream stream, as far as a store needs it: opened and checked, written to behind a known last message, read by
 * sequence number. Answers of its leader only, except for reads of single messages, which never change: those may come
 * from any server that has them.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream'
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'
import { followedMessages, messagesOf } from './nats-consumer.js'
import { isMissing, isOvertaken, isStreamMissing } from './nats-failure.js'
import { encodeMessage, type StreamMessage, subjectsOf } from './nats-message.js'
import { madeByOthers, requestMsMax } from './nats-retry.js'

export interface StreamRequest {
  readonly name: string
  /** Undefined: as it is; 1 when it has to be made. */
  readonly replicas: number | undefined
  readonly create: boolean
}

export interface StreamExtent {
  readonly firstSequence: number
  readonly lastSequence: number
  readonly messageCount: number
}

/** A message as the server keeps it. */
export interface KeptMessage {
  readonly headers: MsgHdrs | undefined
  readonly data: Uint8Array
}

const description = 'mylibsql store, format 1'

/**
 * Of several who make a stream at once each may be told another moment at which it was made, and only one of them stays: a
 * stream that is as young as that is looked at once more, after a while, and is the one that is there when it is first used.
 */
const settling = { ageMs: 1_000, pauseMs: 100 }

export class NatsStream {
  readonly name: string
  readonly subjects: ReturnType<typeof subjectsOf>
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly #connection: NatsConnection
  readonly #requestMs: number
  readonly #timeoutMs: number
  /** A stream of the same name that was made later is another one. */
  #created: string
  /** Nothing in it is known yet, and it was being made when it was opened: which one stays is seen then. */
  #mayBeAnother: boolean

  private constructor(
    connection: NatsConnection,
    name: string,
    js: JetStreamClient,
    jsm: JetStreamManager,
    timeoutMs: number,
    { created, isSettled }: { readonly created: string; readonly isSettled: boolean },
  ) {
    this.#connection = connection
    this.name = name
    this.subjects = subjectsOf(name)
    this.js = js
    this.jsm = jsm
    this.#timeoutMs = timeoutMs
    this.#requestMs = Math.min(requestMsMax, timeoutMs)
    this.#created = created
    this.#mayBeAnother = !isSettled
  }

  /** Throws ERR_NOT_FOUND, ERR_STORE when it is not ours, or not as it was asked for; what NATS says. */
  static async open(
    connection: NatsConnection,
    request: StreamRequest,
    timeoutMs: number,
  ): Promise<NatsStream> {
    const { name, replicas, create } = request
    const timeout = Math.min(requestMsMax, timeoutMs)
    const jsm = await jetstreamManager(connection, { timeout })
    const found = await jsm.streams.info(name).catch((error: unknown) => {
      if (!isStreamMissing(error)) throw error
      if (!create) throw notFound(`There is no stream ${name}`)
      return undefined
    })
    const info =
      found ??
      (await jsm.streams
        .add(newStream(name, replicas ?? 1))
        .catch((error: unknown) => madeByOthers(error, () => jsm.streams.info(name))))
    checkConfig(info.config, request)
    const createdMs = Date.parse(info.created)
    // While it is being made, that is the year 1.
    const isSettled = found !== undefined && createdMs > 0 && Date.now() - createdMs > settling.ageMs
    const settled = isSettled ? info : await delay(settling.pauseMs).then(() => jsm.streams.info(name))
    return new NatsStream(connection, name, jetstream(connection, { timeout }), jsm, timeoutMs, {
      created: settled.created,
      isSettled,
    })
  }

  /** Throws ERR_STORE when the stream is another one than it was. */
  async extent(): Promise<StreamExtent> {
    const { state, created } = await this.jsm.streams.info(this.name)
    if (created !== this.#created && !this.#mayBeAnother) throw this.changed('it was deleted and made anew')
    this.#created = created
    if (state.last_seq > 0) this.#mayBeAnother = false
    return {
      firstSequence: state.first_seq,
      lastSequence: state.last_seq,
      messageCount: state.messages,
    }
  }

  /** For a stream that is not what it was. */
  changed(how: string): MylibsqlError {
    return new MylibsqlError('ERR_STORE', `The stream ${this.name} is not the one that was opened: ${how}`)
  }

  /**
   * Stores a message behind the one that is expected to be the last; without, behind whatever is there. Returns its
   * sequence number; undefined: another message is the last one.
   */
  async publish(
    message: StreamMessage,
    body: Uint8Array,
    expectedLastSequence: number | undefined,
    timeoutMs: number,
  ): Promise<number | undefined> {
    const subject = message.kind === 'epoch' ? this.subjects.epoch : this.subjects.log
    const expect = {
      streamName: this.name,
      ...(expectedLastSequence === undefined ? {} : { lastSequence: expectedLastSequence }),
    }
    try {
      const options = { headers: encodeMessage(message), expect, timeout: timeoutMs }
      const { seq } = await this.js.publish(subject, body, options)
      this.#mayBeAnother = false
      return seq
    } catch (error) {
      if (isOvertaken(error)) return undefined
      throw error
    }
  }

  /** Of those with this subject, the last one. The leader is asked. */
  async last(subject: string): Promise<KeptMessage | undefined> {
    const message = await this.jsm.streams.getMessage(this.name, { last_by_subj: subject })
    return message === null ? undefined : { headers: message.header, data: message.data }
  }

  /** Undefined: it is not there. */
  async message(sequence: number): Promise<KeptMessage | undefined> {
    const query = { seq: sequence }
    // A server that is behind may not have it yet: then the leader is asked.
    const message =
      (await this.jsm.direct.getMessage(this.name, query).catch(() => null)) ??
      (await this.jsm.streams.getMessage(this.name, query))
    return message === null ? undefined : { headers: message.header, data: message.data }
  }

  /** The number of the next message that is there, from `sequence` on. The leader is asked. */
  async next(sequence: number): Promise<number | undefined> {
    const query = { seq: sequence, next_by_subj: this.subjects.all }
    return (await this.jsm.streams.getMessage(this.name, query))?.seq
  }

  /** False: it was not there. */
  async delete(sequence: number): Promise<boolean> {
    try {
      return await this.jsm.streams.deleteMessage(this.name, sequence, false)
    } catch (error) {
      if (isMissing(error) || /no message found|not found/i.test(String(error))) return false
      throw error
    }
  }

  /** Removes all messages with this subject that come before `sequence`; says how many they were. */
  async purge(subject: string, sequence: number): Promise<number> {
    return (await this.jsm.streams.purge(this.name, { filter: subject, seq: sequence })).purged
  }

  /** Messages that are there from `sequence` on, without their bodies, as far as the server asked has them. */
  listed(sequence: number): AsyncGenerator<JsMsg, void, undefined> {
    return messagesOf(this.js, this.name, { from: sequence, isListing: true, timeoutMs: this.#requestMs })
  }

  /** Messages that are there from `sequence` on and those to come, until the signal aborts. */
  followed(sequence: number, signal: AbortSignal): AsyncGenerator<JsMsg, void, undefined> {
    return followedMessages(this.#connection, this.js, this.name, {
      from: sequence,
      signal,
      timeoutMs: this.#timeoutMs,
    })
  }
}

export function notFound(what: string): MylibsqlError {
  return new MylibsqlError(
    'ERR_NOT_FOUND',
    `${what}. It is made when the store is opened with { create: true }`,
  )
}

function newStream(name: string, replicas: number): Partial<StreamConfig> & { name: string } {
  return {
    name,
    description,
    subjects: [subjectsOf(name).all],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    // A stream that is full refuses; it never drops the beginning of the history.
    discard: DiscardPolicy.New,
    num_replicas: replicas,
    allow_direct: true,
  }
}

/** Throws ERR_STORE: of another program, or one that could lose messages by itself. */
function checkConfig(config: StreamConfig, { name, replicas }: StreamRequest): void {
  const refuse = (reason: string) => {
    throw new MylibsqlError('ERR_STORE', `The stream ${name} ${reason}. Nothing was changed`)
  }
  const isOurs = config.subjects.length === 1 && config.subjects[0] === subjectsOf(name).all
  if (!isOurs || config.description !== description) {
    refuse(`is of another program: its subjects are ${config.subjects.join(', ') || 'none'}`)
  }
  if (
    config.discard !== DiscardPolicy.New ||
    config.max_age !== 0 ||
    config.retention !== RetentionPolicy.Limits
  ) {
    refuse('is set up to drop messages by itself (retention, discard or max_age)')
  }
  if (replicas !== undefined && config.num_replicas !== replicas) {
    refuse(`has replicas: ${config.num_replicas}, and ${replicas} were asked for`)
  }
}
