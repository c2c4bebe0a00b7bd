/** Merged logs: the last version of each page, for a database at the start or at a boundary. */
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { type Frame, Log, Primary, Replica, type Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { buildMerged, buildV2, buildV3, type TestFrame, testFrames } from './protocol/reference.js'
import {
  closedAfterTest,
  expectSameBytes,
  openPrimary,
  pagesOf,
  type TestPrimary,
} from './support/database.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const pageSize = 512

async function framesOf(log: Log): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of log.frames()) frames.push(frame)
  return frames
}

interface Version {
  readonly frameNo: number
  readonly pageNo: number
  readonly sizeAfter: number
  readonly text: string
}

/** Pages that say what they are, one after the other, in logs that end before the frames `ends`. */
async function logsOf(frames: readonly [pageNo: number, sizeAfter: number][], ends: readonly number[]) {
  const all = frames.map(([pageNo, sizeAfter], index): TestFrame => {
    const data = new Uint8Array(pageSize)
    data.set(Buffer.from(`frame ${index}, page ${pageNo}`))
    return { pageNo, sizeAfter, data }
  })
  const logs: Log[] = []
  let startFrameNo = 0
  let startChecksum = 0n
  for (const end of ends) {
    const bytes = buildV3({ startFrameNo, pageSize, startChecksum, frames: all.slice(startFrameNo, end) })
    const log = closedAfterTest(await Log.from(bytes))
    logs.push(log)
    startFrameNo = end
    startChecksum = log.endChecksum
  }
  return logs
}

async function versionsOf(log: Log): Promise<Version[]> {
  return (await framesOf(log)).map(({ frameNo, pageNo, sizeAfter, data }) => ({
    frameNo,
    pageNo,
    sizeAfter,
    text: Buffer.from(data).toString().replace(/\0+$/, ''),
  }))
}

const version = (frameNo: number, pageNo: number, sizeAfter = 0): Version => ({
  frameNo,
  pageNo,
  sizeAfter,
  text: `frame ${frameNo}, page ${pageNo}`,
})

const merge = async (...parameters: Parameters<typeof Log.merge>) =>
  closedAfterTest(await Log.merge(...parameters))

describe('Log.merge', () => {
  const frames: [number, number][] = [
    [1, 0],
    [2, 2],
    [2, 0],
    [3, 3],
    [1, 3],
    [2, 3],
    [4, 0],
    [2, 4],
  ]

  it('keeps the last version of each page', async () => {
    const logs = await logsOf(frames, [2, 5, 8])
    const log = await merge(logs)
    expect(await versionsOf(log)).toEqual([version(3, 3), version(4, 1), version(6, 4), version(7, 2, 4)])
    expect(log).toMatchObject({
      isMerged: true,
      version: 3,
      startFrameNo: 0,
      nextFrameNo: 8,
      lastFrameNo: 7,
      frameCount: 8,
      recordCount: 4,
      isEmpty: false,
      pageSize,
      startChecksum: 0n,
      endChecksum: logs[2]!.endChecksum,
      createdAt: logs[2]!.createdAt,
      byteLength: 112 + 64 + 4 * (24 + pageSize),
      boundaries: [
        { frameNo: 2, checksum: logs[1]!.startChecksum },
        { frameNo: 5, checksum: logs[2]!.startChecksum },
      ],
    })
    for (const one of logs) {
      expect(one).toMatchObject({ isMerged: false, recordCount: one.frameCount, boundaries: [] })
    }
  })

  it('writes what the format says', async () => {
    const logs = await logsOf(frames, [2, 5, 8])
    const log = await merge(logs.slice(1))
    const kept = await versionsOf(log)
    const expected = buildMerged({
      startFrameNo: 2,
      frameCount: 6,
      pageSize,
      startChecksum: logs[1]!.startChecksum,
      endChecksum: logs[2]!.endChecksum,
      boundaries: [[5, logs[2]!.startChecksum]],
      frames: kept.map(({ text, ...fields }) => ({
        ...fields,
        data: Uint8Array.from({ length: pageSize }, (_, at) => text.charCodeAt(at) || 0),
      })),
    })
    expect(Buffer.from(await log.bytes()).equals(expected)).toBe(true)
    expect((await buffer(log.stream())).equals(expected)).toBe(true)
    const path = join(temporaryFolder(), 'merged.log')
    await log.copyTo(path)
    expect((await readFile(path)).equals(expected)).toBe(true)
    await log.verify()
    for (const again of [await Log.open(path), await Log.from(expected)]) {
      expect(again).toMatchObject({ isMerged: true, recordCount: 4, boundaries: log.boundaries })
      await again.close()
    }
  })

  it('leaves out pages that are gone at the end, and takes those that came back', async () => {
    const shrinking: [number, number][] = [
      [1, 0],
      [2, 0],
      [3, 0],
      [4, 4],
      [1, 2],
      [1, 0],
      [3, 3],
    ]
    expect(await versionsOf(await merge(await logsOf(shrinking, [4, 5])))).toEqual([
      version(1, 2),
      version(4, 1, 2),
    ])
    expect(await versionsOf(await merge(await logsOf(shrinking, [4, 7])))).toEqual([
      version(1, 2),
      version(5, 1),
      version(6, 3, 3),
    ])
  })

  it('of one log, and of empty ones in between', async () => {
    const [first, second] = await logsOf(frames, [5, 8])
    const one = await merge([first!])
    expect(one).toMatchObject({ isMerged: true, frameCount: 5, recordCount: 3, boundaries: [] })
    const empty = await Log.create(5, { pageSize, startChecksum: first!.endChecksum })
    const both = await merge([first!, empty, second!, await emptyBehind(second!)])
    expect(both).toMatchObject({ frameCount: 8, boundaries: [{ frameNo: 5 }] })
  })

  it('of merged logs', async () => {
    const logs = await logsOf(frames, [2, 4, 5, 6, 8])
    const whole = await merge(logs, { at: [2, 5] })
    const left = await merge(logs.slice(0, 2))
    const middle = await merge(logs.slice(2, 4))
    for (const nested of [
      await merge([left, middle, logs[4]!]),
      await merge([await merge([left, middle]), logs[4]!]),
      await merge([left, await merge([middle, logs[4]!])]),
      await merge([whole]),
    ]) {
      expect(Buffer.from(await nested.bytes()).equals(await whole.bytes())).toBe(true)
    }
  })

  it('takes positions inside the logs that are states of the history', async () => {
    const logs = await logsOf(frames, [2, 8])
    const states = await logsOf(frames, [2, 4, 5, 6, 8])
    const checksumAt = new Map(states.map(({ startFrameNo, startChecksum }) => [startFrameNo, startChecksum]))
    const boundariesAt = async (at: number[]) => (await merge(logs, { at })).boundaries
    expect(await boundariesAt([6, 4, 4])).toEqual(
      [2, 4, 6].map((frameNo) => ({ frameNo, checksum: checksumAt.get(frameNo) })),
    )
    // Inside a transaction, the ends, beyond.
    expect(await boundariesAt([1, 3, 7, 0, 8, 9, 2 ** 53 - 1])).toEqual([
      { frameNo: 2, checksum: checksumAt.get(2) },
    ])
    const closed = await merge([await merge(logs)], { at: [4] })
    expect(closed.boundaries.map(({ frameNo }) => frameNo)).toEqual([2])
  })

  it('reads single frames', async () => {
    const log = await merge(await logsOf(frames, [2, 5, 8]))
    for (const frame of await framesOf(log)) expect(await log.readFrame(frame.frameNo)).toEqual(frame)
    for (const frameNo of [0, 1, 2, 5]) {
      await expect(log.readFrame(frameNo)).rejects.toThrow(/^Frame \d was left out: the log is merged/)
    }
    await expect(log.readFrame(8)).rejects.toThrow('frameNo must be from 0 to 7, got 8')
  })

  it('refuses logs that do not follow each other', async () => {
    const [first, second, third] = await logsOf(frames, [2, 5, 8])
    await expectCode(Log.merge([first!, third!]), 'ERR_LOG_GAP')
    await expectCode(Log.merge([second!, first!]), 'ERR_LOG_GAP')
    await expectCode(Log.merge([first!, first!]), 'ERR_LOG_GAP')
    const fork = await Log.from(
      buildV3({ startFrameNo: 2, pageSize, startChecksum: 5n, frames: testFrames(2, pageSize) }),
    )
    expect((await expectCode(Log.merge([first!, fork]), 'ERR_LINEAGE')).details).toMatchObject({ frameNo: 2 })
    const small = await Log.from(
      buildV3({
        startFrameNo: 2,
        pageSize: 1024,
        startChecksum: first!.endChecksum,
        frames: testFrames(2, 1024),
      }),
    )
    await expectCode(Log.merge([first!, small]), 'ERR_PAGE_SIZE')
    await expectCode(Log.merge([await merge([first!, second!]), second!]), 'ERR_LOG_GAP')
    const ofCrate = await Log.from(buildV2({ pageSize: 4096, frames: testFrames(2, 4096) }))
    await expectCode(Log.merge([ofCrate]), 'ERR_VERSION')
  })

  it('refuses what is no log', async () => {
    const [log] = await logsOf(frames, [8])
    await expect(Log.merge(log as never)).rejects.toThrow('logs must be an array of logs')
    await expect(Log.merge([log!, {} as never])).rejects.toThrow('logs[1] must be a Log')
    await expect(Log.merge([])).rejects.toThrow('logs must hold frames')
    await expect(Log.merge([await Log.create(0)])).rejects.toThrow('logs must hold frames')
    await expect(Log.merge([log!], { at: 7 } as never)).rejects.toThrow(
      'Option "at" of Log.merge must be an array',
    )
    await expect(Log.merge([log!], { at: [-1] })).rejects.toThrow(
      'Option "at" of Log.merge[0] must be a frame',
    )
    await log!.close()
    await expectCode(Log.merge([log!]), 'ERR_CLOSED')
  })

  it('refuses damaged logs, and leaves nothing behind', async () => {
    const folder = temporaryFolder()
    const logs = await logsOf(frames, [2, 5, 8])
    const sources = [...logs, await merge(logs)]
    const { location } = sources[3]!.file
    const temporary = dirname('path' in location ? location.path : '')
    const before = (await readdir(temporary)).length
    for (const [index, source] of sources.entries()) {
      const path = join(folder, `${index}.log`)
      const bytes = await source.bytes()
      // The last record of the log is read when it is opened: the one before.
      bytes[bytes.length - pageSize - 24 - 7]! ^= 1
      await writeFile(path, bytes)
      const damaged = closedAfterTest(await Log.open(path, { verify: false }))
      const list = index === 3 ? [damaged] : logs.map((log, place) => (place === index ? damaged : log))
      const error = await expectCode(Log.merge(list), 'ERR_CORRUPT')
      expect(error.details).toMatchObject({ path, byteOffset: bytes.length - 2 * (pageSize + 24) })
      await truncate(path, 300)
      await expectCode(Log.merge(list), 'ERR_CORRUPT')
    }
    expect((await readdir(temporary)).length).toBe(before)
  })
})

async function emptyBehind(log: Log): Promise<Log> {
  return Log.create(log.nextFrameNo, { pageSize: log.pageSize, startChecksum: log.endChecksum })
}

describe('a merged log', () => {
  it('is not changed, and not made one of version 2', async () => {
    const { logs } = await history(2, { pageSize: 4096 })
    const log = await merge(logs)
    const before = await log.bytes()
    const folder = temporaryFolder()
    const frames = (await framesOf(logs[1]!)).slice(-1)
    await expectCode(log.pushFrames(frames), 'ERR_REFUSED')
    await expectCode(log.truncate(log.nextFrameNo), 'ERR_REFUSED')
    await expectCode(log.copyTo(join(folder, 'crate.log'), { version: 2 }), 'ERR_REFUSED')
    expect(await readdir(folder)).toEqual([])
    expect(Buffer.from(await log.bytes()).equals(before)).toBe(true)
  })

  it('is the history at its start and at its boundaries, however it is applied', async () => {
    const source = await history(4)
    const log = await merge(source.logs.slice(1))
    expect(log.recordCount).toBeLessThan(log.frameCount)
    for (let count = 1; count < source.logs.length; count++) {
      const before = source.logs.slice(0, count)
      const replica = await replicaOf(source.blank, before)
      expect(await replica.replicate(log)).toBe(log.lastFrameNo)
      await expectSameBytes(source.primary, replica)
      expect(await replica.replicate(log)).toBe(log.lastFrameNo)

      const opened = await replicaOf(source.blank, [...before, log])
      await expectSameBytes(source.primary, opened)
      const primary = closedAfterTest(await Primary.open(source.blank, [...before, log]))
      expect(primary.lastFrameNo).toBe(log.lastFrameNo)
      await expectSameBytes(source.primary, primary)
      const snapshot = closedAfterTest(await source.blank.append([...before, log]))
      expect(snapshot).toMatchObject({ lastFrameNo: log.lastFrameNo, checksum: log.endChecksum })
      expect((await pagesOf(snapshot)).equals(await pagesOf(await snapshotOf(source)))).toBe(true)
    }
  })

  it.each([
    ['VACUUM', [], 'VACUUM'],
    ['auto_vacuum = FULL', ['PRAGMA auto_vacuum = FULL', 'VACUUM'], 'SELECT 1'],
    ['incremental_vacuum', ['PRAGMA auto_vacuum = INCREMENTAL', 'VACUUM'], 'PRAGMA incremental_vacuum(1000)'],
  ] as const)('of a database that shrinks and grows again: %s', async (_, setup, shrink) => {
    const source = await openPrimary('CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT)', { pageSize })
    const { primary, logs } = source
    for (const sql of setup) await primary.run(sql)
    const sizes: number[] = []
    for (const count of [60, 5, 40, 3, 50]) {
      await primary.run('DELETE FROM items')
      await primary.withConnection((connection) => connection.exec(shrink))
      const rows = Array.from({ length: count }, (__, id) => ({
        sql: 'INSERT INTO items VALUES (?, ?)',
        params: [id, `${count} rows`.repeat(60)],
      }))
      await primary.batch(rows)
      await source.save()
      sizes.push((await framesOf(logs.at(-1)!)).at(-1)!.sizeAfter)
    }
    expect(sizes[1]).toBeLessThan(sizes[0]!)
    expect(sizes[2]).toBeGreaterThan(sizes[1]!)
    for (let from = 0; from < logs.length; from++) {
      for (let to = from + 2; to <= logs.length; to += 2) {
        const log = await merge(logs.slice(from, to))
        const at = from + ((from + to) % (to - from))
        const replica = await Replica.open(source.blank, [...logs.slice(0, at), log])
        for (const after of logs.slice(to)) await replica.replicate(after)
        await expectSameBytes(primary, replica)
        await replica.close()
      }
    }
  })

  it('goes on with logs behind it', async () => {
    const source = await history(4)
    const log = await merge(source.logs)
    const replica = await replicaOf(source.blank, [log])
    await change(source.primary, 99)
    await source.save()
    await replica.replicate(source.logs.at(-1)!)
    await expectSameBytes(source.primary, replica)
    const opened = await replicaOf(source.blank, [log, source.logs.at(-1)!])
    await expectSameBytes(source.primary, opened)
  })

  it('is refused elsewhere, and nothing is applied', async () => {
    const source = await history(3)
    const first = await merge(source.logs.slice(0, 2))
    const log = await merge([await withoutBoundaries(first), source.logs[2]!])
    const between = await replicaOf(source.blank, source.logs.slice(0, 1))
    const { lastFrameNo } = between
    const error = await expectCode(between.replicate(log), 'ERR_LOG_GAP')
    expect(error.message).toContain(
      `is merged: it is taken at its start and at its boundaries, and frame ${lastFrameNo! + 1} is`,
    )
    expect(error.message).toContain(`boundaries nearby: ${source.logs[2]!.startFrameNo}`)
    await expectCode(replicaOf(source.blank, [source.logs[0]!, log]), 'ERR_LOG_GAP')
    await expectCode(source.blank.append([source.logs[0]!, log]), 'ERR_LOG_GAP')
    expect(between.lastFrameNo).toBe(lastFrameNo)

    const other = await history(3, { text: 'tent' })
    const fork = await replicaOf(other.blank, other.logs.slice(0, 2))
    const mergedFork = await merge(source.logs)
    const boundary = mergedFork.boundaries[1]!.frameNo
    expect(other.logs[2]!.startFrameNo).toBe(boundary)
    expect((await expectCode(fork.replicate(mergedFork), 'ERR_LINEAGE')).details).toMatchObject({
      frameNo: boundary,
    })
    await expectCode(fork.replicate(await merge(source.logs.slice(2))), 'ERR_LINEAGE')
    await expectCode(replicaOf(source.blank, [await merge(source.logs.slice(1))]), 'ERR_LOG_GAP')
    await expectCode(fork.replicate(await merge(source.logs.slice(0, 2))), 'ERR_LINEAGE')
  })

  it('that is damaged is refused, and nothing is applied', async () => {
    const source = await history(3)
    const path = join(temporaryFolder(), 'damaged.log')
    await (await merge(source.logs)).copyTo(path)
    const bytes = await readFile(path)
    const replica = await replicaOf(source.blank, [source.logs[0]!])
    const { lastFrameNo } = replica
    for (const byteOffset of [bytes.length - 1, bytes.length - 2 * (24 + pageSize), 112 + 64 + 30]) {
      const damaged = Buffer.from(bytes)
      damaged[byteOffset]! ^= 16
      await writeFile(path, damaged)
      const log = closedAfterTest(await Log.open(path, { verify: false }))
      await expectCode(replica.replicate(log), 'ERR_CORRUPT')
      await expectCode(replicaOf(source.blank, [log]), 'ERR_CORRUPT')
    }
    expect(replica.lastFrameNo).toBe(lastFrameNo)
    await writeFile(path, bytes)
    await replica.replicate(closedAfterTest(await Log.open(path, { verify: false })))
    await expectSameBytes(source.primary, replica)
  })

  it('is seen whole or not at all by readers, also when it makes the database smaller', async () => {
    const source = await history(3)
    const before = await replicaOf(source.blank, source.logs)
    await source.primary.run('DELETE FROM items')
    await source.save()
    await source.primary.run('VACUUM')
    await source.save()
    const log = await merge(source.logs)
    expect(log.recordCount).toBeLessThan(10)
    const reading = before.withConnection(async (connection) => {
      const count = () => connection.get('SELECT count(*) AS n FROM items')
      const first = await count()
      await before.replicate(await merge(source.logs.slice(-2)))
      expect(await count()).toEqual(first)
    })
    await reading
    expect(await before.get('SELECT count(*) AS n FROM items')).toEqual({ n: 0 })
    await expectSameBytes(source.primary, before)
    await expectSameBytes(source.primary, await replicaOf(source.blank, [log]))
  })
})

type Source = TestPrimary

async function replicaOf(snapshot: Snapshot, logs: Log[]): Promise<Replica> {
  return closedAfterTest(await Replica.open(snapshot, logs))
}

async function snapshotOf({ primary }: Source): Promise<Snapshot> {
  return primary.snapshot(join(temporaryFolder(), 'snapshot.db'))
}

async function change(primary: Primary, round: number, text = 'text'): Promise<void> {
  const statements = Array.from({ length: 20 }, (_, index) => ({
    sql: 'INSERT OR REPLACE INTO items VALUES (?, ?)',
    params: [round * 3 + index, `${text} ${round}`.repeat(20)],
  }))
  await primary.batch(statements)
  await primary.run('DELETE FROM items WHERE id % 7 = ?', [round % 7])
}

/** Logs that change the same rows again and again. */
async function history(
  logCount: number,
  { text = 'text', pageSize: bytes = pageSize } = {},
): Promise<Source> {
  const source = await openPrimary('', { pageSize: bytes })
  await source.primary.run('CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT)')
  for (let round = 0; round < logCount; round++) {
    await change(source.primary, round, text)
    await source.save()
  }
  return source
}

async function withoutBoundaries(log: Log): Promise<Log> {
  const { startFrameNo, frameCount, startChecksum, endChecksum } = log
  const frames = await framesOf(log)
  const bytes = buildMerged({
    startFrameNo,
    frameCount,
    pageSize: log.pageSize,
    startChecksum,
    endChecksum,
    frames,
  })
  return closedAfterTest(await Log.from(bytes))
}
