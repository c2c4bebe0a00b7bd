/**
 * An S3 service over HTTP, in memory: what a store asks of one, and the ways in which one fails. Objects are there at once
 * for everybody, and conditions are honoured, as in S3 itself. Requests with a checksum behind the body are refused, as
 * many other services do.
 */
import { createHash, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface S3Request {
  readonly method: string
  readonly bucket: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
}

/** What happens to a request instead of, or besides, what should. */
export type Fault =
  | { readonly status: number; readonly code: string }
  /** Its connection ends: before anything is done, or when it is done and not answered. */
  | 'reset before'
  | 'reset after'
  /** Never answered. */
  | 'hang'
  /** The second half of the body is missing, and the connection ends. */
  | 'cut short'
  /** Conditions are ignored. */
  | 'unconditional'
  /** Of a list: there is more, and none of it is sent; not by key. */
  | 'empty page'
  | 'unsorted'

interface StoredObject {
  readonly bytes: Buffer
  readonly modified: Date
}

interface Answer {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
}

export const accessKeyId = 'tester'
export const secretAccessKey = 'secret'

export class S3Server {
  /** Asked before each request is done. */
  fault: (request: S3Request) => Fault | undefined = () => undefined
  /** Every request so far: `PUT bucket/key`. */
  readonly requests: string[] = []
  readonly buckets = new Map<string, Map<string, StoredObject>>()
  readonly uploads = new Map<string, Map<number, Buffer>>()
  readonly #server: Server
  readonly #pageKeysMax: number

  private constructor(pageKeysMax: number) {
    this.#pageKeysMax = pageKeysMax
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
  }

  static async start(pageKeysMax = 7): Promise<S3Server> {
    const server = new S3Server(pageKeysMax)
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve))
    return server
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** These faults, one for each request that `isMeant`, until the test has finished. */
  failWith(faults: readonly Fault[], isMeant: (request: S3Request) => boolean): void {
    const left = [...faults]
    this.fault = (request) => (isMeant(request) ? left.shift() : undefined)
    onTestFinished(() => {
      this.fault = () => undefined
    })
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(message.url ?? '/', 'http://any')
    const [, bucket = '', ...rest] = decodeURIComponent(url.pathname).split('/')
    const { method = '', headers } = message
    const request = { method, bucket, key: rest.join('/'), query: url.searchParams, headers }
    this.requests.push(`${method} ${bucket}/${request.key}`)
    const fault = this.fault(request)
    if (fault === 'reset before') return void message.socket.destroy()
    const body = await bodyOf(message)
    if (fault === 'hang') return
    const answer =
      typeof fault === 'object' ? failure(fault.status, fault.code) : this.#answer(request, body, fault)
    if (fault === 'reset after') return void message.socket.destroy()
    send(response, method, answer, fault === 'cut short')
  }

  #answer(request: S3Request, body: Buffer, fault: Fault | undefined): Answer {
    const { method, bucket, key, query, headers } = request
    const refused = refusal(headers, body)
    if (refused !== undefined) return refused
    const objects = this.buckets.get(bucket)
    if (key === '' && method === 'PUT') {
      if (objects !== undefined) return failure(409, 'BucketAlreadyOwnedByYou')
      this.buckets.set(bucket, new Map())
      return { status: 200 }
    }
    if (objects === undefined) return failure(404, 'NoSuchBucket')
    if (key === '') return this.#list(objects, query, fault)
    if (query.has('uploads') || query.has('uploadId')) return this.#multipart(objects, request, body)
    const found = objects.get(key)
    if (method === 'PUT') {
      if (headers['if-none-match'] === '*' && found !== undefined && fault !== 'unconditional')
        return failure(412, 'PreconditionFailed')
      if (!isMatch(headers, found, fault))
        return failure(
          found === undefined ? 404 : 412,
          found === undefined ? 'NoSuchKey' : 'PreconditionFailed',
        )
      objects.set(key, { bytes: body, modified: new Date() })
      return { status: 200, headers: { ETag: etagOf(body) } }
    }
    if (method === 'DELETE') {
      if (found !== undefined && !isMatch(headers, found, fault)) return failure(412, 'PreconditionFailed')
      objects.delete(key)
      return { status: 204 }
    }
    if (found === undefined) return failure(404, 'NoSuchKey')
    const { bytes, modified } = found
    return {
      status: 200,
      headers: { ETag: etagOf(bytes), 'Last-Modified': modified.toUTCString() },
      body: bytes,
    }
  }

  /** ListObjectsV2. */
  #list(objects: Map<string, StoredObject>, query: URLSearchParams, fault: Fault | undefined): Answer {
    const prefix = query.get('prefix') ?? ''
    const after = query.get('start-after') ?? ''
    const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort()
    if (fault === 'unsorted') keys.reverse()
    const page = fault === 'empty page' ? [] : keys.slice(0, this.#pageKeysMax)
    const contents = page.map((key) => {
      const { bytes, modified } = objects.get(key)!
      return `<Contents><Key>${key}</Key><LastModified>${modified.toISOString()}</LastModified><Size>${bytes.length}</Size></Contents>`
    })
    const isTruncated = keys.length > page.length
    const body = `<ListBucketResult><IsTruncated>${isTruncated}</IsTruncated>${contents.join('')}</ListBucketResult>`
    return xml(body)
  }

  #multipart(objects: Map<string, StoredObject>, { method, key, query }: S3Request, body: Buffer): Answer {
    if (query.has('uploads')) {
      const id = randomUUID()
      this.uploads.set(id, new Map())
      return xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
    }
    const id = query.get('uploadId')!
    const parts = this.uploads.get(id)
    if (parts === undefined) return failure(404, 'NoSuchUpload')
    if (method === 'PUT') {
      parts.set(Number(query.get('partNumber')), body)
      return { status: 200, headers: { ETag: etagOf(body) } }
    }
    this.uploads.delete(id)
    if (method === 'DELETE') return { status: 204 }
    const numbers = [...body.toString().matchAll(/<PartNumber>(\d+)</g)].map((found) => Number(found[1]))
    const bytes = Buffer.concat(numbers.map((number) => parts.get(number)!))
    objects.set(key, { bytes, modified: new Date() })
    return xml(`<CompleteMultipartUploadResult><Key>${key}</Key></CompleteMultipartUploadResult>`)
  }
}

/** Whoever is not known; what was damaged on the way; what this service does not know. */
function refusal(headers: S3Request['headers'], body: Buffer): Answer | undefined {
  if (!headers.authorization?.includes(`Credential=${accessKeyId}/`))
    return failure(403, 'InvalidAccessKeyId')
  const sha256 = headers['x-amz-content-sha256']
  if (typeof sha256 === 'string' && sha256.startsWith('STREAMING-')) return failure(501, 'NotImplemented')
  if (/^[0-9a-f]{64}$/.test(String(sha256)) && sha256 !== createHash('sha256').update(body).digest('hex'))
    return failure(400, 'XAmzContentSHA256Mismatch')
  const md5 = headers['content-md5']
  if (md5 !== undefined && md5 !== createHash('md5').update(body).digest('base64'))
    return failure(400, 'BadDigest')
  return undefined
}

function isMatch(
  headers: S3Request['headers'],
  found: StoredObject | undefined,
  fault: Fault | undefined,
): boolean {
  const etag = headers['if-match']
  return (
    etag === undefined || fault === 'unconditional' || (found !== undefined && etag === etagOf(found.bytes))
  )
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function send(response: ServerResponse, method: string, answer: Answer, isCutShort: boolean): void {
  const body = Buffer.from(answer.body ?? '')
  const length = answer.status === 204 ? {} : { 'Content-Length': String(body.length) }
  response.writeHead(answer.status, { ...answer.headers, ...length })
  if (!isCutShort) return void response.end(method === 'HEAD' ? undefined : body)
  response.write(body.subarray(0, body.length / 2), () => response.destroy())
}

function failure(status: number, code: string): Answer {
  return { ...xml(`<Error><Code>${code}</Code><Message>${code} says the test</Message></Error>`), status }
}

function xml(body: string): Answer {
  const headers = { 'Content-Type': 'application/xml' }
  return { status: 200, headers, body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}` }
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`
}
