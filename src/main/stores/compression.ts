/**
 * Compression of what stores keep (protocol/object-format.ts). Small logs at once, everything else as chunks that flow
 * through: nothing large is held whole. zlib works in libuv's threads, LZ4 in task threads.
 */
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Where } from '../../protocol/log-format.js'
import {
  type Compression,
  decodeObjectHeader,
  encodeObjectHeader,
  type ObjectHeader,
  objectHeaderBytes,
} from '../../protocol/object-format.js'
import { oneOf, wrong } from '../arguments.js'
import { ChunkReader, type Chunks } from './chunk-reader.js'
import { lz4Content, lz4Frame } from './lz4-stream.js'

type ZlibMethod = Exclude<Compression, 'lz4'>
type Transform = NodeJS.ReadWriteStream &
  AsyncIterable<Uint8Array> & {
    /** Of its input, those that it has taken. */
    readonly bytesWritten: number
  }
type CompressBytes = (bytes: Uint8Array, options: object) => Promise<Uint8Array>

/** `quick`: somebody waits for it. `thorough`: it is written once, and stays. */
export type Effort = 'quick' | 'thorough'

/** Newer releases of Node have it; the types of Node 20 do not know it. */
interface ZstdOfNode {
  readonly createZstdCompress?: (options: object) => Transform
  readonly createZstdDecompress?: (options: object) => Transform
  readonly zstdCompress?: (...args: never[]) => void
  readonly constants: { readonly ZSTD_c_compressionLevel?: number }
}
const { createZstdCompress, createZstdDecompress, zstdCompress, constants: zstd } = zlib as ZstdOfNode
const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_LGWIN } = zlib.constants

/**
 * On pages of a database, the first levels give nine tenths of what the higher ones do, in a tenth of the time. Brotli's own
 * default, 11, is for files that are compressed once and sent a thousand times.
 */
const levels: Record<ZlibMethod, Record<Effort, number>> = {
  deflate: { quick: 1, thorough: 6 },
  brotli: { quick: 1, thorough: 4 },
  zstd: { quick: 1, thorough: 3 },
}
/** Of what is small: the memory for a larger window is had from the system each time, which takes longer than to compress. */
const smallWindow = { bits: 18, bytesMax: 1024 * 1024 }
/** Bytes that come out of a stream at a time: to go back to the event loop takes about as long as 64 KiB of them. */
const streamChunkBytes = 1024 * 1024

export function checkCompression(value: unknown, name: string): Compression | 'none' {
  const method = oneOf('none', 'deflate', 'brotli', 'zstd', 'lz4')(value, name)
  if (method === 'zstd' && createZstdCompress === undefined) {
    throw wrong(
      name,
      `'none', 'deflate', 'brotli' or 'lz4': Node ${process.versions.node} has no zstd`,
      value,
    )
  }
  return method
}

/** The object that holds `chunks`, which are `rawBytes` in all. */
export async function* compressed(
  chunks: Chunks,
  rawBytes: number,
  method: Compression | 'none',
  effort: Effort = 'thorough',
): AsyncGenerator<Uint8Array, void, undefined> {
  if (method === 'none') {
    yield* chunks
    return
  }
  yield encodeObjectHeader({ method, rawBytes })
  yield* method === 'lz4' ? lz4Frame(chunks, rawBytes) : through(chunks, compressor(method, effort))
}

/** The same of what is in memory, at once. What does not become smaller by it is left as it is. */
export async function compressedBytes(bytes: Uint8Array, method: ZlibMethod): Promise<readonly Uint8Array[]> {
  const windowBits = bytes.length <= smallWindow.bytesMax ? smallWindow.bits : undefined
  const small = await compressAtOnce[method](bytes, compressorOptions(method, 'quick', windowBits))
  if (objectHeaderBytes + small.length >= bytes.length) return [bytes]
  return [encodeObjectHeader({ method, rawBytes: bytes.length }), small]
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
  const source = new ChunkReader(chunks)
  try {
    const header = decodeObjectHeader(await source.peek(objectHeaderBytes), where)
    if (header !== undefined) await source.take(objectHeaderBytes)
    yield* header === undefined ? source.chunks() : unpacked(source.chunks(), header, where)
  } finally {
    await source.close()
  }
}

/** All chunks as one array of bytes. */
export async function gathered(chunks: Chunks): Promise<Uint8Array> {
  const list: Uint8Array[] = []
  for await (const chunk of chunks) list.push(chunk)
  return list.length === 1 ? list[0]! : Buffer.concat(list)
}

/** The content of a compressed object. Ends it when it is longer than it says, before somebody runs out of memory over it. */
async function* unpacked(chunks: Chunks, header: ObjectHeader, where: Where): AsyncGenerator<Uint8Array> {
  const { rawBytes } = header
  let byteCount = 0
  const damaged = (reason: string, cause?: unknown) => {
    const message = `${where.path ?? 'The object'}: the object is damaged: ${reason}`
    const details = { ...where, expected: rawBytes, actual: byteCount }
    return new MylibsqlError('ERR_CORRUPT', message, details, { cause })
  }
  if (header.method === 'lz4') {
    for await (const chunk of lz4Content(chunks, rawBytes, damaged)) {
      byteCount += chunk.length
      yield chunk
    }
    return
  }
  const transform = decompressor(header.method, rawBytes, where)
  let fedBytes = 0
  const counted = async function* () {
    for await (const chunk of chunks) {
      fedBytes += chunk.length
      yield chunk
    }
  }
  const fed = pipeline(counted(), transform)
  // Told below.
  fed.catch(() => {})
  try {
    for await (const chunk of transform) {
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
  // Its end was reached: where the source has more, or had, that is not part of it.
  const isAllFed = await fed.then(
    () => true,
    () => false,
  )
  if (!isAllFed || transform.bytesWritten !== fedBytes)
    throw damaged('other bytes follow on the compressed ones')
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

const compressAtOnce: Record<ZlibMethod, CompressBytes> = {
  deflate: promisify(zlib.deflate) as CompressBytes,
  brotli: promisify(zlib.brotliCompress) as CompressBytes,
  zstd: promisify(zstdCompress ?? withoutZstd) as CompressBytes,
}

/** checkCompression() lets nobody ask for it where there is none. */
function withoutZstd(): never {
  throw new TypeError(`Node ${process.versions.node} has no zstd`)
}

function compressor(method: ZlibMethod, effort: Effort): Transform {
  const options = { ...compressorOptions(method, effort), chunkSize: streamChunkBytes }
  if (method === 'zstd') return (createZstdCompress ?? withoutZstd)(options)
  return method === 'brotli' ? zlib.createBrotliCompress(options) : zlib.createDeflate(options)
}

function compressorOptions(method: ZlibMethod, effort: Effort, windowBits?: number): object {
  const level = levels[method][effort]
  if (method === 'deflate') return { level }
  if (method === 'zstd') return { params: { [zstd.ZSTD_c_compressionLevel ?? 0]: level } }
  const window = windowBits === undefined ? {} : { [BROTLI_PARAM_LGWIN]: windowBits }
  return { params: { [BROTLI_PARAM_QUALITY]: level, ...window } }
}

function decompressor(method: ZlibMethod, rawBytes: number, where: Where): Transform {
  // One more than there is to come: with room left, nobody has to ask whether there is more.
  const options = { chunkSize: Math.max(64, Math.min(streamChunkBytes, rawBytes + 1)) }
  if (method === 'brotli') return zlib.createBrotliDecompress(options)
  if (method === 'deflate') return zlib.createInflate(options)
  if (createZstdDecompress !== undefined) return createZstdDecompress(options)
  const message = `${where.path ?? 'The object'} is compressed with zstd, which Node ${process.versions.node} does not have`
  throw new MylibsqlError('ERR_VERSION', message, { ...where })
}
