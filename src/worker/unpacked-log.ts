/**
 * Compressed logs of a store as a replica's thread takes them: all at once, here and now. Larger ones, and those in which
 * something is wrong, are left to who looks closer.
 */
import * as zlib from 'node:zlib'
import { unpackedLogBytesMax } from '../protocol/limits.js'
import { decodeLogHeader, type LogFile, type LogHeader, logHeaderBytesV3 } from '../protocol/log-format.js'
import { type Compression, decodeObjectHeader, objectHeaderBytes } from '../protocol/object-format.js'
import { readUpTo } from './file-io.js'
import { unpackLz4Frame } from './lz4.js'

interface Decompressed {
  readonly buffer: Uint8Array
  /** `bytesWritten`: of the input, those that belong to the stream. */
  readonly engine: { readonly bytesWritten: number }
}

type Decompress = (
  bytes: Uint8Array,
  limits: { readonly maxOutputLength: number; readonly chunkSize: number; readonly info: true },
) => Decompressed

// The types of Node 20 know neither zstd, which newer releases have, nor what `info` gives.
const { inflateSync, brotliDecompressSync, zstdDecompressSync } = zlib as unknown as {
  readonly inflateSync: Decompress
  readonly brotliDecompressSync: Decompress
  readonly zstdDecompressSync?: Decompress
}
const decompress: Record<Exclude<Compression, 'lz4'>, Decompress | undefined> = {
  deflate: inflateSync,
  brotli: brotliDecompressSync,
  zstd: zstdDecompressSync,
}

/**
 * Memory for what is unpacked: to have it from the system each time takes as long as to fill it, three times over. A replica
 * that cannot keep up gets ever larger logs, and must not take longer for each byte of them. Room for large ones is let go of
 * when none has come for a while.
 */
let kept: Uint8Array | undefined
const keptBytesAlways = 8 * 1024 * 1024
const keptMs = 10_000
let lettingGo: NodeJS.Timeout | undefined

/** The plain log in a file; undefined: it is not compressed, or has to be looked at more closely. Throws what is wrong with it. */
export function readUnpackedLog(fd: number, byteLength: number): LogFile | undefined {
  const first = readUpTo(fd, 0, objectHeaderBytes)
  const header = decodeObjectHeader(first, {})
  const isSmall = byteLength <= unpackedLogBytesMax && (header?.rawBytes ?? 0) <= unpackedLogBytesMax
  return header !== undefined && isSmall ? unpackedLog(readUpTo(fd, 0, byteLength)) : undefined
}

/** The same of an object in memory. What it holds is there until the next one is unpacked, unless it has other `room`. */
export function unpackedLog(object: Uint8Array, room = keptBytes): LogFile | undefined {
  const { method, rawBytes } = decodeObjectHeader(object.subarray(0, objectHeaderBytes), {}) ?? {}
  if (method === undefined || rawBytes === undefined || rawBytes > unpackedLogBytesMax) return undefined
  const packed = object.subarray(objectHeaderBytes)
  const bytes = method === 'lz4' ? lz4Content(packed, room(rawBytes)) : zlibContent(packed, method, rawBytes)
  if (bytes === undefined) return undefined
  const header = decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, rawBytes)
  return isTakenAtOnce(header) ? { location: { bytes }, header } : undefined
}

function zlibContent(
  packed: Uint8Array,
  method: Exclude<Compression, 'lz4'>,
  rawBytes: number,
): Uint8Array | undefined {
  // One more than there is to come: with room left, nobody has to ask whether there is more.
  const limits = { maxOutputLength: Math.max(1, rawBytes), chunkSize: Math.max(64, rawBytes + 1) }
  const { buffer, engine } = decompress[method]?.(packed, { ...limits, info: true }) ?? {}
  return buffer?.length === rawBytes && engine?.bytesWritten === packed.length ? buffer : undefined
}

function lz4Content(packed: Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
  return unpackLz4Frame(packed, bytes) ? bytes : undefined
}

function keptBytes(byteLength: number): Uint8Array {
  if (kept === undefined || kept.length < byteLength)
    kept = new Uint8Array(Math.min(2 * byteLength, unpackedLogBytesMax))
  // Those that are small do not put it off.
  if (2 * byteLength > keptBytesAlways) lettingGo = lettingGo?.refresh() ?? setTimeout(letGo, keptMs).unref()
  return kept.subarray(0, byteLength)
}

function letGo(): void {
  kept = undefined
  lettingGo = undefined
}

/** A log that goes into the WAL as it is, and moves the history on. */
export function isTakenAtOnce({ version, flags, frameCount }: LogHeader): boolean {
  return version === 3 && flags === 0 && frameCount > 0
}
