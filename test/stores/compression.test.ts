/** What stores compress comes out as it went in: at once or in a stream, by every method, around every size of a chunk. */
import { randomBytes } from 'node:crypto'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compressed, compressedBytes, decompressed, gathered } from '../../src/main/stores/compression.js'
import { decodeObjectHeader } from '../../src/protocol/object-format.js'

const methods = (['deflate', 'brotli', 'zstd'] as const).filter(
  (method) => method !== 'zstd' || 'createZstdCompress' in zlib,
)
const chunkBytes = 1024 * 1024
const where = { path: '/store/1.log' }

describe.each(methods)('%s', (method) => {
  it('gives back what was compressed at once', async () => {
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
