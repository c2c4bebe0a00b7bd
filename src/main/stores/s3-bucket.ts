/** The requests that a store makes of S3: each of them tried again while that may help, and bounded in time. */
import { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  type BucketLocationConstraint,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { MylibsqlError } from '../../protocol/errors.js'
import { Attempts } from './s3-attempts.js'
import {
  Interrupted,
  isBucketMissing,
  isBucketThere,
  isMissing,
  isTaken,
  storeError,
  wasRepeated,
} from './s3-failure.js'
import { type Payload, payloadBytesMax } from './s3-payload.js'
import type { CallLimits } from './store.js'

export interface S3Object {
  readonly key: string
  readonly byteLength: number
  /** Whole seconds: some answers have no more. */
  readonly storedAt: Date
  /** When it was asked for by itself. */
  readonly etag?: string
}

/** 'maybe own': an object is there, maybe this one, put by an attempt whose answer was lost. */
type PutOutcome = 'made' | 'taken' | 'maybe own'

interface PutCondition {
  readonly IfNoneMatch?: string
  readonly IfMatch?: string
}

interface BucketOptions {
  readonly client: S3Client
  readonly bucket: string
  /** Of the store, for messages. */
  readonly url: string
  readonly timeoutMs: number
}

/** Of a multipart upload: at least 5 MiB, and 10,000 parts at most. */
const part = { bytesMin: 8 * 1024 * 1024, countMax: 9000, atOnce: 4 }
/** What a slow line sends in a second. */
const slowBytesPerSecond = 128 * 1024
/** Attempts at a transfer that ends early, however long each takes. */
const transfersMin = 2

export class S3Bucket {
  readonly attempts: Attempts
  readonly #client: S3Client
  readonly #bucket: string
  readonly #timeoutMs: number

  constructor({ client, bucket, url, timeoutMs }: BucketOptions) {
    this.attempts = new Attempts(url, timeoutMs)
    this.#client = client
    this.#bucket = bucket
    this.#timeoutMs = timeoutMs
  }

  nameOf(key: string): string {
    return `s3://${this.#bucket}/${key}`
  }

  /** Throws ERR_NOT_FOUND when there is no such bucket, and it is not to be made. */
  async open(create: boolean): Promise<void> {
    const name = `s3://${this.#bucket}`
    const isThere = await this.attempts.run('open', name, {}, async ({ signal }) => {
      try {
        const request = { Bucket: this.#bucket, MaxKeys: 1 }
        await this.#client.send(new ListObjectsV2Command(request), { abortSignal: signal })
        return true
      } catch (error) {
        if (isBucketMissing(error)) return false
        throw error
      }
    })
    if (isThere) return
    if (!create) {
      const message = `There is no bucket ${this.#bucket} (${await this.endpoint()}); the option "create" makes it`
      throw new MylibsqlError('ERR_NOT_FOUND', message, { path: name })
    }
    await this.attempts.run('make the bucket', name, {}, async ({ signal }) => {
      try {
        const region = await this.#client.config.region()
        const where = { LocationConstraint: region as BucketLocationConstraint }
        const request = {
          Bucket: this.#bucket,
          ...(region === 'us-east-1' ? {} : { CreateBucketConfiguration: where }),
        }
        await this.#client.send(new CreateBucketCommand(request), { abortSignal: signal })
      } catch (error) {
        if (!isBucketThere(error)) throw error
      }
    })
  }

  /** Where requests go, for messages. */
  async endpoint(): Promise<string> {
    const given = await this.#client.config.endpoint?.()
    if (given === undefined) return `Amazon S3, region ${await this.#client.config.region()}`
    const { protocol, hostname, port, path } = given
    return `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path === '/' ? '' : path}`
  }

  /** Create-only. An object that is there already is never touched. */
  async putNew(key: string, payload: Payload, limits?: CallLimits): Promise<PutOutcome> {
    return this.#put(key, payload, limits, async (send, count) => {
      try {
        await send({ IfNoneMatch: '*' })
        return 'made'
      } catch (error) {
        if (!isTaken(error)) throw error
        return count > 1 || wasRepeated(error) ? 'maybe own' : 'taken'
      }
    })
  }

  /** In the place of the object that has this ETag; false when that is not there (any more). */
  async putOver(key: string, etag: string, payload: Payload, limits?: CallLimits): Promise<boolean> {
    return this.#put(key, payload, limits, async (send) => {
      try {
        await send({ IfMatch: etag })
        return true
      } catch (error) {
        if (isTaken(error) || isMissing(error)) return false
        throw error
      }
    })
  }

  /** In parts, for what is larger or of unknown length. It is there when it is complete, and not before. */
  async upload(
    key: string,
    chunks: () => AsyncIterable<Uint8Array>,
    byteLengthMax: number,
    limits?: CallLimits,
  ): Promise<void> {
    const partSize = Math.max(part.bytesMin, Math.ceil(byteLengthMax / part.countMax))
    const idleMs = this.#timeoutMs + transferMs(part.atOnce * Math.min(partSize, byteLengthMax))
    const options = { ...limits, idleMs, attemptsMin: transfersMin }
    return this.attempts.run('store', this.nameOf(key), options, async ({ signal, alive }) => {
      const body = Readable.from(chunks(), { objectMode: false })
      const params = { Bucket: this.#bucket, Key: key, Body: body }
      const client = this.#boundClient(signal, alive)
      try {
        await new Upload({ client, params, partSize, queueSize: part.atOnce }).done()
      } finally {
        body.destroy()
      }
    })
  }

  /** Undefined: it is not there. */
  async find(key: string, limits?: CallLimits): Promise<S3Object | undefined> {
    return this.attempts.run('find', this.nameOf(key), { ...limits }, async ({ signal }) => {
      try {
        const request = new HeadObjectCommand({ Bucket: this.#bucket, Key: key })
        const found = await this.#client.send(request, { abortSignal: signal })
        const { ContentLength = 0, LastModified, ETag } = found
        const etag = ETag === undefined ? {} : { etag: ETag }
        return { key, byteLength: ContentLength, storedAt: wholeSeconds(LastModified), ...etag }
      } catch (error) {
        if (isMissing(error)) return undefined
        throw error
      }
    })
  }

  /**
   * Gives the bytes to `use`, from the beginning again when they end early.
   *
   * Throws ERR_NOT_FOUND; what `use` throws.
   */
  async read<T>(
    key: string,
    limits: CallLimits | undefined,
    use: (chunks: AsyncIterable<Uint8Array>, etag: string | undefined) => Promise<T>,
  ): Promise<T> {
    const options = { ...limits, attemptsMin: transfersMin }
    return this.attempts.run('read', this.nameOf(key), options, async ({ signal, alive }) => {
      const { body, byteLength, etag } = await this.#get(key, signal)
      const onAbort = () => body.destroy(new Interrupted('given up'))
      signal.addEventListener('abort', onAbort)
      try {
        return await use(received(body, byteLength, alive), etag)
      } finally {
        signal.removeEventListener('abort', onAbort)
        body.destroy()
      }
    })
  }

  /**
   * Objects whose keys begin with `prefix` and come after `startAfter`, by key. Each page begins after the last key of the
   * one before, so that none is left out.
   */
  async *list(
    prefix: string,
    startAfter: string,
    limits?: CallLimits,
  ): AsyncGenerator<S3Object, void, undefined> {
    for (let after = startAfter; ; ) {
      const { objects, isLast } = await this.#page(prefix, after, limits)
      for (const object of objects) {
        if (object.key <= after) throw this.#unsorted(object.key, after)
        after = object.key
        yield object
      }
      if (isLast) return
    }
  }

  /** Not there is as good. With an `etag`, only that object, if the service heeds it: others remove whatever is there. */
  async remove(key: string, limits?: CallLimits, etag?: string): Promise<void> {
    await this.attempts.run('remove', this.nameOf(key), { ...limits }, async ({ signal }) => {
      const condition = etag === undefined ? {} : { IfMatch: etag }
      const request = new DeleteObjectCommand({ Bucket: this.#bucket, Key: key, ...condition })
      await this.#client.send(request, { abortSignal: signal }).catch((error: unknown) => {
        if (!isMissing(error) && !isTaken(error)) throw error
      })
    })
  }

  async #put<T>(
    key: string,
    { byteLength, md5, open }: Payload,
    limits: CallLimits | undefined,
    attempt: (send: (condition: PutCondition) => Promise<void>, count: number) => Promise<T>,
  ): Promise<T> {
    const name = this.nameOf(key)
    if (byteLength > payloadBytesMax) {
      const reason = new Error(`it has ${byteLength} bytes, and S3 takes ${payloadBytesMax} at once`)
      throw storeError('store', name, reason)
    }
    const inMemoryMs = md5 === undefined ? transferMs(byteLength) : 0
    const options = { ...limits, idleMs: this.#timeoutMs / 3 + inMemoryMs }
    return this.attempts.run('store', name, options, async ({ signal, alive, count }) => {
      const body = open(alive)
      try {
        return await attempt(async (condition) => {
          const request = {
            Bucket: this.#bucket,
            Key: key,
            Body: body,
            ContentLength: byteLength,
            ...(md5 === undefined ? {} : { ContentMD5: md5 }),
            ...condition,
          }
          await this.#client.send(new PutObjectCommand(request), { abortSignal: signal })
        }, count)
      } finally {
        if (body instanceof Readable) body.destroy()
      }
    })
  }

  async #get(
    key: string,
    signal: AbortSignal,
  ): Promise<{ body: Readable; byteLength: number | undefined; etag: string | undefined }> {
    try {
      const request = new GetObjectCommand({ Bucket: this.#bucket, Key: key })
      const { Body, ContentLength, ETag } = await this.#client.send(request, { abortSignal: signal })
      if (Body instanceof Readable) return { body: Body, byteLength: ContentLength, etag: ETag }
      throw new Error('the client gives no stream of Node: it was made for browsers')
    } catch (error) {
      if (!isMissing(error)) throw error
      const name = this.nameOf(key)
      const message = `${name} is not there (any more)`
      throw new MylibsqlError('ERR_NOT_FOUND', message, { path: name }, { cause: error })
    }
  }

  async #page(
    prefix: string,
    after: string,
    limits: CallLimits | undefined,
  ): Promise<{ objects: S3Object[]; isLast: boolean }> {
    return this.attempts.run('list', this.nameOf(prefix), { ...limits }, async ({ signal }) => {
      const request = new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, StartAfter: after })
      const { Contents = [], IsTruncated } = await this.#client.send(request, { abortSignal: signal })
      const objects = Contents.map(({ Key = '', Size = 0, LastModified }) => {
        return { key: Key, byteLength: Size, storedAt: wholeSeconds(LastModified) }
      })
      const isLast = IsTruncated !== true
      if (objects.length === 0 && !isLast) throw new Interrupted('there is more, and none of it was sent')
      return { objects, isLast }
    })
  }

  /** What an upload sends is given up with it; what has been sent of it is removed then, in a bounded time. */
  #boundClient(signal: AbortSignal, alive: () => void): S3Client {
    const client = this.#client
    const timeoutMs = this.#timeoutMs
    const send = async (command: Parameters<S3Client['send']>[0]) => {
      const isEnd = command instanceof AbortMultipartUploadCommand
      const abortSignal = isEnd ? AbortSignal.timeout(timeoutMs) : signal
      const answer = await client.send(command, { abortSignal }).catch((error: unknown) => {
        // Why the upload failed is told, and not that its remains are still there.
        if (!isEnd) throw error
      })
      alive()
      return answer
    }
    return Object.create(client, { send: { value: send } }) as S3Client
  }

  #unsorted(key: string, after: string): MylibsqlError {
    const reason = new Error(`it is listed after ${after}: the service does not list keys in order`)
    return storeError('use', this.nameOf(key), reason)
  }
}

async function* received(
  body: Readable,
  byteLength: number | undefined,
  alive: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let byteCount = 0
  const chunks: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await chunks.next().catch((cause: unknown) => {
      throw new Interrupted(`the answer ended after ${byteCount} bytes`, { cause })
    })
    if (done === true) break
    alive()
    byteCount += value.length
    yield value
  }
  if (byteLength !== undefined && byteCount < byteLength)
    throw new Interrupted(`the answer ended after ${byteCount} of ${byteLength} bytes`)
}

function transferMs(byteLength: number): number {
  return Math.ceil((byteLength / slowBytesPerSecond) * 1000)
}

function wholeSeconds(date: Date | undefined): Date {
  return new Date(Math.floor((date?.getTime() ?? 0) / 1000) * 1000)
}
