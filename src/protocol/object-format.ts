/**
 * The wrapper of a compressed object in a store. What is not compressed has none: it is the plain log or snapshot, which
 * any tool opens. Everything is little-endian.
 *
 *     offset  size  field
 *          0     8  magic "MYLIBOBJ"
 *          8     4  version = 1
 *         12     4  method: 1 deflate (RFC 1950), 2 brotli (RFC 7932), 3 zstd (RFC 8878), 4 LZ4 (lz4-frame.ts)
 *         16     8  raw_bytes: of what was compressed
 *         24     8  reserved = 0
 *         32     8  header_checksum of bytes 0..32
 *         40        the compressed bytes, up to the end of the object
 *
 * An object is valid when all of these hold: the header checksum; reserved bytes are 0; the compressed bytes are one
 * complete stream of the method, of exactly raw_bytes; those are a valid log or snapshot. There is no checksum over them
 * here, because a log has one in each frame and a snapshot one over its pages, and both are checked when they are read.
 */
import { crc64 } from './crc64.js'
import { MylibsqlError } from './errors.js'
import type { Where } from './log-format.js'

export type Compression = 'deflate' | 'brotli' | 'zstd' | 'lz4'

export interface ObjectHeader {
  readonly method: Compression
  /** Bytes before they were compressed. */
  readonly rawBytes: number
}

export const objectHeaderBytes = 40

const magic = new TextEncoder().encode('MYLIBOBJ')
const methods: readonly Compression[] = ['deflate', 'brotli', 'zstd', 'lz4']
const headerChecksumOffset = 32

export function encodeObjectHeader({ method, rawBytes }: ObjectHeader): Uint8Array {
  const bytes = new Uint8Array(objectHeaderBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setUint32(8, 1, true)
  view.setUint32(12, methods.indexOf(method) + 1, true)
  view.setBigUint64(16, BigInt(rawBytes), true)
  view.setBigUint64(headerChecksumOffset, crc64(bytes.subarray(0, headerChecksumOffset)), true)
  return bytes
}

/** By its first bytes. */
export function isCompressedObject(bytes: Uint8Array): boolean {
  return magic.every((byte, at) => bytes[at] === byte)
}

/**
 * Reads the header from the first bytes of an object (up to 40 are looked at); undefined: it is not compressed.
 *
 * Throws ERR_VERSION, ERR_CORRUPT.
 */
export function decodeObjectHeader(bytes: Uint8Array, where: Where): ObjectHeader | undefined {
  if (!isCompressedObject(bytes)) return undefined
  const name = where.path ?? 'The object'
  const corrupt = (reason: string) =>
    new MylibsqlError('ERR_CORRUPT', `${name}: the object is damaged: ${reason}`, { ...where, byteOffset: 0 })
  if (bytes.length < objectHeaderBytes) throw corrupt('its header is cut short')
  const view = new DataView(bytes.buffer, bytes.byteOffset, objectHeaderBytes)
  const checksum = crc64(bytes.subarray(0, headerChecksumOffset))
  if (view.getBigUint64(headerChecksumOffset, true) !== checksum)
    throw corrupt('the header checksum does not match')
  const version = view.getUint32(8, true)
  const method = methods[view.getUint32(12, true) - 1]
  if (version !== 1 || method === undefined) {
    const message = `${name}: an object of version ${version}, compressed with method ${view.getUint32(12, true)}; this release reads version 1, methods 1 to ${methods.length}`
    throw new MylibsqlError('ERR_VERSION', message, { ...where, byteOffset: 8, expected: 1, actual: version })
  }
  const rawBytes = view.getBigUint64(16, true)
  if (view.getBigUint64(24, true) !== 0n || rawBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw corrupt('a field of its header is out of range')
  }
  return { method, rawBytes: Number(rawBytes) }
}
