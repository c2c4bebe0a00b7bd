/** A log as the object that a store keeps: under another header, compressed if that is wanted. */
import { packedLogBytesMax } from '../../protocol/limits.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import type { PlainRecords } from '../../protocol/tasks.js'
import { LogReader } from '../log-reader.js'
import { compressed, compressedBytes } from './compression.js'
import { packedLog } from './lz4-stream.js'

/** A log under another header, as a thread gets it. */
interface PlainParts {
  readonly pieces: readonly Uint8Array[]
  /** Where the rest is, behind the header in `pieces`. */
  readonly records?: PlainRecords
}

/** The bytes of the object, in pieces. A log that is not merged is waited for; a merged one is written once, and stays. */
export async function* logObject(
  file: LogFile,
  headerBytes: Uint8Array,
  method: Compression | 'none',
): AsyncGenerator<Uint8Array, void, undefined> {
  const rawBytes = logByteLength(file.header)
  const isMerged = file.header.merged !== undefined
  if (method === 'none' || rawBytes > packedLogBytesMax || isMerged)
    yield* compressed(plainChunks(file, headerBytes), rawBytes, method, isMerged ? 'thorough' : 'quick')
  else if (method === 'lz4') yield* packedObject(file, headerBytes)
  else yield* await compressedBytes(await plainBytes(file, headerBytes), method)
}

/** Undefined: its records have to be read before. */
export function plainParts({ location, header }: LogFile, headerBytes: Uint8Array): PlainParts | undefined {
  // Inside another file it begins elsewhere.
  if (header.headerBytes !== headerBytes.length) return undefined
  const byteLength = logByteLength(header)
  if ('path' in location) return { pieces: [headerBytes], records: { path: location.path, byteLength } }
  return { pieces: [headerBytes, location.bytes.subarray(headerBytes.length, byteLength)] }
}

async function* packedObject(
  file: LogFile,
  headerBytes: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pieces, records } = plainParts(file, headerBytes) ?? {
    pieces: [await plainBytes(file, headerBytes)],
  }
  const object = await packedLog(pieces, records)
  if (object !== undefined) yield object
  else yield* plainChunks(file, headerBytes)
}

async function plainBytes(file: LogFile, headerBytes: Uint8Array): Promise<Uint8Array> {
  const reader = await LogReader.open(file)
  try {
    const bytes = await reader.bytes()
    bytes.set(headerBytes)
    return bytes
  } finally {
    await reader.close()
  }
}

async function* plainChunks(
  file: LogFile,
  headerBytes: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = await LogReader.open(file)
  try {
    yield headerBytes
    yield* reader.chunks()
  } finally {
    await reader.close()
  }
}
