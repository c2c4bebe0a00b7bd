/**
 * CRC-64/GO-ISO in plain JavaScript: for headers, and as the oracle of the addon's fast one.
 *
 *     polynomial x^64 + x^4 + x^3 + x + 1, reflected 0xD800000000000000
 *     register starts at all ones, result inverted
 *     crc64("123456789") = 0xb90956c775a41001
 *
 * The register is kept as two 32-bit halves, because BigInt arithmetic allocates for every byte. Eight shifts
 * of the reflected polynomial reach down to bit 52 only, so the lower half of every table entry is zero and
 * one table of upper halves is enough.
 */
const tableHigh = Uint32Array.from({ length: 256 }, (_, index) => {
  let high = 0
  let low = index
  for (let bit = 0; bit < 8; bit++) {
    const carry = low & 1
    low = ((low >>> 1) | (high << 31)) >>> 0
    high = ((high >>> 1) ^ (carry === 1 ? 0xd8000000 : 0)) >>> 0
  }
  return high
})

/** Index of the table entry by its top byte, to run the register backwards. */
const indexByTopByte = new Uint8Array(256)
for (const [index, high] of tableHigh.entries()) indexByTopByte[high >>> 24] = index

/**
 * Checksum of `bytes`, continued from the checksum `previous` of the bytes before them, as zlib's crc32
 * continues: `crc64(b, crc64(a))` is the checksum of `a` followed by `b`.
 */
export function crc64(bytes: Uint8Array, previous = 0n): bigint {
  const start = ~previous
  let high = Number(BigInt.asUintN(32, start >> 32n))
  let low = Number(BigInt.asUintN(32, start))
  for (const byte of bytes) {
    const entry = tableHigh[(low ^ byte) & 0xff]!
    low = (low >>> 8) | (high << 24)
    high = (high >>> 8) ^ entry
  }
  return finish(high, low)
}

/**
 * The `previous` for which `crc64(bytes, previous)` is `checksum`: a CRC register can be run backwards. Tells
 * which history a frame continues when only the frame is known.
 */
export function crc64Before(bytes: Uint8Array, checksum: bigint): bigint {
  const end = ~checksum
  let high = Number(BigInt.asUintN(32, end >> 32n))
  let low = Number(BigInt.asUintN(32, end))
  for (let at = bytes.length - 1; at >= 0; at--) {
    const index = indexByTopByte[high >>> 24]!
    high = (((high ^ tableHigh[index]!) << 8) | (low >>> 24)) >>> 0
    low = (low << 8) | (index ^ bytes[at]!)
  }
  return finish(high, low)
}

function finish(high: number, low: number): bigint {
  return BigInt.asUintN(64, ~((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)))
}
