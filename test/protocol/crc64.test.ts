import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc64, crc64Before } from '../../src/protocol/crc64.js'
import { native } from '../../src/worker/native.js'
import { referenceCrc64 } from './reference.js'

const bytesArbitrary = fc.uint8Array({ maxLength: 300 })
const checksumArbitrary = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

describe('crc64', () => {
  it('has the check value of CRC-64/GO-ISO', () => {
    expect(crc64(Buffer.from('123456789'))).toBe(0xb90956c775a41001n)
    expect(crc64(new Uint8Array())).toBe(0n)
  })

  it('agrees with a bit-by-bit one, and continues', () => {
    fc.assert(
      fc.property(bytesArbitrary, bytesArbitrary, checksumArbitrary, (a, b, previous) => {
        expect(crc64(a, previous)).toBe(referenceCrc64(a, previous))
        expect(crc64(b, crc64(a))).toBe(crc64(Buffer.concat([a, b])))
      }),
    )
  })

  it('runs backwards', () => {
    fc.assert(
      fc.property(bytesArbitrary, checksumArbitrary, (bytes, previous) => {
        expect(crc64Before(bytes, crc64(bytes, previous))).toBe(previous)
      }),
    )
  })

  it('agrees with both code paths of the addon', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), checksumArbitrary, (bytes, previous) => {
        expect(native.crc64(bytes, previous)).toBe(crc64(bytes, previous))
        expect(native.crc64Portable(bytes, previous)).toBe(crc64(bytes, previous))
      }),
    )
  })
})
