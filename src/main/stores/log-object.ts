/** A log as the object that a store keeps: under another header, compressed if that is wanted. */
import { logMemoryBytesMax } from '../../protocol/limits.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import { LogReader } from '../log-reader.js'
import { compressed, compressedBytes } from './compression.js'

/** Of a log that is compressed at once. */
const bytesMax = 2 * logMemoryBytesMax

/** The bytes of the object, in pieces. A log that is not merged is waited for; a merged one is written once, and stays. */
export async function* logObject(
  file: LogFile,
  headerBytes: Uint8Array,
  method: Compression | 'none',
): AsyncGenerator<Uint8Array, void, undefined> {
  const { header, location } = file
  const rawBytes = logByteLength(header)
  const isMerged = header.merged !== undefined
  if (method !== 'none' && 'bytes' in location && rawBytes <= bytesMax && !isMerged) {
    const records = location.bytes.subarray(headerBytes.length, rawBytes)
    yield* await compressedBytes(Buffer.concat([headerBytes, records]), method)
    return
  }
  yield* compressed(plainChunks(file, headerBytes), rawBytes, method, isMerged ? 'thorough' : 'quick')
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
