/** LZ4 as threads use it: a block for a task, a whole frame for a replica. The codec is native/lz4.cc. */
import {
  decodeLz4Length,
  encodeLz4Length,
  isLz4End,
  isLz4FrameHeader,
  lz4BlockBytes,
  lz4BytesMax,
  lz4FrameHeader,
  lz4LengthBytes,
} from '../protocol/lz4-frame.js'
import { encodeObjectHeader } from '../protocol/object-format.js'
import { native } from './native.js'

/** Kept: to have such memory from the system each time takes longer than to fill it. */
let packed: Uint8Array | undefined

/** Undefined: the block would not be smaller. */
export function packLz4(bytes: Uint8Array): Uint8Array | undefined {
  const byteLength = lz4BytesMax(bytes.length)
  if (packed === undefined || packed.length < byteLength) packed = new Uint8Array(byteLength)
  const count = native.packLz4(bytes, packed)
  return count < bytes.length ? packed.slice(0, count) : undefined
}

/**
 * The object that holds `rawBytes` bytes, of which `blockAt` gives some: they are not looked at any more when it is asked for
 * the next ones. Undefined: it would not be smaller.
 */
export function packedObject(
  rawBytes: number,
  blockAt: (byteOffset: number, byteLength: number) => Uint8Array,
): Uint8Array | undefined {
  const pieces = [encodeObjectHeader({ method: 'lz4', rawBytes }), lz4FrameHeader]
  for (let at = 0; at < rawBytes; at += lz4BlockBytes) {
    const raw = blockAt(at, Math.min(lz4BlockBytes, rawBytes - at))
    const smaller = packLz4(raw)
    const block = smaller ?? new Uint8Array(raw)
    pieces.push(encodeLz4Length({ byteLength: block.length, isPacked: smaller !== undefined }), block)
  }
  pieces.push(new Uint8Array(lz4LengthBytes))
  const object = Buffer.concat(pieces)
  return object.length < rawBytes ? object : undefined
}

/** Undefined: it is no block of exactly so many bytes. */
export function unpackLz4(block: Uint8Array, rawBytes: number): Uint8Array | undefined {
  const bytes = new Uint8Array(rawBytes)
  return native.unpackLz4(block, bytes) ? bytes : undefined
}

/** Fills `target`. False: it is no frame of exactly so many bytes. */
export function unpackLz4Frame(frame: Uint8Array, target: Uint8Array): boolean {
  let at = 0
  const take = (byteLength: number) => {
    at += byteLength
    return frame.subarray(at - byteLength, at)
  }
  if (!isLz4FrameHeader(take(lz4FrameHeader.length))) return false
  for (let rawAt = 0; rawAt < target.length; rawAt += lz4BlockBytes) {
    const raw = target.subarray(rawAt, rawAt + lz4BlockBytes)
    const block = decodeLz4Length(take(lz4LengthBytes), raw.length)
    if (block === undefined) return false
    const bytes = take(block.byteLength)
    if (bytes.length !== block.byteLength) return false
    if (!block.isPacked) raw.set(bytes)
    else if (!native.unpackLz4(bytes, raw)) return false
  }
  return isLz4End(take(lz4LengthBytes)) && at === frame.length
}
