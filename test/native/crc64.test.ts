import { describe, expect, test } from 'vitest'
import { native, randomFrom } from './addon.js'

/** Bit by bit, from the definition. */
function crc64Reference(bytes: Uint8Array, previous = 0n): bigint {
  let register = previous ^ 0xffff_ffff_ffff_ffffn
  for (const byte of bytes) {
    register ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) register = (register >> 1n) ^ ((register & 1n) * 0xd800_0000_0000_0000n)
  }
  return register ^ 0xffff_ffff_ffff_ffffn
}

describe('crc64', () => {
  const random = randomFrom(64)
  const bytes = Uint8Array.from({ length: 1200 }, () => Math.floor(random() * 256))

  test('check value of the catalogue', () => {
    expect(native.crc64(new TextEncoder().encode('123456789'))).toBe(0xb90956c775a41001n)
    expect(native.crc64Portable(new TextEncoder().encode('123456789'))).toBe(0xb90956c775a41001n)
    expect(native.crc64(new Uint8Array())).toBe(0n)
  })

  test('both code paths agree for every length to 1100 and every alignment', () => {
    for (let length = 0; length <= 1100; length++) {
      for (let alignment = 0; alignment < 16; alignment++) {
        const part = bytes.subarray(alignment, alignment + length)
        const previous = (BigInt(length) * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn
        const checksum = native.crc64(part, previous)
        if (checksum !== native.crc64Portable(part, previous)) expect.fail(`length ${length} at ${alignment}`)
      }
    }
  })

  test('agrees with the definition', () => {
    for (const length of [1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 143, 512, 1100]) {
      const part = bytes.subarray(3, 3 + length)
      expect(native.crc64(part, 12345n), `length ${length}`).toBe(crc64Reference(part, 12345n))
    }
  })

  test('continues from the checksum of what comes before', () => {
    const whole = native.crc64(bytes)
    for (let at = 0; at <= bytes.length; at += 37) {
      expect(native.crc64(bytes.subarray(at), native.crc64(bytes.subarray(0, at)))).toBe(whole)
    }
  })
})
