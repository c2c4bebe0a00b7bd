/**
 * Epochs and logs of a store, in its stream. Whoever writes a message says which one he knows to be the last, and the
 * server refuses it when another one came in between. The writer then reads what came and decides anew:
 *
 *     the same log, or claim, is there    it is his own: the answer to an earlier attempt was lost
 *     another log begins at that frame    ERR_FENCED
 *     a newer epoch was claimed           ERR_FENCED
 *     anything else                       tries again, behind what he has read
 *
 * So a log is in the stream only if, at its place, its epoch was the newest one and nothing began at its start frame:
 * that is decided by the one sequence of the stream, not by clocks, nor by asking first and writing then.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { LogFile } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import type { Log } from '../log.js'
import { OperationGate } from '../operation-gate.js'
import { checkReplaces } from './log-positions.js'
import { type IndexedLog, messagesOfLog, StreamIndex } from './nats-index.js'
import { partsOf, readLog } from './nats-log-bytes.js'
import {
  decodeMessage,
  factsOfLog,
  isSameLog,
  type LogMessage,
  rangesOf,
  type SequenceRange,
  type StreamMessage,
  sequencesOf,
} from './nats-message.js'
import { type Attempt, type Outages, retried } from './nats-retry.js'
import type { NatsStream } from './nats-stream.js'
import { PartUploads } from './nats-uploads.js'
import type { CallLimits, StoredLog } from './store.js'

export interface NatsLogsOptions {
  readonly url: string
  readonly stream: NatsStream
  readonly outages: Outages
  readonly compression: Compression | 'none'
  /** Bytes of a message's body at most. */
  readonly partBytesMax: number
  readonly timeoutMs: number
}

const laggingMs = 10
/** Messages of others that may be removed while the stream is read before the reader starts over once more. */
const rereadsMax = 3
const deletesAtOnce = 16

export class NatsLogs {
  readonly #url: string
  readonly #stream: NatsStream
  readonly #outages: Outages
  readonly #compression: Compression | 'none'
  readonly #partBytesMax: number
  readonly #timeoutMs: number
  /** Writers, and readers of the index, one after the other. */
  readonly #gate = new OperationGate(this, 'The store')
  #index = new StreamIndex()
  /** There may be messages that the index does not have. */
  #isBehind = true

  constructor({ url, stream, outages, compression, partBytesMax, timeoutMs }: NatsLogsOptions) {
    this.#url = url
    this.#stream = stream
    this.#outages = outages
    this.#compression = compression
    this.#partBytesMax = partBytesMax
    this.#timeoutMs = timeoutMs
  }

  get gate(): OperationGate {
    return this.#gate
  }

  /** What is known of a log that was listed. */
  messageOf({ id, startFrameNo }: StoredLog): LogMessage | undefined {
    const there = this.#index.logAt(startFrameNo)
    return there?.stored.id === id ? there.message : undefined
  }

  claimEpoch(holder: string, limits: CallLimits | undefined): Promise<number> {
    const token = randomUUID()
    const body = new TextEncoder().encode(holder)
    return this.#gate.exclusive(async () => {
      const epoch = await this.settled('claim an epoch in', limits, async (attemptMs) => {
        await this.#catchUp()
        if (this.#index.epochToken === token) return this.#index.epoch
        const { epoch: newest, lastSequence } = this.#index
        await this.#write({ kind: 'epoch', epoch: newest + 1, token }, body, lastSequence, attemptMs)
        return undefined
      })
      // What older primaries left unfinished takes space, nothing else.
      await this.#delete(this.#index.abandonedParts()).catch(() => {})
      return epoch
    })
  }

  /** The leader is asked. Even where it were an old one: what is in the stream was decided when it was written. */
  currentEpoch(limits: CallLimits | undefined): Promise<number> {
    return this.settled('read the epoch of', limits, async () => {
      const last = await this.#stream.last(this.#stream.subjects.epoch)
      if (last === undefined) return 0
      const message = decodeMessage(last.headers)
      if (message?.kind === 'epoch') return message.epoch
      // Somebody else has written there.
      await this.#read(this.#index, (await this.#stream.extent()).lastSequence)
      return this.#index.epoch
    })
  }

  append(log: Log, epoch: number, limits: CallLimits | undefined): Promise<StoredLog> {
    return this.#gate.exclusive(() =>
      this.#store(log, 'log', epoch, limits, (message) => {
        const there = this.#index.logAt(message.startFrameNo)
        if (there !== undefined && isSameLog(there.message, message)) return there
        if (there !== undefined)
          throw this.#fenced(`at frame ${message.startFrameNo} begins another log`, message, there)
        if (this.#index.epoch > epoch) throw this.#fenced('it has claimed a newer epoch', message)
        return undefined
      }),
    )
  }

  /** The message that is replaced goes once the new one is there. */
  replace(log: Log, limits: CallLimits | undefined): Promise<StoredLog> {
    return this.#gate.exclusive(async () => {
      let replaced: IndexedLog | undefined
      const stored = await this.#store(log, 'replacement', log.epoch, limits, async ({ startFrameNo }) => {
        for (;;) {
          // Others may have replaced it, and removed what was there.
          await this.#refresh()
          const there = this.#index.logAt(startFrameNo)
          if (there === undefined) throw notThere(this.#url, startFrameNo)
          const isReplaced = await this.#isReplaced(there, log)
          if (isReplaced === undefined) continue
          if (isReplaced) replaced = there
          return isReplaced ? undefined : there
        }
      })
      if (replaced !== undefined && replaced.stored.id !== stored.id) {
        await this.#delete(messagesOfLog(replaced), [replaced.stored]).catch(() => {})
      }
      return stored
    })
  }

  /** Logs that are there now; `lastSequence`: of the last message that was read. */
  list(limits: CallLimits | undefined): Promise<{ logs: StoredLog[]; lastSequence: number }> {
    return this.#gate.exclusive(() =>
      this.settled('list the logs of', limits, async () => {
        await this.#refresh()
        return { logs: this.#index.logs(), lastSequence: this.#index.lastSequence }
      }),
    )
  }

  remove(logs: readonly StoredLog[], limits: CallLimits | undefined): Promise<void> {
    return this.#gate
      .exclusive(() =>
        this.settled('remove logs from', limits, async () => {
          await this.#refresh()
          const found = logs
            .map(({ id, startFrameNo }) => ({ id, there: this.#index.logAt(startFrameNo) }))
            .flatMap(({ id, there }) => (there?.stored.id === id ? [there] : []))
          const stored = found.map((one) => one.stored)
          await this.#purgeBeginning(found)
          // A log goes before its parts do.
          await this.#delete(
            found.map((one) => Number(one.stored.id)),
            stored,
          )
          await this.#delete(found.flatMap((one) => sequencesOf(one.message.parts)))
          return true
        }),
      )
      .then(() => {})
  }

  /** As retried(); what was interrupted is read again before the next attempt. */
  settled<T>(action: string, limits: CallLimits | undefined, attempt: Attempt<T>): Promise<T> {
    const bounds = { url: this.#url, action, timeoutMs: this.#timeoutMs, limits }
    return retried(bounds, async (attemptMs) => {
      try {
        return await this.#outages.during(attempt(attemptMs))
      } catch (error) {
        this.#isBehind = true
        throw error
      }
    })
  }

  /** Uploads all parts but the last one, which nobody sees; then the last one, behind what `find` has looked at. */
  async #store(
    log: Log,
    kind: LogMessage['kind'],
    epoch: number,
    limits: CallLimits | undefined,
    find: (message: LogMessage) => IndexedLog | undefined | Promise<IndexedLog | undefined>,
  ): Promise<StoredLog> {
    return log.use(async (file) => {
      const described = { ...factsOfLog(file), kind, epoch }
      for (;;) {
        const stored = await this.#storeOnce(file, described, limits, find)
        if (stored !== undefined) return stored
      }
    })
  }

  /** Undefined: whoever has claimed an epoch meanwhile has removed parts of it, or will. */
  async #storeOnce(
    file: LogFile,
    described: Omit<LogMessage, 'byteLength' | 'parts'>,
    limits: CallLimits | undefined,
    find: (message: LogMessage) => IndexedLog | undefined | Promise<IndexedLog | undefined>,
  ): Promise<StoredLog | undefined> {
    let byteLength = 0
    /** Parts of an older one than the newest are removed by whoever comes; a replacement keeps the epoch of its log. */
    let partEpoch = described.epoch
    const uploads = new PartUploads((bytes) => this.#storePart(bytes, partEpoch, limits))
    /** What is there in its place, as of the message after which it may be written. */
    const look = async () => {
      await this.#catchUp()
      const there = await find({ ...described, byteLength, parts: [] })
      return { there, lastSequence: this.#index.lastSequence }
    }
    try {
      const all = partsOf(file, described.epoch, this.#compression, this.#partBytesMax)
      for await (const { bytes, isLast } of all) {
        byteLength += bytes.length
        if (!isLast) {
          // Before the first one: not to upload what is refused in the end.
          if (uploads.count === 0) {
            const { there } = await this.settled('read', limits, look)
            if (there !== undefined) return there.stored
            partEpoch = Math.max(partEpoch, this.#index.epoch)
          }
          await uploads.add(bytes)
          continue
        }
        const parts = await uploads.sequences()
        const message = { ...described, byteLength, parts: this.#ranges(parts) }
        const outcome = await this.settled('store a log in', limits, async (attemptMs) => {
          const { there, lastSequence } = await look()
          if (there !== undefined) return there
          if (parts.length > 0 && this.#index.epoch > partEpoch) return 'outdated' as const
          limits?.signal?.throwIfAborted()
          await this.#write(message, bytes, lastSequence, attemptMs)
          return undefined
        })
        if (outcome === 'outdated' || String(outcome.message.parts) !== String(message.parts))
          this.#discard(parts)
        return outcome === 'outdated' ? undefined : outcome.stored
      }
      throw new MylibsqlError('ERR_STORE', `${this.#url}: a log without bytes`)
    } catch (error) {
      const stored = await uploads.stored()
      // Only what was refused for certain: an answer that was lost may have been that the log is stored.
      if (error instanceof MylibsqlError && error.code === 'ERR_FENCED') this.#discard(stored)
      throw error
    }
  }

  /** Parts that no log will claim. Nobody waits: they take space, nothing else. */
  #discard(parts: readonly number[]): void {
    this.#delete(parts).catch(() => {})
  }

  #storePart(bytes: Uint8Array, epoch: number, limits: CallLimits | undefined): Promise<number> {
    return this.settled('store a part of a log in', limits, async (attemptMs) => {
      const message: StreamMessage = { kind: 'part', epoch }
      const sequence = await this.#stream.publish(message, bytes, undefined, attemptMs)
      if (sequence === this.#index.lastSequence + 1) this.#index.apply(sequence, message)
      else this.#isBehind = true
      return sequence
    })
  }

  /** Behind a message that is in the index; when another one is there, the index is behind. */
  async #write(
    message: StreamMessage,
    body: Uint8Array,
    lastSequence: number,
    attemptMs: number,
  ): Promise<void> {
    const sequence = await this.#stream.publish(message, body, lastSequence, attemptMs)
    if (sequence === undefined) this.#isBehind = true
    else this.#index.apply(sequence, message)
  }

  /** Reads what has come since. */
  async #catchUp(): Promise<void> {
    if (!this.#isBehind) return
    const { lastSequence } = await this.#stream.extent()
    await this.#read(this.#index, lastSequence)
    this.#isBehind = false
  }

  /** As #catchUp; and what others have removed is known afterwards. */
  async #refresh(): Promise<void> {
    for (let reread = 0; ; reread++) {
      const { firstSequence, lastSequence, messageCount } = await this.#stream.extent()
      if (lastSequence < this.#index.lastSequence) throw this.#lost(lastSequence)
      await this.#read(this.#index, lastSequence)
      if (this.#index.messageCount === messageCount || reread === rereadsMax) break
      const index = new StreamIndex()
      index.skipTo(firstSequence - 1)
      await this.#read(index, lastSequence)
      this.#index = index
      if (index.messageCount === messageCount) break
    }
    this.#isBehind = false
  }

  /** Up to the message that the leader says is the last one: the server that sends them may not have it yet. */
  async #read(index: StreamIndex, lastSequence: number): Promise<void> {
    if (lastSequence < index.lastSequence) throw this.#lost(lastSequence)
    while (index.lastSequence < lastSequence) {
      for await (const message of this.#stream.listed(index.lastSequence + 1)) {
        if (message.seq > lastSequence) break
        index.apply(message.seq, decodeMessage(message.headers))
      }
      if (index.lastSequence >= lastSequence) return
      const next = await this.#stream.next(index.lastSequence + 1)
      // What is left was removed.
      if (next === undefined || next > lastSequence) index.skipTo(lastSequence)
      else await delay(laggingMs)
    }
  }

  /** Many at once when they are the beginning of the stream. */
  async #purgeBeginning(found: readonly IndexedLog[]): Promise<void> {
    const end = this.#index.firstKept(new Set(found.map(({ stored }) => stored.id)))
    const gone = found.filter(({ stored }) => Number(stored.id) < end)
    if (gone.length < deletesAtOnce) return
    await this.#stream.purge(this.#stream.subjects.log, end)
    // How many messages are left is counted anew.
    this.#index = new StreamIndex()
    await this.#refresh()
  }

  async #delete(sequences: readonly number[], logs: readonly StoredLog[] = []): Promise<void> {
    for (let at = 0; at < sequences.length; at += deletesAtOnce) {
      const some = sequences.slice(at, at + deletesAtOnce)
      const wereThere = await Promise.all(some.map((sequence) => this.#stream.delete(sequence)))
      this.#index.forget(
        some.filter((_, index) => wereThere[index]),
        logs.filter(({ id }) => some.includes(Number(id))),
      )
    }
  }

  #ranges(sequences: readonly number[]): readonly SequenceRange[] {
    const ranges = rangesOf(sequences)
    if (ranges !== undefined) return ranges
    throw new MylibsqlError(
      'ERR_STORE',
      `${this.#url}: others wrote in between while the log was stored: store it again`,
    )
  }

  /** Undefined: it has gone since it was listed. */
  async #isReplaced({ stored }: IndexedLog, log: Log): Promise<boolean | undefined> {
    const name = `${this.#url}#${stored.id}`
    const found = await readLog(this.#stream, stored, name).catch((error: unknown) => {
      if (error instanceof MylibsqlError && error.code === 'ERR_NOT_FOUND') return undefined
      throw error
    })
    try {
      return found && (await checkReplaces(log, found, name))
    } finally {
      await found?.close()
    }
  }

  #fenced(reason: string, log: LogMessage, there?: IndexedLog): MylibsqlError {
    const epoch = there?.message.epoch ?? this.#index.epoch
    const what = there === undefined ? this.#url : `${this.#url}#${there.stored.id}`
    const message = `A newer primary has taken over: ${reason}, ${what}, of epoch ${epoch}; this log is of epoch ${log.epoch}`
    const details = { path: what, frameNo: log.startFrameNo, expected: log.epoch, actual: epoch }
    return new MylibsqlError('ERR_FENCED', message, details)
  }

  /** No MylibsqlError: it is asked again for a while, for a server that has just begun to lead may not have all yet. */
  #lost(lastSequence: number): Error {
    const had = this.#index.lastSequence
    return new Error(`messages were lost: its last one was ${had} and is ${lastSequence} now`)
  }
}

function notThere(url: string, frameNo: FrameNo): MylibsqlError {
  const message = `There is no log in ${url} that begins at frame ${frameNo}, and so nothing to replace`
  return new MylibsqlError('ERR_NOT_FOUND', message, { path: url, frameNo })
}
