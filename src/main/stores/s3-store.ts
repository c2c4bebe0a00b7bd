import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { LogFile } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import {
  epochName,
  epochOf,
  isSnapshotName,
  lastFrameNoOf,
  logName,
  snapshotName,
  startFrameNoOf,
} from '../../protocol/object-names.js'
import {
  checkFrameNo,
  checkFunction,
  checkInstance,
  checkOptions,
  checkPositiveInteger,
  checkSignal,
  checkString,
  optional,
} from '../arguments.js'
import { Log } from '../log.js'
import { Snapshot } from '../snapshot.js'
import { holdPackThread } from '../task-pool.js'
import { compressed, decompressed, gathered } from './compression.js'
import { whenEither } from './either-signal.js'
import { chunksOf } from './file-objects.js'
import { PackThread } from './pack-thread.js'
import { receivedLog, receivedSnapshot, told } from './received.js'
import { S3Bucket, type S3Object } from './s3-bucket.js'
import { S3Marker } from './s3-marker.js'
import { checkS3Options, type S3StoreOptions } from './s3-options.js'
import { bytesPayload, withLogPayload } from './s3-payload.js'
import { replaceLog } from './s3-replace.js'
import type { CallLimits, Store, StoredLog, StoredSnapshot } from './store.js'
import { checkOwnLog, checkOwnSnapshot, stampedHeader } from './stored-log.js'

type Kind = 'epochs' | 'logs' | 'snapshots'

interface Parts {
  readonly url: string
  readonly prefix: string
  readonly bucket: S3Bucket
  readonly marker: S3Marker
  readonly compression: Compression | 'none'
  readonly pollMs: number
  /** Ends the client, if it is the store's own. */
  release(): void
}

/** Epochs kept below the newest one: far more than are claimed while a claimer is paused. */
const epochsKept = 100
/** How far back the log is looked for that begins before a frame; further each time. */
const backFrames = { first: 4096, factor: 64 }
const removesAtOnce = 8

/**
 * A store in S3, or in what speaks its protocol: an object for each log and each snapshot, under the names that a
 * FileStore gives its files. A newer primary fences an older one off because the service refuses to put an object where
 * there is one (`If-None-Match: *`): one that does not refuse is told from one that does before anything is written, and is an
 * error (docs/REPLICATION.md, "S3").
 *
 * Needs the packages @aws-sdk/client-s3 and @aws-sdk/lib-storage.
 *
 * Every method rejects with ERR_STORE when S3 cannot be reached for `timeoutMs`, or refuses; with ERR_CLOSED after
 * `close()`; with the signal's reason when it aborts; with a TypeError for bad arguments.
 *
 * @example
 * import { S3Store } from 'mylibsql/s3'
 * const store = await S3Store.open({ bucket: 'backups', prefix: 'app', region: 'eu-central-1' })
 */
export class S3Store implements Store {
  readonly #parts: Parts
  #closed: Promise<void> | undefined
  readonly #packThread: PackThread

  private constructor(parts: Parts) {
    this.#parts = parts
    this.#packThread = new PackThread(parts.compression === 'lz4' ? holdPackThread : undefined)
  }

  /**
   * Looks whether the bucket is there, makes it only when told to, and looks whether the service honours conditions: in a
   * new place only when told to make it, otherwise before the first write. With credentials that may only read, the store
   * is for reading.
   *
   * @throws ERR_NOT_FOUND when there is no such bucket and `create` is not set; ERR_VERSION when a newer release made the
   * store; ERR_STORE when the service cannot be reached, refuses, or ignores conditions
   */
  static async open(options: S3StoreOptions): Promise<S3Store> {
    const { client, isOwnClient, bucket: name, prefix, create, ...rest } = checkS3Options(options)
    const url = `s3://${name}/${prefix}`.replace(/\/$/, '')
    const bucket = new S3Bucket({ client, bucket: name, url, timeoutMs: rest.timeoutMs })
    const release = () => {
      if (isOwnClient) client.destroy()
    }
    try {
      await bucket.open(create)
      const marker = new S3Marker(bucket, prefix)
      await marker.open(create)
      return new S3Store({ ...rest, url, prefix, bucket, marker, release })
    } catch (error) {
      release()
      throw error
    }
  }

  get url(): string {
    return this.#parts.url
  }

  /** Create-only, as FileStore does it. An answer that was lost is recognised by what the object holds. */
  async claimEpoch(holder: string, limits?: CallLimits): Promise<number> {
    checkString(holder, 'holder')
    checkLimits(limits, 'claimEpoch')
    return this.#packThread.during(() => this.#claimEpoch(holder, limits))
  }

  async #claimEpoch(holder: string, limits: CallLimits | undefined): Promise<number> {
    const { bucket, marker } = this.#parts
    await marker.check(limits)
    const claim = { holder, claimedAt: new Date().toISOString(), id: randomUUID() }
    const bytes = Buffer.from(`${JSON.stringify(claim)}\n`)
    let epoch = (await this.currentEpoch(limits)) + 1
    for (;;) {
      const key = this.#keyOf('epochs', epochName(epoch))
      const outcome = await bucket.putNew(key, bytesPayload(bytes), limits)
      const isOwn = outcome === 'maybe own' && (await this.#holds(key, bytes, limits))
      if (outcome !== 'made' && !isOwn) {
        epoch += 1
        continue
      }
      const epochs = await this.#epochs(limits)
      const newest = Math.max(...epochs)
      if (newest - epoch < epochsKept) {
        const old = epochs.filter((other) => epoch - other > epochsKept)
        for (const other of old) await bucket.remove(this.#keyOf('epochs', epochName(other)), limits)
        return epoch
      }
      // It may have been held and removed while this one was paused.
      epoch = newest + 1
    }
  }

  async currentEpoch(limits?: CallLimits): Promise<number> {
    checkLimits(limits, 'currentEpoch')
    return Math.max(0, ...(await this.#epochs(limits)))
  }

  async append(log: Log, epoch: number, limits?: CallLimits): Promise<StoredLog> {
    checkInstance(log, Log, 'log')
    checkPositiveInteger(epoch, 'epoch')
    checkLimits(limits, 'append')
    await this.#parts.marker.check(limits)
    return log.use((file) => this.#append(file, epoch, limits))
  }

  async logs(options?: CallLimits & { readonly from?: FrameNo }): Promise<StoredLog[]> {
    const known = { from: optional(checkFrameNo), signal: optional(checkSignal) }
    const { from = 0, signal } = checkOptions(options, known, 'S3Store.logs')
    const limits = signal === undefined ? {} : { signal }
    for (let back: number = backFrames.first; ; back *= backFrames.factor) {
      const first = Math.max(0, from - back)
      const list: StoredLog[] = []
      for await (const stored of this.#logsFrom(first, limits)) list.push(stored)
      const later = list.findIndex(({ startFrameNo }) => startFrameNo >= from)
      const before = (later === -1 ? list.length : later) - 1
      if (first === 0 || before >= 0) return list.slice(Math.max(0, before))
    }
  }

  async readLog(stored: StoredLog, limits?: CallLimits): Promise<Log> {
    this.#checkOwn(stored, 'logs')
    checkLimits(limits, 'readLog')
    return this.#readLog(stored.id, stored.startFrameNo, limits)
  }

  /** Asks for new logs every `pollMs`. Rejects with ERR_STORE when the service cannot be reached; then call it again. */
  async *follow(
    from: FrameNo,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncGenerator<StoredLog, void, undefined> {
    let next = checkFrameNo(from, 'from')
    checkSignal(signal, 'Option "signal" of S3Store.follow')
    const { attempts } = this.#parts.bucket
    attempts.checkOpen()
    const { signal: ended, release } = whenEither(signal, attempts.closing)
    try {
      while (!ended.aborted) {
        for await (const stored of this.#logsFrom(next, { signal: ended })) {
          if (ended.aborted) return
          next = stored.startFrameNo + 1
          yield stored
        }
        await delay(this.#parts.pollMs, undefined, { signal: ended })
      }
    } catch (error) {
      if (!ended.aborted) throw error
    } finally {
      release()
    }
  }

  async putSnapshot(snapshot: Snapshot, limits?: CallLimits): Promise<StoredSnapshot> {
    checkInstance(snapshot, Snapshot, 'snapshot')
    checkLimits(limits, 'putSnapshot')
    const { bucket, marker, compression } = this.#parts
    const key = this.#keyOf('snapshots', snapshotName(snapshot.lastFrameNo))
    await marker.check(limits)
    await this.#checkReplaced(key, snapshot, limits)
    const { byteLength } = snapshot
    await snapshot.use(({ path }) =>
      bucket.upload(key, () => compressed(chunksOf(path), byteLength, compression), byteLength, limits),
    )
    return toSnapshot(await this.#found(key, limits), snapshot.lastFrameNo)
  }

  async snapshots(limits?: CallLimits): Promise<StoredSnapshot[]> {
    checkLimits(limits, 'snapshots')
    const list: StoredSnapshot[] = []
    const folder = this.#keyOf('snapshots', '')
    for await (const object of this.#parts.bucket.list(folder, folder, limits)) {
      const name = object.key.slice(folder.length)
      if (isSnapshotName(name)) list.push(toSnapshot(object, lastFrameNoOf(name)))
    }
    return list.sort((left, right) => (left.lastFrameNo ?? -1) - (right.lastFrameNo ?? -1))
  }

  async readSnapshot(
    stored: StoredSnapshot,
    options?: CallLimits & { readonly onProgress?: (byteCount: number) => void },
  ): Promise<Snapshot> {
    const { id, lastFrameNo } = stored
    this.#checkOwn(stored, 'snapshots')
    const known = { onProgress: optional(checkFunction), signal: optional(checkSignal) }
    const { signal } = checkOptions(options, known, 'S3Store.readSnapshot')
    return this.#readSnapshot(id, lastFrameNo, signal === undefined ? {} : { signal }, options?.onProgress)
  }

  async replaceLog(log: Log, limits?: CallLimits): Promise<StoredLog> {
    checkInstance(log, Log, 'log')
    checkLimits(limits, 'replaceLog')
    const { bucket, marker, compression } = this.#parts
    const key = this.#keyOf('logs', logName(log.startFrameNo))
    await marker.checkReplacing(limits)
    await replaceLog(bucket, key, log, compression, limits)
    return toLog(await this.#found(key, limits), log.startFrameNo)
  }

  async remove(objects: readonly (StoredLog | StoredSnapshot)[], limits?: CallLimits): Promise<void> {
    for (const stored of objects) this.#checkOwn(stored, 'startFrameNo' in stored ? 'logs' : 'snapshots')
    checkLimits(limits, 'remove')
    this.#parts.bucket.attempts.checkOpen()
    for (let at = 0; at < objects.length; at += removesAtOnce) {
      const some = objects.slice(at, at + removesAtOnce)
      await Promise.all(some.map((stored) => this.#remove(stored, limits)))
    }
  }

  close(): Promise<void> {
    this.#packThread.close()
    this.#closed ??= this.#parts.bucket.attempts.close().then(() => this.#parts.release())
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #append(file: LogFile, epoch: number, limits: CallLimits | undefined): Promise<StoredLog> {
    const { bucket, compression } = this.#parts
    const { startFrameNo } = file.header
    const key = this.#keyOf('logs', logName(startFrameNo))
    const header = stampedHeader(file.header, epoch)
    const outcome = await withLogPayload(file, header, compression, (payload) =>
      bucket.putNew(key, payload, limits),
    )
    // An earlier call may have put it, and its answer been lost.
    if (outcome !== 'made') {
      const found = await this.#readLog(key, startFrameNo, limits)
      try {
        checkOwnLog(found, bucket.nameOf(key), file.header, epoch)
      } finally {
        await found.close()
      }
    }
    return toLog(await this.#found(key, limits), startFrameNo)
  }

  async #readLog(key: string, startFrameNo: FrameNo, limits: CallLimits | undefined): Promise<Log> {
    const { bucket } = this.#parts
    const path = bucket.nameOf(key)
    return bucket.read(key, limits, (chunks) => receivedLog(chunks, path, startFrameNo))
  }

  async #readSnapshot(
    key: string,
    lastFrameNo: FrameNo | undefined,
    limits: CallLimits | undefined,
    onProgress: ((byteCount: number) => void) | undefined,
  ): Promise<Snapshot> {
    const { bucket } = this.#parts
    const path = bucket.nameOf(key)
    return bucket.read(key, limits, (chunks) =>
      receivedSnapshot(decompressed(told(chunks, onProgress), { path }), path, lastFrameNo),
    )
  }

  /** What is replaced has to be of the same history: a snapshot of another one must not take its place. */
  async #checkReplaced(key: string, snapshot: Snapshot, limits: CallLimits | undefined): Promise<void> {
    const { bucket } = this.#parts
    if ((await bucket.find(key, limits)) === undefined) return
    const found = await this.#readSnapshot(key, snapshot.lastFrameNo, limits, undefined)
    try {
      checkOwnSnapshot(found, bucket.nameOf(key), snapshot)
    } finally {
      await found.close()
    }
  }

  async *#logsFrom(first: FrameNo, limits: CallLimits): AsyncGenerator<StoredLog, void, undefined> {
    const folder = this.#keyOf('logs', '')
    // Without its suffix the name of a log comes right before it.
    const startAfter = `${folder}${epochName(first)}`
    for await (const object of this.#parts.bucket.list(folder, startAfter, limits)) {
      const startFrameNo = startFrameNoOf(object.key.slice(folder.length))
      if (startFrameNo !== undefined) yield toLog(object, startFrameNo)
    }
  }

  async #epochs(limits: CallLimits | undefined): Promise<number[]> {
    const folder = this.#keyOf('epochs', '')
    const epochs: number[] = []
    for await (const { key } of this.#parts.bucket.list(folder, folder, limits)) {
      const epoch = epochOf(key.slice(folder.length))
      if (epoch !== undefined) epochs.push(epoch)
    }
    return epochs
  }

  async #holds(key: string, bytes: Buffer, limits: CallLimits | undefined): Promise<boolean> {
    try {
      return bytes.equals(await this.#parts.bucket.read(key, limits, gathered))
    } catch (error) {
      // Removed since, and so not the newest.
      if (error instanceof MylibsqlError && error.code === 'ERR_NOT_FOUND') return false
      throw error
    }
  }

  /** Throws ERR_NOT_FOUND. */
  async #found(key: string, limits: CallLimits | undefined): Promise<S3Object> {
    const { bucket } = this.#parts
    const found = await bucket.find(key, limits)
    if (found !== undefined) return found
    const path = bucket.nameOf(key)
    throw new MylibsqlError('ERR_NOT_FOUND', `${path} is not there (any more)`, { path })
  }

  /** Not another one that has taken its place since it was listed. */
  async #remove(stored: StoredLog | StoredSnapshot, limits: CallLimits | undefined): Promise<void> {
    const { bucket } = this.#parts
    const found = await bucket.find(stored.id, limits)
    const isIt =
      found?.byteLength === stored.byteLength && found.storedAt.getTime() === stored.storedAt.getTime()
    if (isIt) await bucket.remove(stored.id, limits, found.etag)
  }

  #keyOf(kind: Kind, name: string): string {
    return `${this.#parts.prefix}${kind}/${name}`
  }

  /** An object of another store is the caller's mistake. */
  #checkOwn({ id }: StoredLog | StoredSnapshot, kind: Kind): void {
    const folder = this.#keyOf(kind, '')
    if (typeof id === 'string' && id.startsWith(folder) && !id.slice(folder.length).includes('/')) return
    throw new TypeError(`${id} is no object of the store ${this.url}`)
  }
}

function checkLimits(limits: CallLimits | undefined, method: string): void {
  checkOptions(limits, { signal: optional(checkSignal) }, `S3Store.${method}`).signal?.throwIfAborted()
}

function toLog({ key, byteLength, storedAt }: S3Object, startFrameNo: FrameNo): StoredLog {
  return { id: key, startFrameNo, byteLength, storedAt }
}

function toSnapshot({ key, byteLength, storedAt }: S3Object, lastFrameNo: FrameNo | undefined) {
  return { id: key, lastFrameNo, byteLength, storedAt }
}
