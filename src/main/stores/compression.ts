/**
 * Compression of what stores keep (protocol/object-format.ts), as chunks that flow through: nothing is held whole. zlib
 * works in libuv's threads.
 */
import { pipeline } from 'node:stream/promises'
import * as zlib from 'node:zlib'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Where } from '../../protocol/log-format.js'
import {
  type Compression,
  decodeObjectHeader,
  encodeObjectHeader,
  objectHeaderBytes,
} from '../../protocol/object-format.js'
import { oneOf, wrong } from '../arguments.js'

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>
type Transform = NodeJS.ReadWriteStream & AsyncIterable<Uint8Array>

/** Newer releases of Node have it; the types of Node 20 do not know it. */
interface ZstdOfNode {
  readonly createZstdCompress?: () => Transform
  readonly createZstdDecompress?: () => Transform
}
const { createZstdCompress, createZstdDecompress } = zlib as ZstdOfNode

/** Brotli's own default, 11, is for files that are compressed once and sent a thousand times. */
const brotliQuality = 4

export function checkCompression(value: unknown, name: string): Compression | 'none' {
  const method = oneOf('none', 'deflate', 'brotli', 'zstd')(value, name)
  if (method === 'zstd' && createZstdCompress === undefined) {
    throw wrong(name, `'none', 'deflate' or 'brotli': Node ${process.versions.node} has no zstd`, value)
  }
  return method
}

/** The object that holds `chunks`, which are `rawBytes` in all. */
export async function* compressed(
  chunks: Chunks,
  rawBytes: number,
  method: Compression | 'none',
): AsyncGenerator<Uint8Array, void, undefined> {
  if (method === 'none') {
    yield* chunks
    return
  }
  yield encodeObjectHeader({ method, rawBytes })
  yield* through(chunks, compressor(method))
}

/**
 * What an object holds, compressed or not.
 *
 * Throws ERR_VERSION, ERR_CORRUPT naming `where`.
 */
export async function* decompressed(
  chunks: Chunks,
  where: Where,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = iterator(chunks)
  try {
    const first = await takeHeader(source)
    const header = decodeObjectHeader(first, where)
    const rest = joined(first.subarray(header === undefined ? 0 : objectHeaderBytes), source)
    if (header === undefined) yield* rest
    else yield* checked(through(rest, decompressor(header.method, where)), header.rawBytes, where)
  } finally {
    await source.return?.()
  }
}

/** All chunks as one array of bytes. */
export async function gathered(chunks: Chunks): Promise<Uint8Array> {
  const list: Uint8Array[] = []
  for await (const chunk of chunks) list.push(chunk)
  return list.length === 1 ? list[0]! : Buffer.concat(list)
}

/** Ends an object whose bytes are more or fewer than it says, before somebody runs out of memory over it. */
async function* checked(chunks: Chunks, rawBytes: number, where: Where): AsyncGenerator<Uint8Array> {
  let byteCount = 0
  const damaged = (reason: string, cause?: unknown) => {
    const message = `${where.path ?? 'The object'}: the object is damaged: ${reason}`
    const details = { ...where, expected: rawBytes, actual: byteCount }
    return new MylibsqlError('ERR_CORRUPT', message, details, { cause })
  }
  try {
    for await (const chunk of chunks) {
      byteCount += chunk.length
      if (byteCount > rawBytes) throw damaged(`it holds more than the ${rawBytes} bytes that its header says`)
      yield chunk
    }
  } catch (error) {
    // What zlib itself says: Z_DATA_ERROR, Z_BUF_ERROR, ERR__ERROR_FORMAT_..., ZSTD_error_...
    const isDamage = /^(Z_|ERR_+(BROTLI|PADDING|ERROR|ALLOC|UNREACHABLE)|ZSTD_)/.test(
      String((error as { code?: unknown } | null)?.code),
    )
    throw isDamage ? damaged((error as Error).message, error) : error
  }
  if (byteCount < rawBytes)
    throw damaged(`it holds ${byteCount} of the ${rawBytes} bytes that its header says`)
}

async function* through(chunks: Chunks, transform: Transform): AsyncGenerator<Uint8Array> {
  const fed = pipeline(chunks, transform)
  // Told by the iteration below.
  fed.catch(() => {})
  yield* transform
  await fed
}

function compressor(method: Compression): Transform {
  if (method === 'zstd' && createZstdCompress !== undefined) return createZstdCompress()
  const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: brotliQuality }
  return method === 'brotli' ? zlib.createBrotliCompress({ params }) : zlib.createDeflate()
}

function decompressor(method: Compression, where: Where): Transform {
  if (method === 'brotli') return zlib.createBrotliDecompress()
  if (method === 'deflate') return zlib.createInflate()
  if (createZstdDecompress !== undefined) return createZstdDecompress()
  const message = `${where.path ?? 'The object'} is compressed with zstd, which Node ${process.versions.node} does not have`
  throw new MylibsqlError('ERR_VERSION', message, { ...where })
}

function iterator(chunks: Chunks): AsyncIterator<Uint8Array> | Iterator<Uint8Array> {
  return Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
}

/** At least the bytes of a header, fewer at the end. */
async function takeHeader(source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>): Promise<Uint8Array> {
  let bytes: Uint8Array = new Uint8Array(0)
  while (bytes.length < objectHeaderBytes) {
    const { done, value } = await source.next()
    if (done === true) break
    bytes = bytes.length === 0 ? value : Buffer.concat([bytes, value])
  }
  return bytes
}

async function* joined(
  first: Uint8Array,
  rest: AsyncIterator<Uint8Array> | Iterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first
  for (;;) {
    const { done, value } = await rest.next()
    if (done === true) return
    yield value
  }
}
