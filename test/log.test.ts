import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { type Frame, FrameBatch, Log } from 'mylibsql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crc64 } from '../src/protocol/crc64.js'
import { buildV2, buildV3, type TestFrame, testFrames } from './protocol/reference.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'log-test-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

let fileCount = 0
async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `${fileCount++}.log`)
  await writeFile(path, bytes)
  return path
}

const pageSize = 512
const recordBytes = 24 + pageSize

async function framesOf(log: Log): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of log.frames()) frames.push(frame)
  return frames
}

const contentOf = (frames: readonly Frame[]): TestFrame[] =>
  frames.map(({ pageNo, sizeAfter, data }) => ({ pageNo, sizeAfter, data: Uint8Array.from(data) }))

/** The frames of a log built by hand, as one batch. */
function batchFrom(bytes: Uint8Array, from: number, to: number): FrameBatch {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const start = Number(view.getBigUint64(16, true))
  const at = (frameNo: number) => 112 + (frameNo - start) * recordBytes
  const startChecksum =
    from === start ? view.getBigUint64(8, true) : view.getBigUint64(at(from - 1) + 8, true)
  return new FrameBatch(bytes.slice(at(from), at(to)), pageSize, from, startChecksum)
}

const withCode = (code: string, details: object = {}) =>
  expect.objectContaining({ name: 'MylibsqlError', code, details: expect.objectContaining(details) })

describe('reading', () => {
  const frames = testFrames(6, pageSize)
  const bytes = buildV3({ startFrameNo: 40, pageSize, startChecksum: 5n, frames })

  it.each(['file', 'memory', 'a part of a Buffer'])('reads a version 3 log from %s', async (where) => {
    const padded = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(5)]).subarray(3, 3 + bytes.length)
    const log =
      where === 'file'
        ? await Log.open(await fileOf(bytes))
        : await Log.from(where === 'memory' ? bytes : padded)
    expect(log).toMatchObject({
      startFrameNo: 40,
      nextFrameNo: 46,
      lastFrameNo: 45,
      frameCount: 6,
      isEmpty: false,
      byteLength: bytes.length,
      pageSize,
      version: 3,
      startChecksum: 5n,
      createdAt: new Date(1_700_000_000_000),
    })
    const read = await framesOf(log)
    expect(contentOf(read)).toEqual(frames)
    expect(read.map(({ frameNo }) => frameNo)).toEqual([40, 41, 42, 43, 44, 45])
    expect(log.endChecksum).toBe(read.at(-1)?.checksum)
    expect(await log.readFrame(43)).toEqual(read[3])
    expect(await log.bytes()).toEqual(bytes)
    expect(Uint8Array.from(await buffer(log.stream()))).toEqual(bytes)
    await log.verify()
    await log.close()
  })

  it('reads a version 2 log, and not what follows its frames', async () => {
    const crate = buildV2({ startFrameNo: 3, pageSize: 4096, frames: testFrames(4, 4096) })
    const log = await Log.open(await fileOf(Buffer.concat([crate, Buffer.alloc(5000, 1)])))
    expect(log).toMatchObject({
      version: 2,
      startFrameNo: 3,
      frameCount: 4,
      startChecksum: 0n,
      createdAt: undefined,
    })
    expect(contentOf(await framesOf(log))).toEqual(testFrames(4, 4096))
    expect(log.endChecksum).toBe((await log.readFrame(6)).checksum)
    expect(await log.bytes()).toEqual(crate)
    await log.verify()
  })

  it('names both bounds of a frame number out of range', async () => {
    const log = await Log.from(bytes)
    await expect(log.readFrame(39)).rejects.toThrow(new RangeError('frameNo must be from 40 to 45, got 39'))
    await expect(log.readFrame(46)).rejects.toThrow(RangeError)
    await expect((await Log.create(0)).readFrame(0)).rejects.toThrow(/empty/)
  })

  it('reads logs of more than one piece', async () => {
    const big = await Log.create(0, { pageSize })
    while (big.nextFrameNo < 4900) {
      const { endChecksum: startChecksum, nextFrameNo: startFrameNo } = big
      const next = buildV3({
        startFrameNo,
        pageSize,
        startChecksum,
        frames: testFrames(700, pageSize, 7),
        crc: crc64,
      })
      await big.pushFrames(batchFrom(next, startFrameNo, startFrameNo + 700))
    }
    expect(big.byteLength).toBeGreaterThan(2 * 1024 * 1024)
    let frameNo = 0
    for await (const frame of big.frames()) expect(frame.frameNo).toBe(frameNo++)
    expect(frameNo).toBe(4900)
    expect((await buffer(big.stream())).equals(await big.bytes())).toBe(true)
    await big.verify()
    await big.close()
  })
})

describe('create and pushFrames', () => {
  const frames = testFrames(10, pageSize)
  const whole = buildV3({ startFrameNo: 20, pageSize, startChecksum: 77n, frames })

  it('begins empty', async () => {
    const log = await Log.create(20, { pageSize, startChecksum: 77n })
    expect(log).toMatchObject({ isEmpty: true, startFrameNo: 20, nextFrameNo: 20, lastFrameNo: undefined })
    expect(log).toMatchObject({ version: 3, byteLength: 112, startChecksum: 77n, endChecksum: 77n })
    expect(log.createdAt).toBeInstanceOf(Date)
    expect(await framesOf(log)).toEqual([])
    expect((await Log.from(await log.bytes())).startFrameNo).toBe(20)
    expect((await Log.create(0)).pageSize).toBe(4096)
  })

  it('takes batches and single frames, and becomes what the sender had', async () => {
    const source = await Log.from(whole)
    const log = await Log.create(20, { pageSize, startChecksum: 77n })
    await log.pushFrames(batchFrom(whole, 20, 24))
    await log.pushFrames([await source.readFrame(24), await source.readFrame(25)])
    await log.pushFrames(batchFrom(whole, 26, 30))
    await log.pushFrames([])
    expect((await log.bytes()).subarray(112)).toEqual(whole.subarray(112))
    expect(log.endChecksum).toBe(source.endChecksum)
    await log.verify()
  })

  it.each(['batch', 'frames'])('belongs to the history of the first %s when none was named', async (kind) => {
    const log = await Log.create(20, { pageSize })
    const batch = batchFrom(whole, 20, 24)
    await log.pushFrames(kind === 'batch' ? batch : batch.frames)
    expect(log.startChecksum).toBe(77n)
    await log.pushFrames(batchFrom(whole, 24, 30))
    expect((await log.bytes()).subarray(112)).toEqual(whole.subarray(112))
    await log.verify()
  })

  it('refuses what does not continue it, and stays as it was', async () => {
    const log = await Log.create(20, { pageSize, startChecksum: 77n })
    await log.pushFrames(batchFrom(whole, 20, 24))
    const before = await log.bytes()
    const other = buildV3({ startFrameNo: 20, pageSize, startChecksum: 78n, frames })
    const bigger = buildV3({ startFrameNo: 24, pageSize: 1024, frames: testFrames(2, 1024) })
    const good = batchFrom(whole, 24, 28)
    const [first, second] = good.frames as [Frame, Frame]

    await expect(log.pushFrames(batchFrom(whole, 26, 28))).rejects.toEqual(
      withCode('ERR_LOG_GAP', { expected: 24, actual: 26 }),
    )
    await expect(log.pushFrames(batchFrom(whole, 22, 26))).rejects.toEqual(withCode('ERR_LOG_GAP'))
    await expect(log.pushFrames([first, first])).rejects.toEqual(withCode('ERR_LOG_GAP'))
    await expect(log.pushFrames(batchFrom(other, 24, 26))).rejects.toEqual(withCode('ERR_LINEAGE'))
    await expect(log.pushFrames(batchFrom(other, 24, 26).frames)).rejects.toEqual(withCode('ERR_LINEAGE'))
    await expect(log.pushFrames(new FrameBatch(bigger.slice(112), 1024, 24, 0n))).rejects.toEqual(
      withCode('ERR_PAGE_SIZE', { expected: 512, actual: 1024 }),
    )
    await expect(log.pushFrames([first])).rejects.toEqual(withCode('ERR_CORRUPT', { frameNo: 24 }))
    const damaged = { ...second, data: second.data.map((byte, at) => (at === 100 ? byte ^ 1 : byte)) }
    await expect(log.pushFrames([first, damaged])).rejects.toEqual(withCode('ERR_CORRUPT', { frameNo: 25 }))
    for (let bit = 0; bit < recordBytes * 4 * 8; bit += 37) {
      const bytes = good.bytes.slice()
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      const batch = new FrameBatch(bytes, pageSize, 24, good.startChecksum)
      await expect(log.pushFrames(batch), `bit ${bit}`).rejects.toEqual(withCode('ERR_CORRUPT'))
    }

    expect(await log.bytes()).toEqual(before)
    await log.pushFrames(good)
    expect(log.nextFrameNo).toBe(28)
    await log.verify()
  })

  it('leaves a file that was opened as it is', async () => {
    const path = await fileOf(
      buildV3({ startFrameNo: 20, pageSize, startChecksum: 77n, frames: frames.slice(0, 4) }),
    )
    const before = await readFile(path)
    const log = await Log.open(path)
    await log.pushFrames(batchFrom(whole, 24, 30))
    await log.truncate(22)
    expect(await readFile(path)).toEqual(before)
    expect(log).toMatchObject({ startFrameNo: 22, nextFrameNo: 30 })
    await log.close()
    expect(await readFile(path)).toEqual(before)
  })

  it('continues a version 2 log in its own chain', async () => {
    const crateFrames = testFrames(6, 4096)
    const v3 = buildV3({ startFrameNo: 8, pageSize: 4096, startChecksum: 3n, frames: crateFrames })
    const log = await Log.from(buildV2({ startFrameNo: 8, pageSize: 4096, frames: crateFrames.slice(0, 4) }))
    await log.pushFrames([...(await framesOf(await Log.from(v3)))].slice(4))
    const expected = buildV2({ startFrameNo: 8, pageSize: 4096, frames: crateFrames })
    expect(await log.bytes()).toEqual(expected)
    expect(log.version).toBe(2)
    await log.verify()
  })

  it('runs changes one after the other, and reads beside them', async () => {
    const log = await Log.create(20, { pageSize })
    const pushes = [20, 22, 24, 26, 28].map((from) => log.pushFrames(batchFrom(whole, from, from + 2)))
    const reading = framesOf(log)
    const truncated = log.truncate(24)
    const afterwards = log.readFrame(24)
    await Promise.all([...pushes, truncated])
    expect((await reading).map(({ frameNo }) => frameNo)).toEqual([20, 21, 22, 23, 24, 25, 26, 27, 28, 29])
    expect((await afterwards).frameNo).toBe(24)
    const seen: number[] = []
    for await (const frame of log.frames()) {
      seen.push(frame.frameNo)
      if (seen.length === 2) await log.truncate(28)
    }
    expect(seen).toEqual([24, 25, 26, 27, 28, 29])
    expect(log.startFrameNo).toBe(28)
  })
})

describe('truncate', () => {
  const frames = testFrames(8, pageSize)
  const bytes = buildV3({ startFrameNo: 10, pageSize, startChecksum: 4n, frames })

  it.each([0, 9, 10])('does nothing at %i, not behind the start', async (frameNo) => {
    const log = await Log.from(bytes)
    await log.truncate(frameNo)
    expect(await log.bytes()).toEqual(bytes)
  })

  it.each([11, 12, 17])('keeps what is behind %i, with its lineage', async (frameNo) => {
    const log = await Log.from(bytes)
    const before = await log.readFrame(frameNo - 1)
    await log.truncate(frameNo)
    expect(log).toMatchObject({ startFrameNo: frameNo, nextFrameNo: 18, startChecksum: before.checksum })
    expect((await log.bytes()).subarray(112)).toEqual(bytes.subarray(112 + (frameNo - 10) * recordBytes))
    await log.verify()
  })

  it('is empty at the end, and goes on from there', async () => {
    const log = await Log.from(bytes)
    const { endChecksum } = log
    await log.truncate(18)
    expect(log).toMatchObject({ isEmpty: true, startFrameNo: 18, startChecksum: endChecksum, endChecksum })
    const wrong = buildV3({ startFrameNo: 18, pageSize, startChecksum: 1n, frames })
    await expect(log.pushFrames(batchFrom(wrong, 18, 20))).rejects.toEqual(withCode('ERR_LINEAGE'))
    const next = buildV3({ startFrameNo: 18, pageSize, startChecksum: endChecksum, frames })
    await log.pushFrames(batchFrom(next, 18, 20))
    await log.verify()
  })

  it('is empty beyond the end, where any history may begin', async () => {
    const log = await Log.from(bytes)
    await log.truncate(30)
    expect(log).toMatchObject({ isEmpty: true, startFrameNo: 30, lastFrameNo: undefined })
    const next = buildV3({ startFrameNo: 30, pageSize, startChecksum: 123n, frames })
    await log.pushFrames(batchFrom(next, 30, 32))
    expect(log.startChecksum).toBe(123n)
  })

  it('starts the chain of a version 2 log anew', async () => {
    const log = await Log.from(buildV2({ startFrameNo: 10, pageSize: 4096, frames: testFrames(4, 4096) }))
    await log.truncate(12)
    const expected = buildV2({ startFrameNo: 12, pageSize: 4096, frames: testFrames(4, 4096).slice(2) })
    expected.fill(0, 40, 48)
    expect(await log.bytes()).toEqual(expected)
    await log.verify()
  })
})

describe('copyTo', () => {
  const frames = testFrames(4, 4096)
  const v3 = buildV3({ startFrameNo: 5, pageSize: 4096, startChecksum: 9n, frames })
  const v2 = buildV2({ startFrameNo: 5, pageSize: 4096, frames })

  it.each([v2, v3])('writes the same bytes and nothing else', async (bytes) => {
    const target = await mkdtemp(join(folder, 'copy-'))
    const path = join(target, 'copy.log')
    await writeFile(path, 'something older and longer'.repeat(9999))
    await (await Log.from(bytes)).copyTo(path)
    expect(Uint8Array.from(await readFile(path))).toEqual(bytes)
    await (await Log.open(path)).copyTo(path)
    expect(Uint8Array.from(await readFile(path))).toEqual(bytes)
    expect(await readdir(target)).toEqual(['copy.log'])
  })

  it("writes the crate's format", async () => {
    const path = join(folder, 'crate.log')
    await (await Log.from(v3)).copyTo(path, { version: 2 })
    const expected = v2.slice()
    expected.fill(0, 40, 48)
    expect(Uint8Array.from(await readFile(path))).toEqual(expected)
    await (await Log.open(path)).verify()
  })

  it("writes the crate's logs as ours, with a chain from 0", async () => {
    const path = join(folder, 'ours.log')
    await (await Log.from(v2)).copyTo(path, { version: 3 })
    const expected = buildV3({ startFrameNo: 5, pageSize: 4096, frames })
    const log = await Log.open(path)
    expect((await log.bytes()).subarray(112)).toEqual(expected.subarray(112))
    expect(log).toMatchObject({ version: 3, startChecksum: 0n, createdAt: undefined })
  })

  it('does not sign damage anew', async () => {
    const damaged = v3.slice()
    damaged[112 + 24 + 50]! ^= 1
    const log = await Log.from(damaged, { verify: false })
    const path = join(folder, 'damaged.log')
    await expect(log.copyTo(path, { version: 2 })).rejects.toEqual(withCode('ERR_CORRUPT', { frameNo: 5 }))
    await expect(readFile(path)).rejects.toThrow('ENOENT')
  })

  it('refuses pages that the crate does not know', async () => {
    const log = await Log.create(0, { pageSize })
    await expect(log.copyTo(join(folder, 'x'), { version: 2 })).rejects.toEqual(withCode('ERR_PAGE_SIZE'))
  })

  it('says what the system says', async () => {
    const log = await Log.create(0)
    await expect(log.copyTo(join(folder, 'no', 'such', 'folder'))).rejects.toMatchObject({
      code: 'ERR_IO',
      cause: { code: 'ENOENT' },
    })
  })
})

describe('close', () => {
  it('removes a temporary file, refuses everything afterwards, and may be called again', async () => {
    const log = await Log.create(0, { pageSize })
    await log.pushFrames(batchFrom(buildV3({ pageSize, frames: testFrames(2, pageSize) }), 0, 2))
    const { path } = log.file.location as { path: string }
    await readFile(path)
    await Promise.all([log.close(), log.close()])
    await log.close()
    await expect(readFile(path)).rejects.toThrow('ENOENT')
    const closed = withCode('ERR_CLOSED')
    await expect(log.readFrame(0)).rejects.toEqual(closed)
    await expect(framesOf(log)).rejects.toEqual(closed)
    await expect(log.pushFrames([])).rejects.toEqual(closed)
    await expect(log.truncate(1)).rejects.toEqual(closed)
    await expect(log.copyTo(path)).rejects.toEqual(closed)
    await expect(log.bytes()).rejects.toEqual(closed)
    await expect(buffer(log.stream())).rejects.toEqual(closed)
    await expect(log.verify()).rejects.toEqual(closed)
    expect(() => log.file).toThrow(closed)
    expect(log.startFrameNo).toBe(0)
  })

  it('waits for what is under way', async () => {
    const bytes = buildV3({ pageSize, frames: testFrames(4, pageSize) })
    const log = await Log.create(0, { pageSize })
    const push = log.pushFrames(batchFrom(bytes, 0, 4))
    const read = log.bytes()
    await log.close()
    await push
    expect((await read).length).toBe(bytes.length)
  })

  it('keeps a file that was opened', async () => {
    const path = await fileOf(buildV3({ pageSize, frames: [] }))
    const log = await Log.open(path)
    await log[Symbol.asyncDispose]()
    await readFile(path)
  })
})

describe('arguments', () => {
  it.each<[string, () => Promise<unknown>, string]>([
    ['path', () => Log.open(1 as never), 'path must be a path (string or file: URL), got number 1'],
    ['empty path', () => Log.open(''), 'path must be a path that is not empty'],
    [
      'option',
      () => Log.open('x', { verfy: true } as never),
      'Unknown option "verfy" of Log.open; did you mean "verify"?',
    ],
    [
      'verify',
      () => Log.open('x', { verify: 1 as never }),
      'Option "verify" of Log.open must be a boolean, got number 1',
    ],
    ['options', () => Log.open('x', 'y' as never), 'The options of Log.open must be an object, got string'],
    [
      'startFrameNo',
      () => Log.create(-1),
      'startFrameNo must be a frame number (integer from 0), got number -1',
    ],
    [
      'pageSize',
      () => Log.create(0, { pageSize: 1000 }),
      'must be a power of two from 512 to 65536, got number 1000',
    ],
    ['startChecksum', () => Log.create(0, { startChecksum: -1n }), 'must be a bigint from 0n'],
    ['pageSise', () => Log.create(0, { pageSise: 1 } as never), 'did you mean "pageSize"?'],
    ['bytes', () => Log.from('x' as never), 'bytes must be a Uint8Array or an ArrayBuffer, got string'],
    ['frameNo', async () => (await Log.create(0)).readFrame(1.5), 'frameNo must be a frame number'],
    [
      'frames',
      async () => (await Log.create(0)).pushFrames(5 as never),
      'frames must be a FrameBatch or an iterable',
    ],
    ['frames[0]', async () => (await Log.create(0)).pushFrames([{} as never]), 'frames[0] must be a frame'],
    [
      'truncate',
      async () => (await Log.create(0)).truncate('1' as never),
      'startFrameNo must be a frame number',
    ],
    [
      'version',
      async () => (await Log.create(0)).copyTo('x', { version: 4 as never }),
      'must be one of 2, 3, got number 4',
    ],
  ])('%s', async (_, action, message) => {
    const error = await action().then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(TypeError)
    expect((error as TypeError).message).toContain(message)
  })
})

describe('any sequence of pushes and truncations', () => {
  it('is what an array would be', async () => {
    const push = fc.record({
      kind: fc.constant('push' as const),
      count: fc.integer({ min: 1, max: 6 }),
      single: fc.boolean(),
    })
    const truncate = fc.record({
      kind: fc.constant('truncate' as const),
      offset: fc.integer({ min: -2, max: 12 }),
    })
    const commands = fc.array(fc.oneof({ weight: 3, arbitrary: push }, { weight: 1, arbitrary: truncate }), {
      maxLength: 12,
    })
    await fc.assert(
      fc.asyncProperty(commands, fc.nat({ max: 1000 }), async (list, start) => {
        const log = await Log.create(start, { pageSize })
        let model: TestFrame[] = []
        let modelStart = start
        let checksum = start === 0 ? 0n : 12_345n
        for (const [index, command] of list.entries()) {
          const nextFrameNo = modelStart + model.length
          if (command.kind === 'push') {
            const frames = testFrames(command.count, pageSize, 3, index)
            const bytes = buildV3({ startFrameNo: nextFrameNo, pageSize, startChecksum: checksum, frames })
            const batch = batchFrom(bytes, nextFrameNo, nextFrameNo + command.count)
            await log.pushFrames(command.single ? batch.frames : batch)
            model = [...model, ...frames]
            checksum = batch.frames.at(-1)!.checksum
          } else {
            const frameNo = Math.max(0, modelStart + command.offset)
            await log.truncate(frameNo)
            if (frameNo > modelStart) {
              model = model.slice(frameNo - modelStart)
              modelStart = frameNo
            }
          }
          expect(log).toMatchObject({ startFrameNo: modelStart, frameCount: model.length })
        }
        expect(contentOf(await framesOf(log))).toEqual(model)
        await log.verify()
        const again = await Log.from(await log.bytes())
        expect(contentOf(await framesOf(again))).toEqual(model)
        for (let frameNo = modelStart; frameNo < log.nextFrameNo; frameNo += 3) {
          const { data } = await log.readFrame(frameNo)
          expect(Uint8Array.from(data)).toEqual(model[frameNo - modelStart]!.data)
        }
        await log.close()
      }),
      { numRuns: 40 },
    )
  })
})
