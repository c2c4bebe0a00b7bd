/**
 * Messages of a stream, one after the other, by consumers that the server forgets: those that are there, or those to come
 * too. NATS has a consumer on one server only, so that it may be gone or silent while the stream is alive.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { JetStreamClient, JsMsg } from '@nats-io/jetstream'
import { type NatsConnection, QueuedIteratorImpl } from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'
import { isFinal } from './nats-failure.js'
import { inTime } from './nats-retry.js'
import { within } from './waits.js'

/** Messages that are asked for ahead of the reader. */
const messagesAhead = { headers: 1000, bodies: 16 }
/** Of a consumer that has nothing to say; two that stay out, and another one takes its place. */
const heartbeatMs = 1000
const expiresMs = 10_000
const retryMs = 100
/** So long without a message that is there, and it is asked whether there are more. */
const quietMs = 100

export interface MessageQuery {
  readonly from: number
  /** Only with this subject. */
  readonly subject?: string
  /** Without bodies. */
  readonly isListing: boolean
  /** Between two messages. */
  readonly timeoutMs: number
}

/** Messages that are there, up to the last one. Throws ERR_STORE when the next one does not come in time. */
export async function* messagesOf(
  js: JetStreamClient,
  streamName: string,
  { from, subject, isListing, timeoutMs }: MessageQuery,
): AsyncGenerator<JsMsg, void, undefined> {
  const consumer = await js.consumers.get(streamName, {
    opt_start_seq: Math.max(1, from),
    headers_only: isListing,
    ...(subject === undefined ? {} : { filter_subjects: subject }),
  })
  try {
    if ((await consumer.info(true)).num_pending === 0) return
    const ahead = isListing ? messagesAhead.headers : messagesAhead.bodies
    const messages = await consumer.consume({ max_messages: ahead })
    const iterator = messages[Symbol.asyncIterator]()
    let lastSequence = from - 1
    const isAllRead = async () => {
      const { num_pending, delivered } = await consumer.info()
      return num_pending === 0 && delivered.stream_seq <= lastSequence
    }
    try {
      for (;;) {
        const next = await nextOf(iterator, isAllRead, timeoutMs, `Reading the stream ${streamName}`)
        if (next === undefined) return
        if (next.done === true) throw new MylibsqlError('ERR_STORE', 'The connection was closed')
        lastSequence = next.value.seq
        yield next.value
        if (next.value.info.pending === 0) return
      }
    } finally {
      messages.stop()
    }
  } finally {
    consumer.delete().catch(() => {})
  }
}

/** Undefined: there is none any more. What was still to come may have been removed since, and nobody tells of that. */
async function nextOf(
  iterator: AsyncIterator<JsMsg>,
  isAllRead: () => Promise<boolean>,
  timeoutMs: number,
  what: string,
): Promise<IteratorResult<JsMsg> | undefined> {
  const next = iterator.next()
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const arrived = await within(next, quietMs, () => undefined)
    if (arrived !== undefined) return arrived
    if (await inTime(isAllRead(), timeoutMs, what)) return undefined
    if (performance.now() >= endMs) throw new Error(`${what}: no answer within ${timeoutMs} ms`)
  }
}

/**
 * Goes on behind the last message with another consumer when the one before is silent, or its server gone. Throws when
 * there is none to be had for `timeoutMs`, or no such stream.
 */
export async function* followedMessages(
  connection: NatsConnection,
  js: JetStreamClient,
  streamName: string,
  { from, signal, timeoutMs }: { from: number; signal: AbortSignal; timeoutMs: number },
): AsyncGenerator<JsMsg, void, undefined> {
  let next = from
  let heardAtMs = performance.now()
  const heard = () => {
    heardAtMs = performance.now()
  }
  while (!signal.aborted) {
    let failure: unknown = new MylibsqlError('ERR_STORE', `Nothing more comes from the stream ${streamName}`)
    try {
      for await (const message of fromOneConsumer(connection, js, streamName, next, signal, heard)) {
        next = message.seq + 1
        yield message
      }
    } catch (error) {
      if (isFinal(error)) throw error
      failure = error
    }
    if (signal.aborted) return
    if (performance.now() - heardAtMs > timeoutMs) throw failure
    await delay(retryMs, undefined, { signal }).catch(() => {})
  }
}

/** Ends when it is silent. */
async function* fromOneConsumer(
  connection: NatsConnection,
  js: JetStreamClient,
  streamName: string,
  from: number,
  signal: AbortSignal,
  onMade: () => void,
): AsyncGenerator<JsMsg, void, undefined> {
  const consumer = await js.consumers.get(streamName, { opt_start_seq: from })
  onMade()
  const limits = { max_messages: messagesAhead.bodies, expires: expiresMs, idle_heartbeat: heartbeatMs }
  const messages = await consumer.consume(limits)
  const stop = () => messages.stop()
  const statuses = connection.status()
  stopWhen(statuses, ['disconnect', 'close'], stop)
  stopWhen(messages.status(), ['heartbeats_missed', 'stream_not_found'], stop)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    for await (const message of messages) {
      onMade()
      yield message
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
    if (statuses instanceof QueuedIteratorImpl) statuses.stop()
    consumer.delete().catch(() => {})
  }
}

function stopWhen<T extends { type: string }>(
  statuses: AsyncIterable<T>,
  types: readonly string[],
  stop: () => void,
): void {
  const watch = async () => {
    for await (const { type } of statuses) if (types.includes(type)) stop()
  }
  watch().catch(() => {})
}
