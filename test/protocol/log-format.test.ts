import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ErrorCode, MylibsqlError } from '../../src/protocol/errors.js'
import {
  decodeLogHeader,
  encodeLogHeader,
  type LogHeader,
  logByteLength,
  logFrameOffset,
  logHeadBytes,
  logHeader,
  mergedLogHeader,
} from '../../src/protocol/log-format.js'
import { buildV2, buildV3, setU32, setU64, signHeader, testFrames } from './reference.js'

const pageSize = 512
const v3 = () => buildV3({ startFrameNo: 7, pageSize, startChecksum: 99n, frames: testFrames(4, pageSize) })
const v2 = () => buildV2({ startFrameNo: 7, pageSize: 4096, frames: testFrames(3, 4096) })

function decode(bytes: Uint8Array, fileBytes = bytes.length): LogHeader {
  return decodeLogHeader(bytes.subarray(0, 112), { path: '/x.log' }, fileBytes)
}

function expectError(code: ErrorCode, action: () => unknown): MylibsqlError {
  let caught: unknown
  try {
    action()
  } catch (error) {
    caught = error
  }
  expect(caught).toBeInstanceOf(MylibsqlError)
  expect((caught as MylibsqlError).code).toBe(code)
  expect((caught as MylibsqlError).details.path).toBe('/x.log')
  return caught as MylibsqlError
}

describe('decodeLogHeader', () => {
  it('reads a version 3 header written by hand', () => {
    const bytes = v3()
    expect(decode(bytes)).toMatchObject({
      version: 3,
      pageSize,
      startFrameNo: 7,
      frameCount: 4,
      startChecksum: 99n,
      createdAtMs: 1_700_000_000_000,
      headerBytes: 112,
      flags: 0,
      epoch: 0,
    })
    expect(encodeLogHeader(decode(bytes))).toEqual(bytes.slice(0, 112))
  })

  it('reads a version 2 header written by hand', () => {
    const bytes = v2()
    expect(decode(bytes)).toMatchObject({
      version: 2,
      pageSize: 4096,
      startFrameNo: 7,
      frameCount: 3,
      startChecksum: 0n,
      endChecksum: undefined,
      createdAtMs: undefined,
      headerBytes: 48,
      writerVersion: [0, 1, 2, 0],
    })
    expect(encodeLogHeader(decode(bytes))).toEqual(bytes.slice(0, 48))
  })

  it('round-trips every header it can hold', () => {
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const header = fc.record({
      pageSize: fc.constantFrom(512, 1024, 4096, 65_536),
      startFrameNo: fc.nat({ max: 2 ** 31 }),
      frameCount: fc.integer({ min: 1, max: 1_000_000 }),
      startChecksum: u64,
      endChecksum: u64,
      createdAtMs: fc.integer({ min: 1, max: 4e12 }),
      epoch: fc.nat(),
      databaseChecksumBefore: u64,
      databaseChecksumAfter: u64,
    })
    fc.assert(
      fc.property(header, (fields) => {
        const full = logHeader(fields)
        expect(decodeLogHeader(encodeLogHeader(full), {}, logByteLength(full))).toEqual(full)
      }),
    )
  })

  it('round-trips every header of a merged log, and knows how much of the file to read for it', () => {
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const boundaries = fc
      .uniqueArray(fc.record({ frameNo: fc.integer({ min: 8, max: 2000 }), checksum: u64 }), {
        selector: ({ frameNo }) => frameNo,
      })
      .map((list) => list.sort((a, b) => a.frameNo - b.frameNo))
    const recordCount = fc.integer({ min: 1, max: 1000 })
    const merged = fc.record({ recordCount, recordsChecksum: u64, boundaries })
    fc.assert(
      fc.property(merged, u64, u64, (table, startChecksum, endChecksum) => {
        const frames = { pageSize, startFrameNo: 7, frameCount: 2000, startChecksum, endChecksum }
        const full = mergedLogHeader({
          ...frames,
          databaseChecksumBefore: 0n,
          databaseChecksumAfter: 0n,
          merged: table,
        })
        const bytes = encodeLogHeader(full)
        const fileBytes = logByteLength(full)
        expect(bytes.length).toBe(112 + 32 + 16 * table.boundaries.length)
        expect(fileBytes).toBe(bytes.length + table.recordCount * (24 + pageSize))
        expect(decodeLogHeader(bytes, {}, fileBytes)).toEqual(full)
        expect(logHeadBytes(bytes.subarray(0, 136), fileBytes)).toBe(bytes.length)
        // What does not fit the file is not read for it.
        expect(logHeadBytes(bytes.subarray(0, 136), fileBytes + 1)).toBe(136)
      }),
    )
  })

  it('places frames', () => {
    const header = decode(v3())
    expect(logFrameOffset(header, 7)).toBe(112)
    expect(logFrameOffset(header, 9)).toBe(112 + 2 * (24 + pageSize))
    expect(logByteLength(header)).toBe(v3().length)
  })

  it('accepts what follows the counted frames of version 2 only', () => {
    expect(decode(v2(), v2().length + 1000).frameCount).toBe(3)
    expectError('ERR_CORRUPT', () => decode(v3(), v3().length + 1))
  })

  it.each([0, 1, 7, 8, 47])('takes a file of %i bytes for no log', (length) => {
    expectError('ERR_NOT_A_LOG', () => decode(v3().subarray(0, length)))
    expectError('ERR_NOT_A_LOG', () => decode(v2().subarray(0, length)))
  })

  it('takes a cut version 3 header for no log', () => {
    expectError('ERR_NOT_A_LOG', () => decode(v3().subarray(0, 111)))
  })

  it('takes foreign bytes for no log', () => {
    expectError('ERR_NOT_A_LOG', () => decode(Buffer.from('SQLite format 3\0'.padEnd(4096, 'x'))))
  })

  it('compares the size of the file with the number of frames, and says both', () => {
    const { details } = expectError('ERR_CORRUPT', () => decode(v3(), v3().length - 1))
    expect(details).toMatchObject({ expected: v3().length, actual: v3().length - 1 })
    expectError('ERR_CORRUPT', () => decode(v2(), v2().length - 1))
  })

  type Damage = [name: string, code: ErrorCode, change: (bytes: Uint8Array) => void]
  const damagesV3: Damage[] = [
    ['version 4', 'ERR_VERSION', (b) => setU32(b, 32, 4)],
    ['unknown flags', 'ERR_VERSION', (b) => setU32(b, 40, 2)],
    ['unknown flags of a merged log', 'ERR_VERSION', (b) => setU32(b, 40, 0x8000_0001)],
    ['the flag of a merged log, but no table', 'ERR_CORRUPT', (b) => setU32(b, 40, 1)],
    ['another header size', 'ERR_VERSION', (b) => setU32(b, 44, 120)],
    ['reserved bytes', 'ERR_CORRUPT', (b) => b.fill(1, 103, 104)],
    ['a page size that is no power of two', 'ERR_CORRUPT', (b) => setU32(b, 36, 513)],
    ['a page size that is too small', 'ERR_CORRUPT', (b) => setU32(b, 36, 256)],
    ['a page size that is too large', 'ERR_CORRUPT', (b) => setU32(b, 36, 131_072)],
    ['a page size of 0', 'ERR_CORRUPT', (b) => setU32(b, 36, 0)],
    ['a start beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 16, 2n ** 53n)],
    ['an end beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 16, 2n ** 53n - 2n)],
    ['a frame count beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 24, 2n ** 63n)],
    ['more frames than the file has', 'ERR_CORRUPT', (b) => setU64(b, 24, 5n)],
    ['fewer frames than the file has', 'ERR_CORRUPT', (b) => setU64(b, 24, 3n)],
    ['an epoch beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 80, 2n ** 53n)],
    ['a time that is none', 'ERR_CORRUPT', (b) => setU64(b, 56, 2n ** 53n - 1n)],
  ]
  it.each(damagesV3)('refuses %s in version 3', (_, code, change) => {
    const bytes = v3()
    change(bytes)
    expectError(code, () => decode(signHeader(bytes)))
  })

  it('refuses an empty log whose checksums differ', () => {
    const bytes = buildV3({ pageSize, frames: [], startChecksum: 5n })
    expect(decode(bytes).frameCount).toBe(0)
    setU64(bytes, 48, 6n)
    expectError('ERR_CORRUPT', () => decode(signHeader(bytes)))
  })

  const damagesV2: Damage[] = [
    ['version 1', 'ERR_VERSION', (b) => setU32(b, 32, 1)],
    ['a negative page size', 'ERR_CORRUPT', (b) => setU32(b, 36, -4096 >>> 0)],
    ['a start beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 16, 2n ** 53n)],
    ['a frame count beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 24, 2n ** 63n)],
    ['more frames than the file has', 'ERR_CORRUPT', (b) => setU64(b, 24, 4n)],
  ]
  it.each(damagesV2)('refuses %s in version 2', (_, code, change) => {
    const bytes = v2()
    change(bytes)
    expectError(code, () => decode(bytes))
  })

  it('refuses every flipped bit of a version 3 header, of empty logs too', () => {
    for (const whole of [v3(), buildV3({ pageSize, frames: [] })]) {
      for (let bit = 0; bit < 112 * 8; bit++) {
        const bytes = whole.slice()
        bytes[bit >> 3]! ^= 1 << (bit & 7)
        expect(() => decode(bytes), `bit ${bit}`).toThrow(MylibsqlError)
      }
    }
  })
})
