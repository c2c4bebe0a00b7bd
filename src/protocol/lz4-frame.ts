/**
 * The LZ4 frame of a compressed object, as the format's own tool makes and opens them (lz4_Frame_format.md of the LZ4
 * project). Of the choices that the format leaves, these: blocks of 1 MiB, the last one shorter, each on its own, no
 * checksums. Everything is little-endian.
 *
 *     size  field
 *        4  magic 0x184d2204
 *        3  flags 0x60, block size 0x60, checksum of these two 0x51
 *           blocks:
 *        4  byte length; its highest bit: what would not become smaller is left as it is
 *        n  the block
 *        4  a byte length of 0, behind the last block
 */

export const lz4FrameHeader = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x60, 0x51)
/** The byte length before each block, and behind the last one. */
export const lz4LengthBytes = 4
/** Of what a block holds. All but the last hold so many. */
export const lz4BlockBytes = 1024 * 1024

export interface Lz4Block {
  readonly byteLength: number
  readonly isPacked: boolean
}

/** What a block of so many bytes takes at most. */
export function lz4BytesMax(byteLength: number): number {
  return byteLength + Math.ceil(byteLength / 255) + 16
}

export function isLz4FrameHeader(bytes: Uint8Array): boolean {
  return bytes.length === lz4FrameHeader.length && lz4FrameHeader.every((byte, at) => bytes[at] === byte)
}

export function encodeLz4Length({ byteLength, isPacked }: Lz4Block): Uint8Array {
  const bytes = new Uint8Array(lz4LengthBytes)
  new DataView(bytes.buffer).setUint32(0, isPacked ? byteLength : byteLength + 0x8000_0000, true)
  return bytes
}

/** `rawBytes` of what it holds; undefined: no such block. */
export function decodeLz4Length(bytes: Uint8Array, rawBytes: number): Lz4Block | undefined {
  if (bytes.length !== lz4LengthBytes) return undefined
  const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  const isPacked = value < 0x8000_0000
  const byteLength = isPacked ? value : value - 0x8000_0000
  const isPossible = isPacked ? byteLength > 0 && byteLength < rawBytes : byteLength === rawBytes
  return isPossible ? { byteLength, isPacked } : undefined
}

export function isLz4End(bytes: Uint8Array): boolean {
  return bytes.length === lz4LengthBytes && bytes.every((byte) => byte === 0)
}
