/**
 * Snapshots of a store, as objects in a JetStream object store (a bucket), which the tools of NATS list and fetch. An
 * object is there when its description is, which is written last; one of the same name takes its place.
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type ObjectInfo, type ObjectStore, Objm, StorageType } from '@nats-io/obj'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Compression } from '../../protocol/object-format.js'
import { Snapshot } from '../snapshot.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { compressed, decompressed } from './compression.js'
import { messagesOf } from './nats-consumer.js'
import { inTime, madeByOthers } from './nats-retry.js'
import { type NatsStream, notFound, type StreamRequest } from './nats-stream.js'
import type { StoredSnapshot } from './store.js'
import { namedAs } from './stored-log.js'

/** Of an object, in one message; the server may allow less. */
const chunkBytes = 512 * 1024
/** Of the blank database, before frame 0. */
const blankName = 'blank'

export class NatsSnapshots {
  readonly #stream: NatsStream
  readonly #bucket: string
  readonly #objects: ObjectStore
  readonly #timeoutMs: number

  private constructor(stream: NatsStream, bucket: string, objects: ObjectStore, timeoutMs: number) {
    this.#stream = stream
    this.#bucket = bucket
    this.#objects = objects
    this.#timeoutMs = timeoutMs
  }

  /** Throws ERR_NOT_FOUND; what NATS says. */
  static async open(stream: NatsStream, request: StreamRequest, timeoutMs: number): Promise<NatsSnapshots> {
    const bucket = `${request.name}-snapshots`
    const manager = new Objm(stream.js)
    const objects = await manager.open(bucket).catch((error: unknown) => {
      if (!/object store not found/.test(String(error))) throw error
      if (!request.create) throw notFound(`There is no object store ${bucket}`)
      const options = { storage: StorageType.File, replicas: request.replicas ?? 1 }
      return manager
        .create(bucket, { ...options, description: 'mylibsql snapshots' })
        .catch((error: unknown) => madeByOthers(error, () => manager.open(bucket)))
    })
    return new NatsSnapshots(stream, bucket, objects, timeoutMs)
  }

  /** By last frame. */
  async list(): Promise<StoredSnapshot[]> {
    const objects = await inTime(
      this.#objects.list(),
      this.#timeoutMs,
      `Listing the object store ${this.#bucket}`,
    )
    return objects
      .filter(({ name, deleted }) => !deleted && isSnapshotName(name))
      .map(toStored)
      .sort((left, right) => (left.lastFrameNo ?? -1) - (right.lastFrameNo ?? -1))
  }

  async put(
    snapshot: Snapshot,
    method: Compression | 'none',
    signal: AbortSignal | undefined,
  ): Promise<StoredSnapshot> {
    const name =
      snapshot.lastFrameNo === undefined ? blankName : String(snapshot.lastFrameNo).padStart(16, '0')
    return snapshot.use(async ({ path }) => {
      const file = createReadStream(path, {
        highWaterMark: chunkBytes,
        ...(signal === undefined ? {} : { signal }),
      })
      try {
        const bytes = compressed(file, snapshot.byteLength, method)
        const web = Readable.toWeb(Readable.from(bytes, { objectMode: false, highWaterMark: chunkBytes }))
        const meta = { name, options: { max_chunk_size: chunkBytes } }
        return toStored(await this.#objects.put(meta, web as ReadableStream<Uint8Array>))
      } finally {
        file.destroy()
      }
    })
  }

  /** Throws ERR_NOT_FOUND, ERR_CORRUPT, ERR_NOT_A_SNAPSHOT; ERR_STORE when it does not go on. */
  async read(id: string, where: string, onBytes: (byteCount: number) => void): Promise<Snapshot> {
    const info = await this.#objects.info(id)
    if (info === null || info.deleted) {
      throw new MylibsqlError('ERR_NOT_FOUND', `${where} is no longer in the store`, { path: where })
    }
    const path = await temporaryPath('.db')
    try {
      const bytes = decompressed(this.#bytes(info, where, onBytes), { path: where })
      await pipeline(bytes, createWriteStream(path, { flags: 'wx' }))
      const file = await runTask({ kind: 'openSnapshot', path, verify: true, format: 'mylibsql' })
      return Snapshot.fromFile(file, { temporary: true })
    } catch (error) {
      await removeTemporaryFile(path)
      throw error instanceof MylibsqlError && error.details.path === path ? namedAs(where, error) : error
    }
  }

  /** Those that are not there are passed over. */
  async remove(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const info = await this.#objects.info(id)
      if (info !== null && !info.deleted) await this.#objects.delete(id)
    }
  }

  async *#bytes(
    { name, nuid, size, digest }: ObjectInfo,
    where: string,
    onBytes: (byteCount: number) => void,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const hash = createHash('sha256')
    let byteCount = 0
    const query = {
      from: 1,
      subject: `$O.${this.#bucket}.C.${nuid}`,
      isListing: false,
      timeoutMs: this.#timeoutMs,
    }
    if (size > 0) {
      for await (const { data } of messagesOf(this.#stream.js, `OBJ_${this.#bucket}`, query)) {
        hash.update(data)
        byteCount += data.length
        onBytes(byteCount)
        yield data
        if (byteCount >= size) break
      }
    }
    if (byteCount === size && digest === `SHA-256=${padded(hash.digest('base64url'))}`) return
    const now = await this.#objects.info(name)
    if (now === null || now.deleted || now.nuid !== nuid) {
      throw new MylibsqlError('ERR_NOT_FOUND', `${where} was removed while it was read`, { path: where })
    }
    const reason =
      byteCount === size ? 'its digest does not match' : `${byteCount} of ${size} bytes are there`
    throw new MylibsqlError('ERR_CORRUPT', `${where}: the object is damaged: ${reason}`, { path: where })
  }
}

function toStored({ name, size, mtime }: ObjectInfo): StoredSnapshot {
  const lastFrameNo = name === blankName ? undefined : Number(name)
  return { id: name, lastFrameNo, byteLength: size, storedAt: new Date(mtime) }
}

function isSnapshotName(name: string): boolean {
  return name === blankName || /^\d{16}$/.test(name)
}

/** NATS pads its digests. */
function padded(base64url: string): string {
  return base64url.padEnd(Math.ceil(base64url.length / 4) * 4, '=')
}
