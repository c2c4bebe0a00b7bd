import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeObjectHeader, encodeObjectHeader } from '../../src/protocol/object-format.js'
import { referenceCrc64, setU32, setU64 } from './reference.js'

/** Written by hand from the byte table. */
function header(change: (bytes: Uint8Array) => void = () => {}): Uint8Array {
  const bytes = new Uint8Array(40)
  bytes.set(Buffer.from('MYLIBOBJ'))
  setU32(bytes, 8, 1)
  setU32(bytes, 12, 2)
  setU64(bytes, 16, 123_456n)
  change(bytes)
  setU64(bytes, 32, referenceCrc64(bytes.subarray(0, 32)))
  return bytes
}

const decode = (bytes: Uint8Array) => decodeObjectHeader(bytes, { path: '/store/1.log' })
const withCode = (code: string) =>
  expect.objectContaining({ code, message: expect.stringContaining('/store/1.log') })

describe('the header of a compressed object', () => {
  it('is read as written by hand, and written the same', () => {
    expect(decode(header())).toEqual({ method: 'brotli', rawBytes: 123_456 })
    expect(encodeObjectHeader({ method: 'brotli', rawBytes: 123_456 })).toEqual(header())
    for (const [index, method] of (['deflate', 'brotli', 'zstd', 'lz4'] as const).entries()) {
      const bytes = header((each) => setU32(each, 12, index + 1))
      expect(decode(bytes)?.method).toBe(method)
      expect(encodeObjectHeader({ method, rawBytes: 123_456 })).toEqual(bytes)
    }
  })

  it('may have the object behind it', () => {
    expect(decode(Buffer.concat([header(), Buffer.alloc(100)]))).toEqual({
      method: 'brotli',
      rawBytes: 123_456,
    })
  })

  it('is not there in plain objects', () => {
    for (const text of ['', 'MYLIB', 'MYLIBSQL of a log', 'SQLite format 3\0', 'something else']) {
      expect(decode(Buffer.from(text))).toBeUndefined()
    }
  })

  it('is refused when it is of a later release', () => {
    expect(() => decode(header((bytes) => setU32(bytes, 8, 2)))).toThrow(withCode('ERR_VERSION'))
    for (const method of [0, 5, 0xffff_ffff]) {
      expect(() => decode(header((bytes) => setU32(bytes, 12, method)))).toThrow(withCode('ERR_VERSION'))
    }
  })

  it('is refused when a field is out of range or it is cut short', () => {
    expect(() => decode(header((bytes) => setU64(bytes, 24, 1n)))).toThrow(withCode('ERR_CORRUPT'))
    expect(() => decode(header((bytes) => setU64(bytes, 16, 2n ** 53n)))).toThrow(withCode('ERR_CORRUPT'))
    for (const length of [8, 20, 39]) {
      expect(() => decode(header().subarray(0, length))).toThrow(withCode('ERR_CORRUPT'))
    }
  })

  it('shows any flipped bit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 64, max: 40 * 8 - 1 }), (bit) => {
        const bytes = header()
        bytes[bit >> 3]! ^= 1 << (bit & 7)
        expect(() => decode(bytes)).toThrow(withCode('ERR_CORRUPT'))
      }),
    )
  })
})
