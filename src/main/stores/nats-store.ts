import { connect, type NatsConnection } from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import { unpackedLogBytesMax } from '../../protocol/limits.js'
import type { Compression } from '../../protocol/object-format.js'
import { checkFrameNo, checkInstance, checkPositiveInteger, checkString } from '../arguments.js'
import { Log } from '../log.js'
import { compact } from '../log-input.js'
import { Snapshot } from '../snapshot.js'
import { holdPackThread } from '../task-pool.js'
import { whenEither } from './either-signal.js'
import { DeliveredBodies, DeliveredLog } from './nats-delivered.js'
import { storeError } from './nats-failure.js'
import { deliveredLog, readLog } from './nats-log-bytes.js'
import { NatsLogs } from './nats-logs.js'
import { decodeMessage, headerBytesMax, storedLog } from './nats-message.js'
import { checkNatsOptions, type NatsStoreOptions } from './nats-options.js'
import { inTime, Outages, retried } from './nats-retry.js'
import { NatsSnapshots } from './nats-snapshots.js'
import { NatsStream } from './nats-stream.js'
import { PackThread } from './pack-thread.js'
import type { CallLimits, Store, StoredLog, StoredSnapshot } from './store.js'
import { TransferLimit } from './transfer-limit.js'
import { unlessAborted } from './waits.js'

/** Of a message's body, whatever the server allows: larger ones hold up what else it has to do. */
const partBytesMax = 4 * 1024 * 1024
const reconnectMs = 250

interface Parts {
  readonly url: string
  readonly connection: NatsConnection
  readonly stream: NatsStream
  readonly logs: NatsLogs
  readonly snapshots: NatsSnapshots
  readonly compression: Compression | 'none'
  readonly timeoutMs: number
}

interface InMemory {
  readonly bytes: Uint8Array
}

/**
 * A store in NATS JetStream: epochs and logs in one stream, snapshots in an object store. That a newer primary fences an
 * older one off is the server's doing: every message names the one that must be the last, and is refused otherwise
 * (docs/REPLICATION.md, "NATS JetStream", which also says what its servers have to be told about fsync).
 *
 * Needs the packages @nats-io/transport-node, @nats-io/jetstream and @nats-io/obj, and nats-server 2.9 or later.
 *
 * Every method rejects with ERR_STORE when NATS cannot be reached for `timeoutMs`, or refuses; with ERR_CLOSED after
 * `close()`; with the signal's reason when it aborts; with a TypeError for bad arguments.
 *
 * @example
 * import { NatsStore } from 'mylibsql/nats'
 * const store = await NatsStore.open({ servers: 'nats.internal:4222', name: 'app', replicas: 3, create: true })
 */
export class NatsStore implements Store {
  /** The server refuses what is not behind the newest epoch. */
  readonly fencesAppends = true
  readonly #parts: Parts
  readonly #closing = new AbortController()
  readonly #packThread: PackThread
  readonly #limit = new TransferLimit()
  /** Logs that a follower was told of. */
  readonly #delivered = new WeakMap<StoredLog, DeliveredLog>()
  #closed: Promise<void> | undefined

  private constructor(parts: Parts) {
    this.#parts = parts
    this.#packThread = new PackThread(parts.compression === 'lz4' ? holdPackThread : undefined)
  }

  /**
   * Connects, and opens the stream and the bucket; makes them only when told to.
   *
   * @throws ERR_NOT_FOUND when there is no such stream or bucket and `create` is not set; ERR_STORE when no server can be
   * reached, the credentials are refused, or a stream of that name is another program's: nothing is changed then
   */
  static async open(options: NatsStoreOptions): Promise<NatsStore> {
    const {
      servers,
      name,
      replicas,
      create,
      compression,
      timeoutMs,
      connection: rest,
    } = checkNatsOptions(options)
    const url = urlOf(servers[0]!, name)
    const connection = await connect({
      reconnectTimeWait: reconnectMs,
      // Otherwise each request makes an error in case that it fails, with the stack of its caller.
      noAsyncTraces: true,
      ...rest,
      servers: [...servers],
      name: 'mylibsql',
      timeout: timeoutMs,
      maxReconnectAttempts: -1,
    }).catch((error: unknown) => {
      throw storeError(url, 'connect to', error)
    })
    try {
      const request = { name, replicas, create }
      // A cluster may be without a leader just now.
      const { stream, snapshots } = await retried({ url, action: 'open', timeoutMs }, async () => {
        const stream = await NatsStream.open(connection, request, timeoutMs)
        return { stream, snapshots: await NatsSnapshots.open(stream, request, timeoutMs) }
      })
      const payloadMax = (connection.info?.max_payload ?? 0) - headerBytesMax
      if (payloadMax < headerBytesMax) {
        throw new MylibsqlError(
          'ERR_STORE',
          `${url}: the server's max_payload is less than ${2 * headerBytesMax} bytes`,
        )
      }
      const common = { url, stream, compression, timeoutMs }
      const logs = new NatsLogs({
        ...common,
        outages: new Outages(connection),
        partBytesMax: Math.min(partBytesMax, payloadMax),
      })
      return new NatsStore({ ...common, connection, logs, snapshots })
    } catch (error) {
      await connection.close()
      throw storeError(url, 'open', error)
    }
  }

  get url(): string {
    return this.#parts.url
  }

  async claimEpoch(holder: string, limits?: CallLimits): Promise<number> {
    checkString(holder, 'holder')
    limits?.signal?.throwIfAborted()
    return this.#packThread.during(() => this.#parts.logs.claimEpoch(holder, limits))
  }

  currentEpoch(limits?: CallLimits): Promise<number> {
    return this.#call(() => this.#parts.logs.currentEpoch(limits))
  }

  async append(log: Log, epoch: number, limits?: CallLimits): Promise<StoredLog> {
    checkInstance(log, Log, 'log')
    checkPositiveInteger(epoch, 'epoch')
    limits?.signal?.throwIfAborted()
    return this.#parts.logs.append(log, epoch, limits)
  }

  async logs(options: CallLimits & { readonly from?: FrameNo } = {}): Promise<StoredLog[]> {
    const from = checkFrameNo(options.from ?? 0, 'from')
    const { logs } = await this.#parts.logs.list(options)
    const first = logs.findIndex(({ startFrameNo }) => startFrameNo >= from)
    return first === -1 ? logs.slice(-1) : logs.slice(Math.max(0, first - 1))
  }

  readLog(stored: StoredLog, limits?: CallLimits): Promise<Log> {
    const { logs, stream } = this.#parts
    const where = this.#nameOf(stored)
    return this.#call(async () => {
      limits?.signal?.throwIfAborted()
      const delivered = this.#delivered.get(stored)
      const bodies = delivered?.take()
      if (delivered !== undefined && bodies !== undefined)
        return deliveredLog(bodies, delivered.message, where)
      return logs.settled('read a log of', limits, () => readLog(stream, stored, where))
    })
  }

  logLocation(stored: StoredLog, limits?: CallLimits): InMemory | undefined | Promise<InMemory | undefined> {
    const delivered = this.#delivered.get(stored)
    if (delivered === undefined) {
      const message = this.#parts.logs.messageOf(stored)
      const isTaken = message?.kind === 'log' && message.rawByteLength <= unpackedLogBytesMax
      return isTaken && message.parts.length === 0 ? this.#askedFor(stored, limits) : undefined
    }
    const bodies = delivered.isAtHand ? delivered.take() : undefined
    return bodies && { bytes: compact(bodies.length === 1 ? bodies[0]! : Buffer.concat(bodies)) }
  }

  /** Rejects with ERR_STORE when the stream is deleted or the server cannot be reached any more; then call it again. */
  async *follow(
    from: FrameNo,
    limits: { readonly signal: AbortSignal },
  ): AsyncGenerator<StoredLog, void, undefined> {
    checkFrameNo(from, 'from')
    if (this.#closing.signal.aborted) throw this.#closedError()
    const { signal, release } = whenEither(limits.signal, this.#closing.signal)
    try {
      yield* this.#logsFrom(from, signal)
    } catch (error) {
      if (!signal.aborted) throw storeError(this.url, 'follow', error)
    } finally {
      release()
    }
  }

  async putSnapshot(snapshot: Snapshot, limits?: CallLimits): Promise<StoredSnapshot> {
    checkInstance(snapshot, Snapshot, 'snapshot')
    const { snapshots, compression, url } = this.#parts
    return this.#call(async () => {
      limits?.signal?.throwIfAborted()
      const stored = snapshots.put(snapshot, compression, limits?.signal)
      return unlessAborted(stored, limits?.signal).catch((error: unknown) => {
        limits?.signal?.throwIfAborted()
        throw storeError(url, 'store a snapshot in', error)
      })
    })
  }

  snapshots(limits?: CallLimits): Promise<StoredSnapshot[]> {
    const { logs, snapshots } = this.#parts
    return this.#call(() => logs.settled('list the snapshots of', limits, () => snapshots.list()))
  }

  readSnapshot(
    stored: StoredSnapshot,
    options: CallLimits & { readonly onProgress?: (byteCount: number) => void } = {},
  ): Promise<Snapshot> {
    const { snapshots, url, timeoutMs } = this.#parts
    const onBytes = options.onProgress ?? (() => {})
    const bounds = { url, action: 'read a snapshot of', timeoutMs, limits: options }
    const read = () => snapshots.read(stored.id, this.#nameOf(stored), onBytes)
    return this.#call(() => retried(bounds, read))
  }

  async replaceLog(log: Log, limits?: CallLimits): Promise<StoredLog> {
    checkInstance(log, Log, 'log')
    return this.#parts.logs.replace(log, limits)
  }

  async remove(objects: readonly (StoredLog | StoredSnapshot)[], limits?: CallLimits): Promise<void> {
    const { logs, snapshots } = this.#parts
    limits?.signal?.throwIfAborted()
    const stored = objects.filter((one): one is StoredLog => 'startFrameNo' in one)
    const ids = objects.filter((one) => !('startFrameNo' in one)).map(({ id }) => id)
    if (stored.length > 0) await logs.remove(stored, limits)
    const remove = () => snapshots.remove(ids).then(() => true)
    if (ids.length > 0) await this.#call(() => logs.settled('remove snapshots from', limits, remove))
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const { connection, logs, timeoutMs } = this.#parts
    this.#closing.abort()
    this.#packThread.close()
    await logs.gate.close(async () => {
      // What is under way for others: bounded, for the server may be gone.
      await inTime(connection.close(), timeoutMs, 'Closing the connection').catch(() => {})
    })
  }

  async *#logsFrom(from: FrameNo, signal: AbortSignal): AsyncGenerator<StoredLog, void, undefined> {
    const { logs, lastSequence } = await this.#parts.logs.list({ signal })
    let next = from
    for (const stored of logs) {
      if (stored.startFrameNo < next) continue
      next = stored.startFrameNo + 1
      yield stored
    }
    const bodies = new DeliveredBodies()
    for await (const message of this.#parts.stream.followed(lastSequence + 1, signal)) {
      const log = decodeMessage(message.headers)
      if (log?.kind === 'part') bodies.keep(message.seq, message.data)
      if (log?.kind !== 'log' || log.startFrameNo < next) continue
      next = log.startFrameNo + 1
      bodies.keep(message.seq, message.data)
      const stored = storedLog(message.seq, log)
      this.#delivered.set(stored, new DeliveredLog(message.seq, log, bodies))
      yield stored
    }
  }

  /** Of a log that is one message; undefined when it has gone. */
  #askedFor(stored: StoredLog, limits: CallLimits | undefined): Promise<InMemory | undefined> {
    const { logs, stream } = this.#parts
    const ask = async () => ({ kept: await stream.message(Number(stored.id)) })
    return this.#call(async () => {
      const { kept } = await this.#limit.run(stored.byteLength, () =>
        logs.settled('read a log of', limits, ask),
      )
      return kept && { bytes: compact(kept.data) }
    })
  }

  async #call<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#closing.signal.aborted) throw this.#closedError()
    try {
      return await operation()
    } catch (error) {
      if (this.#closing.signal.aborted) throw this.#closedError()
      throw error
    }
  }

  #closedError(): MylibsqlError {
    return this.#parts.logs.gate.closedError()
  }

  #nameOf(stored: StoredLog | StoredSnapshot): string {
    return `${this.url}${'startFrameNo' in stored ? '#' : '/snapshots/'}${stored.id}`
  }
}

/** Without what is secret in it. */
function urlOf(server: string, name: string): string {
  const host = server
    .replace(/^\w+:\/\//, '')
    .replace(/^.*@/, '')
    .replace(/\/.*$/, '')
  return `nats://${host.includes(':') ? host : `${host}:4222`}/${name}`
}
