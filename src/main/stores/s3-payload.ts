/** The body of a log, to be sent as often as it takes: small ones in memory, larger ones in a temporary file. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { gathered } from './compression.js'
import { chunksOf, writeTemporary } from './file-objects.js'
import { logObject } from './log-object.js'

export interface Payload {
  readonly byteLength: number
  /** Base64; undefined: the signature of the request covers the body. */
  readonly md5: string | undefined
  /** `onBytes` is called while it is sent, if it is not sent at once. */
  open(onBytes: () => void): Uint8Array | Readable
}

/** A single request takes no more. */
export const payloadBytesMax = 5 * 1024 ** 3

export function bytesPayload(bytes: Uint8Array): Payload {
  return { byteLength: bytes.length, md5: undefined, open: () => bytes }
}

/** Calls `use` with the log under this header. */
export async function withLogPayload<T>(
  file: LogFile,
  headerBytes: Uint8Array,
  method: Compression | 'none',
  use: (payload: Payload) => Promise<T>,
): Promise<T> {
  const rawBytes = logByteLength(file.header)
  const chunks = logObject(file, headerBytes, method)
  if (rawBytes <= logMemoryBytesMax) return use(bytesPayload(await gathered(chunks)))
  const path = await temporaryPath('.log')
  try {
    const hash = createHash('md5')
    let byteLength = 0
    const counted = async function* () {
      for await (const chunk of chunks) {
        hash.update(chunk)
        byteLength += chunk.length
        yield chunk
      }
    }
    await writeTemporary(path, counted())
    const open = (onBytes: () => void) =>
      Readable.from(chunksOf(path, { onProgress: onBytes }), { objectMode: false })
    return await use({ byteLength, md5: hash.digest('base64'), open })
  } finally {
    await removeTemporaryFile(path)
  }
}
