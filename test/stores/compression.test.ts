/** What stores compress comes out as it went in: at once or in a stream, by every method, around every size of a chunk. */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import { decompressFrameSync } from 'lz4-napi'
import { describe, expect, it } from 'vitest'
import { compressed, compressedBytes, decompressed, gathered } from '../../dist/main/stores/compression.js'
import { packedLog } from '../../dist/main/stores/lz4-stream.js'
import { decodeObjectHeader, objectHeaderBytes } from '../../src/protocol/object-format.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

const zlibMethods = (['deflate', 'brotli', 'zstd'] as const).filter(
  (method) => method !== 'zstd' || 'createZstdCompress' in zlib,
)
const chunkBytes = 1024 * 1024
const where = { path: '/store/1.log' }

describe.each(zlibMethods)('%s, at once', (method) => {
  it('gives back what was compressed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 5000 }),
        fc.integer({ min: 1, max: 50 }),
        async (bytes, times) => {
          const raw = Buffer.concat(Array.from({ length: times }, () => bytes))
          const object = await gathered(await compressedBytes(raw, method))
          expect(Buffer.compare(await gathered(decompressed([object], where)), raw)).toBe(0)
          expect(object.length).toBeLessThanOrEqual(raw.length)
        },
      ),
      { numRuns: 50 },
    )
  })

  it('leaves what would not become smaller', async () => {
    const bytes = randomBytes(5000)
    expect(await compressedBytes(bytes, method)).toEqual([bytes])
    expect(await compressedBytes(new Uint8Array(), method)).toEqual([new Uint8Array()])
    const [header] = await compressedBytes(Buffer.alloc(5000), method)
    expect(decodeObjectHeader(header!, where)).toEqual({ method, rawBytes: 5000 })
  })
})

describe.each([...zlibMethods, 'lz4'] as const)('%s, in a stream', (method) => {
  it.each([0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3 * chunkBytes + 7])(
    'gives back what went through a stream: %i bytes',
    async (byteLength) => {
      for (const effort of ['quick', 'thorough'] as const) {
        const raw = Buffer.concat([
          randomBytes(byteLength >> 1),
          Buffer.alloc(byteLength - (byteLength >> 1), 'page'),
        ])
        const chunks = [raw.subarray(0, 100), raw.subarray(100)]
        const object = await gathered(compressed(chunks, byteLength, method, effort))
        const read = [object.subarray(0, 30), object.subarray(30)]
        expect(Buffer.compare(await gathered(decompressed(read, where)), raw)).toBe(0)
      }
    },
  )
})

describe('lz4', () => {
  const rawOf = (byteLength: number) =>
    Buffer.concat([
      Buffer.alloc(byteLength - (byteLength >> 2), 'a page of it'),
      randomBytes(byteLength >> 2),
    ])
  const objectOf = (raw: Uint8Array) => gathered(compressed([raw], raw.length, 'lz4'))

  it.each([400, chunkBytes, 2 * chunkBytes + 7])(
    'makes the same object of a log at once, in memory or in a file: %i bytes',
    async (byteLength) => {
      const raw = rawOf(byteLength)
      const object = Buffer.from(await objectOf(raw))
      expect(Buffer.compare((await packedLog([raw]))!, object)).toBe(0)
      const path = join(temporaryFolder(), 'a.log')
      await writeFile(path, Buffer.concat([Buffer.alloc(112), raw.subarray(112), Buffer.alloc(9)]))
      const header = raw.subarray(0, 112)
      expect(Buffer.compare((await packedLog([header], { path, byteLength }))!, object)).toBe(0)
    },
  )

  it('keeps the order of the blocks of what is large enough for two threads', async () => {
    const block = randomBytes(chunkBytes)
    const raw = Buffer.concat(
      Array.from({ length: 33 }, (_, n) =>
        Buffer.concat([block.subarray(0, n * 1000), Buffer.alloc(chunkBytes - n * 1000, n)]),
      ),
    )
    const object = await objectOf(raw)
    expect(object.length).toBeLessThan(raw.length / 2)
    expect(Buffer.compare(await gathered(decompressed([object], where)), raw)).toBe(0)
  })

  it('leaves a log that would not become smaller', async () => {
    expect(await packedLog([randomBytes(5000)])).toBeUndefined()
  })

  it('tells of a log whose file is shorter than it says', async () => {
    const path = join(temporaryFolder(), 'a.log')
    await writeFile(path, rawOf(999))
    const packed = packedLog([new Uint8Array(112)], { path, byteLength: 1000 })
    expect((await expectCode(packed, 'ERR_CORRUPT')).message).toContain(path)
  })

  it('tells of a log whose file is not there', async () => {
    const path = join(temporaryFolder(), 'a.log')
    const packed = packedLog([new Uint8Array(112)], { path, byteLength: 1000 })
    expect((await expectCode(packed, 'ERR_IO')).message).toContain(path)
  })

  it('is a frame that others open', async () => {
    for (const byteLength of [0, 1, 5000, 2 * chunkBytes + 7]) {
      const raw = rawOf(byteLength)
      const frame = Buffer.from((await objectOf(raw)).subarray(objectHeaderBytes))
      expect(Buffer.compare(decompressFrameSync(frame), raw)).toBe(0)
    }
  })

  it('refuses every frame that is cut short, and every bit of its structure that is another', async () => {
    const raw = rawOf(600)
    const object = new Uint8Array(await objectOf(raw))
    const read = (bytes: Uint8Array) => gathered(decompressed([bytes], where))
    const refuses = async (bytes: Uint8Array, what: string) =>
      expect((await expectCode(read(bytes), 'ERR_CORRUPT')).message, what).toContain(where.path)
    for (let byteLength = 8; byteLength < object.length; byteLength++) {
      await refuses(object.slice(0, byteLength), `${byteLength} bytes`)
    }
    // The header, the length of the only block; the end.
    const structure = [
      ...Array(11).keys(),
      ...[-4, -3, -2, -1].map((at) => at + object.length - objectHeaderBytes),
    ]
    for (const at of structure) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = object.slice()
        changed[objectHeaderBytes + at]! ^= 1 << bit
        await refuses(changed, `bit ${bit} of byte ${at}`)
      }
    }
    expect(Buffer.compare(await read(object), raw)).toBe(0)
  })
})
