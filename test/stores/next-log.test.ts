/** A replica's thread looks by itself for the log that comes next in a FileStore. */
import { tracingChannel } from 'node:diagnostics_channel'
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { FileStore, type FileStoreOptions, Replica, type StoredLog } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { followLogs } from '../../src/main/stores/file-follow.js'
import type { FollowLogsOptions } from '../../src/main/stores/store.js'
import type { LogFile } from '../../src/protocol/log-format.js'
import { segmentRecordBytes } from '../../src/protocol/segment-format.js'
import { NextLog } from '../../src/worker/next-log.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'
import { startHistory } from '../support/history.js'
import { addTo, storeWithSegment } from '../support/segments.js'

const recordBytes = ({ byteLength }: StoredLog) => segmentRecordBytes(byteLength)

const placeOf = (file: LogFile | 'other' | undefined) =>
  typeof file === 'object' && 'path' in file.location
    ? [basename(file.location.path), file.header.headerBytes - 112]
    : file

describe('the next log', () => {
  it('is in a file of its own, the first one of a segment, behind that, and in the next file again', async () => {
    const { dir, store, logs, epoch, writer, tail } = await storeWithSegment(3)
    writer.close()
    await store.endTail(tail)
    await store.append(logs[7]!, epoch)
    const next = new NextLog()
    const places: unknown[] = []
    for (const { startFrameNo } of logs.slice(0, 8)) {
      places.push(placeOf(next.find({ storePath: dir, after: undefined }, startFrameNo)))
      next.taken()
    }
    const names = [0, 2, 4, 6, 8, 14].map((frameNo) => `${String(frameNo).padStart(16, '0')}.log`)
    const recordBytes = places[5] as [string, number]
    expect(places).toEqual([
      [names[0], 0],
      [names[1], 0],
      [names[2], 0],
      [names[3], 0],
      [names[4], 0],
      [names[4], recordBytes[1]],
      [names[4], 2 * recordBytes[1]],
      [names[5], 0],
    ])
    expect(recordBytes[1] % 4096).toBe(0)
    expect(next.find({ storePath: dir, after: undefined }, logs[8]!.startFrameNo)).toBeUndefined()
  })

  it('is found behind a log that others have applied, at the place that is told', async () => {
    const { dir, store, logs, writer } = await storeWithSegment(2)
    const last = (await store.logs()).at(-1)!
    const { path, byteOffset = 0 } = store.logLocation(last)
    const after = { path, byteOffset: 2 * byteOffset }
    const { startFrameNo } = logs[6]!
    const next = new NextLog()
    expect(next.find({ storePath: dir, after }, startFrameNo)).toBeUndefined()
    addTo(writer, logs[6]!)
    expect(next.find({ storePath: dir, after: undefined }, startFrameNo)).toBeUndefined()
    expect(placeOf(next.find({ storePath: dir, after }, startFrameNo))).toEqual([
      basename(path),
      2 * byteOffset,
    ])
    expect(next.find({ storePath: dir, after }, startFrameNo + 1)).toBeUndefined()
  })

  it('is not there before its mark is, nor when it is cut short, another file, or none', async () => {
    const { dir, store, logs } = await storeWithSegment(2)
    const { path, byteOffset = 0 } = store.logLocation((await store.logs()).at(-1)!)
    const { startFrameNo } = logs[5]!
    const copy = temporaryFolder()
    mkdirSync(join(copy, 'logs'))
    const target = join(copy, 'logs', basename(path))
    const find = () =>
      new NextLog().find({ storePath: copy, after: { path: target, byteOffset } }, startFrameNo)
    expect(find()).toBeUndefined()
    copyFileSync(path, target)
    expect(find()).toBeDefined()
    const bytes = readFileSync(path)
    writeFileSync(target, bytes.fill(0, 2 * byteOffset - 8, 2 * byteOffset))
    expect(find()).toBeUndefined()
    copyFileSync(path, target)
    truncateSync(target, 2 * byteOffset - 4096)
    expect(find()).toBeUndefined()
    writeFileSync(join(copy, 'logs', basename(path).replace(/\d\.log$/, '9.log')), readFileSync(path))
    expect(new NextLog().find({ storePath: copy, after: undefined }, 9)).toBeUndefined()
    expect(new NextLog().find({ storePath: dir, after: undefined }, 99)).toBeUndefined()
  })

  it('is unpacked where it is compressed, and another one where that, its header, or the file is not what it should be', async () => {
    const { logs } = await storeWithSegment(1)
    const store = closedAfterTest(new FileStore(temporaryFolder(), { compression: 'deflate' }))
    await store.append(logs[0]!, await store.claimEpoch('test'))
    const { path } = store.logLocation((await store.logs())[0]!)
    const storePath = dirname(dirname(path))
    const find = (frameNo: number) => new NextLog().find({ storePath, after: undefined }, frameNo)
    const { startFrameNo, endChecksum } = logs[0]!
    const unpacked = { location: { bytes: expect.any(Uint8Array) }, header: { startFrameNo, endChecksum } }
    expect(find(0)).toMatchObject(unpacked)
    truncateSync(path, readFileSync(path).length - 1)
    expect(find(0)).toBe('other')
    writeFileSync(path, 'no log')
    expect(find(0)).toBe('other')
    mkdirSync(join(dirname(path), '0000000000000099.log'))
    expect(find(99)).toBe('other')
  })

  it('is found behind those that others have applied since', async () => {
    const { dir, logs } = await storeWithSegment(4)
    const next = new NextLog()
    const find = (index: number) => next.find({ storePath: dir, after: undefined }, logs[index]!.startFrameNo)
    expect(find(4)).toBeDefined()
    next.taken()
    const third = placeOf(find(7))
    expect(third).toEqual([basename('0000000000000008.log'), expect.any(Number)])
    next.taken()
    expect(find(8)).toBeUndefined()
  })
})

describe('following a folder', () => {
  const position = { nextFrameNo: 10, checksum: 0n }

  /** A follower of a segment of three logs, whose thread answers as it is told to. */
  async function startFollow(take: NonNullable<FollowLogsOptions['take']>) {
    const { dir, store } = await storeWithSegment(3)
    const ending = new AbortController()
    const told: StoredLog[] = []
    const counts = { lists: 0 }
    const folder = {
      storePath: dir,
      list: async (from: number) => {
        counts.lists += 1
        return { logs: await store.logs({ from }), tookMs: 0 }
      },
      isNewestEpoch: async () => true,
      findFirst: async () => undefined,
    }
    const follow = async () => {
      for await (const stored of followLogs(folder, 10, { signal: ending.signal, take })) told.push(stored)
    }
    const following = follow()
    onTestFinished(() => {
      ending.abort()
      return following
    })
    return { counts, told, last: (await store.logs()).at(-1)!, store }
  }

  it('lists once for a doubt that stays', async () => {
    const doubted: unknown[] = []
    const startMs = performance.now()
    const { counts } = await startFollow(async ({ doubtedFrameNo }) => {
      doubted.push(doubtedFrameNo)
      if (doubtedFrameNo === undefined) return { position, reason: 'doubtful' }
      await new Promise((resolve) => setTimeout(resolve, 20))
      return { position, reason: 'stopped' }
    })
    await expect.poll(() => doubted.length, { timeout: 10_000 }).toBeGreaterThan(8)
    expect(new Set(doubted)).toEqual(new Set([undefined, 10]))
    expect(counts.lists).toBeLessThanOrEqual(1 + (performance.now() - startMs) / 1000)
  })

  it('tells who takes where the last log ends that was told, and lists when nobody takes any more', async () => {
    const places: unknown[] = []
    let isTaking = false
    const { counts, told, last, store } = await startFollow(async ({ after }) => {
      places.push(after)
      if (!isTaking) return undefined
      await new Promise((resolve) => setTimeout(resolve, 20))
      return { position, reason: 'stopped' }
    })
    await expect.poll(() => told.length).toBe(2)
    isTaking = true
    const { path, byteOffset = 0 } = store.logLocation(last)
    await expect.poll(() => places.at(-1)).toEqual({ path, byteOffset: byteOffset + recordBytes(last) })
    const takenCount = places.length
    await expect.poll(() => places.length).toBeGreaterThan(takenCount + 1)
    const { lists } = counts
    isTaking = false
    await expect.poll(() => counts.lists).toBeGreaterThan(lists)
  })
})

/** Counts the logs that the main thread had to tell of. */
class ToldStore extends FileStore {
  toldCount = 0

  override logLocation(stored: StoredLog): ReturnType<FileStore['logLocation']> {
    this.toldCount += 1
    return super.logLocation(stored)
  }
}

async function startFollowing(options?: FileStoreOptions) {
  const history = await startHistory(
    closedAfterTest(new ToldStore(join(temporaryFolder(), 'store'), options)),
  )
  const replica = closedAfterTest(await Replica.follow(history.store))
  const writeAndWait = async () => replica.waitFor((await history.write({ transactions: 1 })).lastFrameNo)
  return { ...history, replica, writeAndWait }
}

describe('a replica that follows a FileStore', () => {
  it('takes what comes without anybody telling its thread where it is', async () => {
    const { source, store, replica, writeAndWait } = await startFollowing()
    for (let n = 0; n < 5; n++) await writeAndWait()
    const toldCount = store.toldCount
    for (let n = 0; n < 50; n++) await writeAndWait()
    // A machine that stands still for a second has all of them listed.
    expect(store.toldCount - toldCount).toBeLessThan(25)
    await expectSameBytes(source.primary, replica)
    const { follow } = await replica.stats()
    expect(follow).toMatchObject({ state: 'following', lagFrames: 0, delayMs: expect.any(Number) })
  })

  it('is told where they are while somebody listens to traces', async () => {
    const { source, store, replica, writeAndWait } = await startFollowing()
    await writeAndWait()
    const traces: { startFrameNo: number; frameCount: number }[] = []
    const channel = tracingChannel<object>('mylibsql.replicate')
    const subscribers = { start: (trace: object) => void traces.push(trace as (typeof traces)[number]) }
    channel.subscribe(subscribers as Parameters<typeof channel.subscribe>[0])
    const { toldCount } = store
    const { lastFrameNo } = replica
    for (let n = 0; n < 10; n++) await writeAndWait()
    channel.unsubscribe(subscribers as Parameters<typeof channel.unsubscribe>[0])
    // The one that its thread was waiting for is traced when it is applied.
    expect(store.toldCount - toldCount).toBeGreaterThanOrEqual(9)
    expect(traces[0]!.startFrameNo).toBe(lastFrameNo! + 1)
    const frameCount = traces.reduce((sum, trace) => sum + trace.frameCount, 0)
    expect(frameCount).toBe(replica.lastFrameNo! - lastFrameNo!)
    for (let n = 0; n < 10; n++) await writeAndWait()
    await expectSameBytes(source.primary, replica)
  })

  it('has the whole store looked at for a log of an older epoch, and goes on by itself behind it', async () => {
    const { source, store, replica, writeAndWait } = await startFollowing()
    await writeAndWait()
    const { primary } = source
    await primary.run("INSERT INTO numbers VALUES (-1, 'late')")
    await source.save()
    const late = source.logs.at(-1)!
    await store.claimEpoch('newer')
    // It is stored where the next log belongs, by a primary that does not know that it was fenced: nobody acknowledges it,
    // and whoever lists takes it for a part of the history, as nothing else begins there.
    const { toldCount } = store
    await store.append(late, 1)
    await replica.waitFor(late.lastFrameNo)
    expect(store.toldCount).toBeGreaterThan(toldCount)
    for (let n = 0; n < 5; n++) await writeAndWait()
    await expectSameBytes(primary, replica)
  })
})
