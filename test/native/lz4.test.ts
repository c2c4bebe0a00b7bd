/** LZ4 blocks: what the format says, written out by hand and by another implementation, and bytes that are none. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { compressSync, uncompressSync } from 'lz4-napi'
import { describe, expect, it } from 'vitest'
import { lz4BytesMax } from '../../src/protocol/lz4-frame.js'
import { native, randomFrom } from './addon.js'

function packed(bytes: Uint8Array): Uint8Array {
  // What is behind the end must stay as it is.
  const room = new Uint8Array(lz4BytesMax(bytes.length) + 8).fill(0xa5)
  const count = native.packLz4(bytes, room.subarray(0, lz4BytesMax(bytes.length)))
  expect(room.subarray(count).subarray(-8)).toEqual(new Uint8Array(8).fill(0xa5))
  return room.slice(0, count)
}

/** Undefined: refused. Fails when something is written behind the target. */
function unpacked(block: Uint8Array, byteLength: number): Uint8Array | undefined {
  const room = new Uint8Array(byteLength + 64).fill(0xa5)
  const isBlock = native.unpackLz4(block, room.subarray(0, byteLength))
  if (room.subarray(byteLength).some((byte) => byte !== 0xa5)) expect.fail('wrote behind the target')
  return isBlock ? room.slice(0, byteLength) : undefined
}

/** The other implementation puts the size before the block. */
function othersUnpacked(block: Uint8Array, byteLength: number): Uint8Array {
  const sized = Buffer.alloc(4 + block.length)
  sized.writeUInt32LE(byteLength)
  sized.set(block, 4)
  return new Uint8Array(uncompressSync(sized))
}

/** Sequence by sequence, as the format has them; undefined: no block. */
function reference(block: Uint8Array, byteLength: number): Uint8Array | undefined {
  const out: number[] = []
  let at = 0
  const lengthOf = (half: number) => {
    let length = half
    for (let byte = half === 15 ? 255 : 0; byte === 255; length += byte) {
      if (at >= block.length) return Number.NaN
      byte = block[at++]!
    }
    return length
  }
  while (at < block.length) {
    const token = block[at++]!
    const literals = lengthOf(token >> 4)
    if (!(at + literals <= block.length) || out.length + literals > byteLength) return undefined
    out.push(...block.subarray(at, at + literals))
    at += literals
    if (at === block.length) return out.length === byteLength ? Uint8Array.from(out) : undefined
    if (at + 2 > block.length) return undefined
    const distance = block[at]! + 256 * block[at + 1]!
    at += 2
    const length = lengthOf(token & 15) + 4
    if (!(out.length + length <= byteLength) || distance === 0 || distance > out.length) return undefined
    for (let n = 0; n < length; n++) out.push(out[out.length - distance]!)
  }
  return undefined
}

/** Runs, repetitions of all distances, and noise: as pages have them. */
const contents = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 600 })),
    ),
    { maxLength: 30 },
  )
  .map((pieces) =>
    Buffer.concat(
      pieces.flatMap((piece) =>
        piece instanceof Uint8Array ? [piece] : Array.from({ length: piece[1] }, () => piece[0]),
      ),
    ),
  )

describe('LZ4 blocks', () => {
  it('are read as written by hand', () => {
    const text = (value: string) => new TextEncoder().encode(value)
    // 3 literals; 9 bytes from 3 before; 5 literals.
    const block = Uint8Array.of(0x35, 97, 98, 99, 3, 0, 0x50, ...text('hello'))
    expect(unpacked(block, 17)).toEqual(text('abcabcabcabchello'))
    // 1 literal; 4 + 15 + 255 + 3 times the same; none.
    expect(unpacked(Uint8Array.of(0x1f, 7, 1, 0, 255, 3, 0), 278)).toEqual(new Uint8Array(278).fill(7))
    expect(unpacked(Uint8Array.of(0), 0)).toEqual(new Uint8Array())
    expect(packed(new Uint8Array())).toEqual(Uint8Array.of(0))
    expect(packed(text('hello'))).toEqual(Uint8Array.of(0x50, ...text('hello')))
  })

  it('give back what was packed, here and elsewhere', () => {
    fc.assert(
      fc.property(contents, (bytes) => {
        const block = packed(bytes)
        expect(Buffer.compare(unpacked(block, bytes.length)!, bytes)).toBe(0)
        expect(Buffer.compare(othersUnpacked(block, bytes.length), bytes)).toBe(0)
        expect(Buffer.compare(unpacked(compressSync(bytes).subarray(4), bytes.length)!, bytes)).toBe(0)
        expect(unpacked(block, bytes.length + 1)).toBeUndefined()
        if (bytes.length > 0) expect(unpacked(block, bytes.length - 1)).toBeUndefined()
      }),
      { numRuns: 300 },
    )
  })

  it('may be of any size, as large as what has no repetitions needs', () => {
    for (const byteLength of [1, 12, 13, 14, 17, 255, 300, 70_000, 1024 * 1024]) {
      const noise = randomBytes(byteLength)
      expect(packed(noise).length).toBeLessThanOrEqual(lz4BytesMax(byteLength))
      expect(Buffer.compare(unpacked(packed(noise), byteLength)!, noise)).toBe(0)
      const zeros = new Uint8Array(byteLength)
      expect(packed(zeros).length).toBeLessThanOrEqual(byteLength / 200 + 20)
      expect(Buffer.compare(othersUnpacked(packed(zeros), byteLength), zeros)).toBe(0)
    }
    // A repetition just within reach, and one just out of it.
    for (const distance of [65_535, 65_536]) {
      const bytes = randomBytes(distance + 500)
      bytes.copy(bytes, distance, 0, 500)
      const block = packed(bytes)
      expect(block.length < bytes.length).toBe(distance === 65_535)
      expect(Buffer.compare(othersUnpacked(block, bytes.length), bytes)).toBe(0)
    }
  })

  it('are refused when they are damaged, or read as the format says', () => {
    const random = randomFrom(4)
    const below = (limit: number) => Math.floor(random() * limit)
    fc.assert(
      fc.property(contents, (bytes) => {
        const block = packed(bytes)
        for (let n = 0; n < 20; n++) {
          const changed = block.slice(0, n % 4 === 0 ? below(block.length) : block.length)
          for (let count = below(4); count > 0; count--) changed[below(changed.length)] = below(256)
          expect(unpacked(changed, bytes.length)).toEqual(reference(changed, bytes.length))
        }
      }),
      { numRuns: 100 },
    )
  })

  it('need room', () => {
    expect(() => native.packLz4(new Uint8Array(1000), new Uint8Array(1000))).toThrow(TypeError)
    expect(() => native.packLz4(new Uint8Array(0), new Uint8Array(0))).toThrow(TypeError)
  })
})
