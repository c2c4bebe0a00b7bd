/**
 * Compressed logs of a store as a replica's thread takes them: all at once, here and now. Larger ones, and those in which
 * something is wrong, are left to who looks closer.
 */
import * as zlib from 'node:zlib'
import { unpackedLogBytesMax } from '../protocol/limits.js'
import { decodeLogHeader, type LogFile, logHeaderBytesV3 } from '../protocol/log-format.js'
import {
  type Compression,
  decodeObjectHeader,
  isCompressedObject,
  objectHeaderBytes,
} from '../protocol/object-format.js'
import { readUpTo } from './file-io.js'

type Decompress = (
  bytes: Uint8Array,
  limits: { readonly maxOutputLength: number; readonly chunkSize: number },
) => Uint8Array

const decompress: Record<Compression, Decompress | undefined> = {
  deflate: zlib.inflateSync,
  brotli: zlib.brotliDecompressSync,
  // Newer releases of Node have it; the types of Node 20 do not know it.
  zstd: (zlib as { readonly zstdDecompressSync?: Decompress }).zstdDecompressSync,
}

/** The plain log in a file; undefined: it is not compressed, or has to be looked at more closely. Throws what is wrong with it. */
export function readUnpackedLog(fd: number, byteLength: number): LogFile | undefined {
  const first = readUpTo(fd, 0, objectHeaderBytes)
  if (!isCompressedObject(first) || byteLength > unpackedLogBytesMax) return undefined
  return unpackedLog(readUpTo(fd, 0, byteLength))
}

/** The same of an object in memory. */
export function unpackedLog(object: Uint8Array): LogFile | undefined {
  const header = decodeObjectHeader(object.subarray(0, objectHeaderBytes), {})
  if (header === undefined || header.rawBytes > unpackedLogBytesMax) return undefined
  const { method, rawBytes } = header
  // One more than there is to come: with room left, nobody has to ask whether there is more.
  const limits = { maxOutputLength: Math.max(1, rawBytes), chunkSize: Math.max(64, rawBytes + 1) }
  const bytes = decompress[method]?.(object.subarray(objectHeaderBytes), limits)
  if (bytes?.length !== rawBytes) return undefined
  return { location: { bytes }, header: decodeLogHeader(bytes.subarray(0, logHeaderBytesV3), {}, rawBytes) }
}
