/**
 * Compressed logs of a store as a replica's thread takes them: all at once, here and now. Larger ones, and those in which
 * something is wrong, are left to who looks closer.
 */
import * as zlib from 'node:zlib'
import { unpackedLogBytesMax } from '../protocol/limits.js'
import { decodeLogHeader, type LogFile, type LogHeader, logHeaderBytesV3 } from '../protocol/log-format.js'
import { type Compression, decodeObjectHeader, objectHeaderBytes } from '../protocol/object-format.js'
import { readUpTo } from './file-io.js'

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
const decompress: Record<Compression, Decompress | undefined> = {
  deflate: inflateSync,
  brotli: brotliDecompressSync,
  zstd: zstdDecompressSync,
}

/** The plain log in a file; undefined: it is not compressed, or has to be looked at more closely. Throws what is wrong with it. */
export function readUnpackedLog(fd: number, byteLength: number): LogFile | undefined {
  const first = readUpTo(fd, 0, objectHeaderBytes)
  const header = decodeObjectHeader(first, {})
  const isSmall = byteLength <= unpackedLogBytesMax && (header?.rawBytes ?? 0) <= unpackedLogBytesMax
  return header !== undefined && isSmall ? unpackedLog(readUpTo(fd, 0, byteLength)) : undefined
}

/** The same of an object in memory. */
export function unpackedLog(object: Uint8Array): LogFile | undefined {
  const { method, rawBytes } = decodeObjectHeader(object.subarray(0, objectHeaderBytes), {}) ?? {}
  if (method === undefined || rawBytes === undefined || rawBytes > unpackedLogBytesMax) return undefined
  const packed = object.subarray(objectHeaderBytes)
  // One more than there is to come: with room left, nobody has to ask whether there is more.
  const limits = { maxOutputLength: Math.max(1, rawBytes), chunkSize: Math.max(64, rawBytes + 1) }
  const { buffer: bytes, engine } = decompress[method]?.(packed, { ...limits, info: true }) ?? {}
  if (bytes?.length !== rawBytes || engine?.bytesWritten !== packed.length) return undefined
  const header = decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, rawBytes)
  return isTakenAtOnce(header) ? { location: { bytes }, header } : undefined
}

/** A log that goes into the WAL as it is, and moves the history on. */
export function isTakenAtOnce({ version, flags, frameCount }: LogHeader): boolean {
  return version === 3 && flags === 0 && frameCount > 0
}
