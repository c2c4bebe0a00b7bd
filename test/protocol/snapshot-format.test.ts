import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ErrorCode, MylibsqlError } from '../../src/protocol/errors.js'
import {
  crateTrailer,
  decodeDatabaseHeader,
  decodeSnapshotTrailer,
  encodeSnapshotTrailer,
} from '../../src/protocol/snapshot-format.js'
import { referenceCrc64, setU32, setU64 } from './reference.js'

const fileBytes = 3 * 1024 + 72

/** Written by hand from the byte table. */
function trailer(change: (bytes: Uint8Array) => void = () => {}): Uint8Array {
  const bytes = new Uint8Array(72)
  bytes.set(Buffer.from('MYLIBSNP'))
  setU32(bytes, 8, 1)
  setU32(bytes, 12, 1024)
  setU32(bytes, 16, 3)
  setU64(bytes, 24, 41n)
  setU64(bytes, 32, 0x1122334455667788n)
  setU64(bytes, 40, 1_700_000_000_000n)
  setU64(bytes, 48, 0xfedcn)
  change(bytes)
  setU64(bytes, 64, referenceCrc64(bytes.subarray(0, 64)))
  return bytes
}

const decode = (bytes: Uint8Array, size = fileBytes) => decodeSnapshotTrailer(bytes, { path: '/x.db' }, size)

describe('decodeSnapshotTrailer', () => {
  it('reads a trailer written by hand, and writes the same', () => {
    const decoded = decode(trailer())
    expect(decoded).toEqual({
      version: 1,
      pageSize: 1024,
      pageCount: 3,
      lastFrameNo: 41,
      checksum: 0x1122334455667788n,
      createdAtMs: 1_700_000_000_000,
      fileChecksum: 0xfedcn,
    })
    expect(encodeSnapshotTrailer(decoded)).toEqual(trailer())
  })

  it('round-trips', () => {
    const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const fields = fc.record({
      pageSize: fc.constantFrom(512, 4096, 65_536),
      pageCount: fc.integer({ min: 1, max: 0xffff_fffe }),
      lastFrameNo: fc.option(fc.nat(), { nil: undefined }),
      checksum: u64,
      createdAtMs: fc.nat(),
      fileChecksum: u64,
    })
    fc.assert(
      fc.property(fields, (values) => {
        const full = { version: 1 as const, ...values }
        const size = full.pageCount * full.pageSize + 72
        expect(decode(encodeSnapshotTrailer(full), size)).toEqual(full)
      }),
    )
  })

  it('knows a snapshot without frames', () => {
    expect(decode(trailer((b) => setU64(b, 24, 2n ** 64n - 1n))).lastFrameNo).toBeUndefined()
  })

  it.each<[string, ErrorCode, (bytes: Uint8Array) => void]>([
    ['another magic', 'ERR_NOT_A_SNAPSHOT', (b) => b.set([0])],
    ['version 2', 'ERR_VERSION', (b) => setU32(b, 8, 2)],
    ['a page size that is no power of two', 'ERR_CORRUPT', (b) => setU32(b, 12, 1000)],
    ['no pages', 'ERR_CORRUPT', (b) => setU32(b, 16, 0)],
    ['more pages than the file has', 'ERR_CORRUPT', (b) => setU32(b, 16, 4)],
    ['fewer pages than the file has', 'ERR_CORRUPT', (b) => setU32(b, 16, 2)],
    ['reserved bytes', 'ERR_CORRUPT', (b) => setU32(b, 20, 1)],
    ['more reserved bytes', 'ERR_CORRUPT', (b) => setU64(b, 56, 1n)],
    ['a frame number beyond 2^53', 'ERR_CORRUPT', (b) => setU64(b, 24, 2n ** 53n)],
    ['a time that is none', 'ERR_CORRUPT', (b) => setU64(b, 40, 2n ** 53n)],
  ])('refuses %s', (_, code, change) => {
    expect(() => decode(trailer(change))).toThrow(
      expect.objectContaining({ code, details: expect.objectContaining({ path: '/x.db' }) }),
    )
  })

  it('refuses a trailer of another length', () => {
    expect(() => decode(trailer().subarray(1))).toThrow(
      expect.objectContaining({ code: 'ERR_NOT_A_SNAPSHOT' }),
    )
    expect(() => decode(new Uint8Array())).toThrow(expect.objectContaining({ code: 'ERR_NOT_A_SNAPSHOT' }))
  })

  it('refuses every flipped bit', () => {
    for (let bit = 0; bit < 72 * 8; bit++) {
      const bytes = trailer()
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => decode(bytes), `bit ${bit}`).toThrow(MylibsqlError)
    }
  })
})

/** The fields of a database header that matter here; big-endian, as SQLite has them. */
function databaseHeader(fields: {
  pageSize: number
  pageCount: number
  userVersion: number
  applicationId: number
}) {
  const bytes = Buffer.alloc(100)
  bytes.write('SQLite format 3\0')
  bytes.writeUInt16BE(fields.pageSize === 65_536 ? 1 : fields.pageSize, 16)
  bytes.set([2, 2], 18)
  bytes.writeUInt32BE(fields.pageCount, 28)
  bytes.writeUInt32BE(fields.userVersion, 60)
  bytes.writeUInt32BE(fields.applicationId, 68)
  return bytes
}

describe('decodeDatabaseHeader', () => {
  it('reads page size, page count and mode', () => {
    const bytes = databaseHeader({ pageSize: 65_536, pageCount: 9, userVersion: 1, applicationId: 2 })
    expect(decodeDatabaseHeader(bytes)).toEqual({
      pageSize: 65_536,
      pageCount: 9,
      isWal: true,
      userVersion: 1,
      applicationId: 2,
    })
  })

  it('knows what is none', () => {
    expect(decodeDatabaseHeader(new Uint8Array(100))).toBeUndefined()
    expect(decodeDatabaseHeader(new Uint8Array(20))).toBeUndefined()
    expect(decodeDatabaseHeader(Buffer.from('SQLite format 3\0'.padEnd(100, '\0')))).toBeUndefined()
  })
})

describe('crateTrailer', () => {
  const at = (userVersion: number, applicationId: number) =>
    crateTrailer(databaseHeader({ pageSize: 4096, pageCount: 2, userVersion, applicationId }), {}, 2 * 4096)

  it('finds the frame number in user_version and application_id', () => {
    expect(at(0, 11).lastFrameNo).toBe(11)
    expect(at(3, 0xffff_ffff).lastFrameNo).toBe(3 * 2 ** 32 + 0xffff_ffff)
    expect(at(0xffff_ffff, 0xffff_ffff).lastFrameNo).toBeUndefined()
  })

  it('refuses numbers and sizes that cannot be', () => {
    expect(() => at(0x7fff_ffff, 1)).toThrow(expect.objectContaining({ code: 'ERR_CORRUPT' }))
    expect(() => crateTrailer(new Uint8Array(100), {}, 4096)).toThrow(
      expect.objectContaining({ code: 'ERR_NOT_A_SNAPSHOT' }),
    )
    const header = databaseHeader({ pageSize: 4096, pageCount: 2, userVersion: 0, applicationId: 1 })
    expect(() => crateTrailer(header, {}, 4096)).toThrow(expect.objectContaining({ code: 'ERR_CORRUPT' }))
  })
})
