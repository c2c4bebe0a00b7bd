import { describe, expect, test } from 'vitest'
import { native, randomFrom } from './addon.js'

/** The definition (sqlite.org/fileformat2.html#checksum_algorithm). */
function definition(
  bytes: Uint8Array,
  isBigEndian: boolean,
  first: number,
  second: number,
): [number, number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let sums: [number, number] = [first, second]
  for (let at = 0; at < bytes.byteLength; at += 8) {
    const next = (sums[0] + view.getUint32(at, !isBigEndian) + sums[1]) >>> 0
    sums = [next, (sums[1] + view.getUint32(at + 4, !isBigEndian) + next) >>> 0]
  }
  return sums
}

describe.each([
  ['big-endian', true],
  ['little-endian', false],
])('every way to compute the checksum of a WAL, %s', (_, isBigEndian) => {
  const random = randomFrom(32)
  const word = () => Math.floor(random() * 2 ** 32)
  const bytes = Uint8Array.from({ length: 70_000 }, () => Math.floor(random() * 256))

  const check = (part: Uint8Array, first: number, second: number) => {
    const expected = definition(part, isBigEndian, first, second)
    const sums = native.walChecksums(part, isBigEndian, first, second)
    expect(sums.length).toBeGreaterThanOrEqual(2)
    const wrong = sums.findIndex((sum) => sum[0] !== expected[0] || sum[1] !== expected[1])
    if (wrong >= 0) expect.fail(`way ${wrong}, ${part.byteLength} bytes from ${part.byteOffset}`)
  }

  test('agrees with the definition for every length to 2048', () => {
    for (let length = 0; length <= 2048; length += 8) check(bytes.subarray(5, 5 + length), word(), word())
  })

  test.each([512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])('pages of %d bytes', (pageSize) => {
    for (const alignment of [0, 1, 24, 63])
      check(bytes.subarray(alignment, alignment + pageSize), word(), word())
  })

  test('random lengths and alignments', () => {
    for (let i = 0; i < 200; i++) {
      const start = Math.floor(random() * 64)
      check(bytes.subarray(start, start + Math.floor(random() * 8700) * 8), word(), word())
    }
  })

  test('sums that overflow all the time', () => {
    const ones = new Uint8Array(65_536).fill(0xff)
    for (const length of [8, 512, 4096, 4104, 65_536])
      check(ones.subarray(0, length), 0xffff_ffff, 0xffff_ffff)
  })
})
