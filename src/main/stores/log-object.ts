/** A log as the object that a store keeps: under another header, compressed if that is wanted. */
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import { LogReader } from '../log-reader.js'
import { compressed, compressedBytes } from './compression.js'

/** Of a log that is compressed at once: where many wait for a processor, each step of a stream is one more wait. */
const bytesMax = 16 * 1024 * 1024

/** The bytes of the object, in pieces. A log that is not merged is waited for; a merged one is written once, and stays. */
export async function* logObject(
  file: LogFile,
  headerBytes: Uint8Array,
  method: Compression | 'none',
): AsyncGenerator<Uint8Array, void, undefined> {
  const rawBytes = logByteLength(file.header)
  const isMerged = file.header.merged !== undefined
  if (method !== 'none' && rawBytes <= bytesMax && !isMerged)
    yield* await compressedBytes(await plainBytes(file, headerBytes), method)
  else yield* compressed(plainChunks(file, headerBytes), rawBytes, method, isMerged ? 'thorough' : 'quick')
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
