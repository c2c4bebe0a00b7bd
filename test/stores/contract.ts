/** What every store promises (src/main/stores/store.ts), as one suite that runs for each of them. */
import { join } from 'node:path'
import { Log, Primary, Replica, Snapshot, type Store, type StoredLog, verify } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { buildV3, testFrames } from '../protocol/reference.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { describeReplacing } from './replacing.js'

/** One store for a test, and what happens to it from outside. */
export interface StoreUnderTest {
  readonly store: Store
  /** Another connection to the same store, as another process has it. */
  reopen(): Promise<Store>
  /** Writes other bytes in the place of an object, as damage or another program would. */
  overwrite(id: string, bytes: Uint8Array): Promise<void>
  /** The bytes of an object as they are stored. */
  bytesOf(id: string): Promise<Uint8Array>
}

const pageSize = 512

interface LogSpec {
  /** Default: 2. */
  readonly frameCount?: number
  readonly startChecksum?: bigint
  /** Other pages for another seed. */
  readonly seed?: number
}

export async function logAt(startFrameNo: number, spec: LogSpec = {}): Promise<Log> {
  const { frameCount = 2, startChecksum = 0n, seed = 1 } = spec
  const frames = testFrames(frameCount, pageSize, 2, seed)
  return Log.from(buildV3({ startFrameNo, pageSize, startChecksum, frames }))
}

/** Logs that follow on each other, from frame 0 on. */
export async function chain(logCount: number, startFrameNo = 0): Promise<Log[]> {
  const logs: Log[] = []
  for (let index = 0; index < logCount; index++) {
    const last = logs.at(-1)
    const startChecksum = last?.endChecksum ?? 0n
    logs.push(await logAt(last?.nextFrameNo ?? startFrameNo, { startChecksum, seed: index }))
  }
  return logs
}

const starts = (list: readonly StoredLog[]) => list.map(({ startFrameNo }) => startFrameNo)

/** The frames, without the header, where the epoch is. */
const framesIn = async (log: Log) => Buffer.from((await log.bytes()).subarray(112))

/** The first `count` logs that a follow sees, then it ends. */
export async function followed(store: Store, from: number, count: number): Promise<StoredLog[]> {
  const list: StoredLog[] = []
  const controller = new AbortController()
  for await (const stored of store.follow(from, { signal: controller.signal })) {
    list.push(stored)
    if (list.length === count) controller.abort()
  }
  return list
}

export function describeStore(name: string, openStore: () => Promise<StoreUnderTest>): void {
  const open = async (): Promise<StoreUnderTest> => {
    const opened = await openStore()
    onTestFinished(() => opened.store.close())
    return {
      ...opened,
      async reopen() {
        const store = await opened.reopen()
        onTestFinished(() => store.close())
        return store
      },
    }
  }

  describe(`${name}: epochs`, () => {
    it('counts from 1, and 0 is none', async () => {
      const { store, reopen } = await open()
      expect(await store.currentEpoch()).toBe(0)
      expect(await store.claimEpoch('one')).toBe(1)
      expect(await store.currentEpoch()).toBe(1)
      const other = await reopen()
      expect(await other.claimEpoch('two')).toBe(2)
      expect(await store.currentEpoch()).toBe(2)
    })

    it('gives each of many claimers at once another one, without gaps', async () => {
      const { store, reopen } = await open()
      const stores = [store, await reopen(), await reopen()]
      const claims = Array.from({ length: 30 }, (_, index) =>
        stores[index % 3]!.claimEpoch(`claimer ${index}`),
      )
      const epochs = await Promise.all(claims)
      expect([...epochs].sort((left, right) => left - right)).toEqual(
        Array.from({ length: 30 }, (_, n) => n + 1),
      )
      for (const each of stores) expect(await each.currentEpoch()).toBe(30)
    })
  })

  describe(`${name}: nothing there`, () => {
    it('is claimed by nobody who opens it, and says how a history is begun', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      for (const call of [() => Primary.open({ store }), () => Replica.follow(other)]) {
        const { message } = await expectCode(call(), 'ERR_NOT_FOUND')
        expect(message).toContain(store.url)
        expect(message).toContain('Primary.open({ store, create: true })')
      }
      expect(await other.currentEpoch()).toBe(0)
      await other.append(await logAt(0), 1)
      // Nor is what is left of a history taken for nothing.
      await expectCode(Primary.open({ store }), 'ERR_NOT_FOUND')
      await expectCode(Primary.open({ store, create: true }), 'ERR_NOT_FOUND')
      expect(await other.currentEpoch()).toBe(0)
    })

    it('is the beginning for a primary that is to create it', async () => {
      const { store, reopen } = await open()
      const primary = closedAfterTest(await Primary.open({ store, create: true }))
      const ack = await primary.run('CREATE TABLE t (a)')
      await ack.durable()
      const replica = closedAfterTest(await Replica.follow(await reopen()))
      await replica.waitFor(ack.frameNo)
      await expectSameBytes(primary, replica)
    })
  })

  describe(`${name}: logs`, () => {
    it('gives back what was appended, under its epoch', async () => {
      const { store, reopen } = await open()
      const [first, second] = await chain(2)
      await store.append(first!, 1)
      const stored = await store.append(second!, 7)
      expect(stored).toMatchObject({ startFrameNo: 2 })
      expect(Math.abs(Date.now() - stored.storedAt.getTime())).toBeLessThan(60_000)
      const other = await reopen()
      const list = await other.logs()
      expect(starts(list)).toEqual([0, 2])
      expect(stored).toMatchObject(list[1]!)
      const log = await other.readLog(list[1]!)
      expect(log).toMatchObject({ startFrameNo: 2, nextFrameNo: 4, epoch: 7, pageSize, version: 3 })
      expect([log.startChecksum, log.endChecksum]).toEqual([second!.startChecksum, second!.endChecksum])
      expect(log.createdAt).toEqual(second!.createdAt)
      expect(await framesIn(log)).toEqual(await framesIn(second!))
      await log.close()
    })

    it('keeps a log that is larger than what is held in memory', async () => {
      const { store } = await open()
      const made = await largeLog()
      const stored = await store.append(made, 3)
      const log = await store.readLog(stored)
      expect(log).toMatchObject({ epoch: 3, frameCount: made.frameCount, endChecksum: made.endChecksum })
      await log.verify()
      expect((await framesIn(log)).equals(await framesIn(made))).toBe(true)
      await log.close()
      // The one that was given is as it was.
      expect(made.epoch).toBe(0)
      await made.verify()
    })

    it('lists logs from a frame on, with the last one that begins before', async () => {
      const { store } = await open()
      expect(await store.logs()).toEqual([])
      for (const log of await chain(6)) await store.append(log, 1)
      expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 10])
      expect(starts(await store.logs({ from: 0 }))).toEqual([0, 2, 4, 6, 8, 10])
      expect(starts(await store.logs({ from: 6 }))).toEqual([4, 6, 8, 10])
      expect(starts(await store.logs({ from: 7 }))).toEqual([6, 8, 10])
      expect(starts(await store.logs({ from: 99 }))).toEqual([10])
    })

    it('is ordered by number, however many digits', async () => {
      const { store } = await open()
      for (const start of [1_000_000, 9, 100, 9_007_199_254_740_000])
        await store.append(await logAt(start), 1)
      expect(starts(await store.logs())).toEqual([9, 100, 1_000_000, 9_007_199_254_740_000])
    })

    it('recognises an append that is tried again', async () => {
      const { store, reopen } = await open()
      const log = await logAt(0)
      const { newestEpoch: _, ...stored } = await store.append(log, 4)
      expect(await store.append(log, 4)).toMatchObject(stored)
      expect(await (await reopen()).append(log, 4)).toMatchObject(stored)
      expect(starts(await store.logs())).toEqual([0])
    })

    it('refuses another log at the same frame, and keeps the first', async () => {
      const { store, reopen } = await open()
      const log = await logAt(40)
      const { newestEpoch: _, ...stored } = await store.append(log, 1)
      const other = await reopen()
      const others = [
        await logAt(40, { seed: 2 }),
        await logAt(40, { frameCount: 4 }),
        await logAt(40, { startChecksum: 5n }),
      ]
      for (const different of others) {
        const error = await expectCode(other.append(different, 1), 'ERR_FENCED')
        expect(error.message).toContain('40')
      }
      // The same frames of another primary.
      await expectCode(other.append(log, 2), 'ERR_FENCED')
      const kept = await store.readLog((await store.logs())[0]!)
      expect(kept).toMatchObject({ epoch: 1, endChecksum: log.endChecksum })
      expect(await store.logs()).toEqual([stored])
    })

    it('lets exactly one of two that append at the same frame win', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      for (let round = 0; round < 10; round++) {
        const logs = [await logAt(round * 2, { seed: 1 }), await logAt(round * 2, { seed: 2 })]
        const outcomes = await Promise.allSettled([store.append(logs[0]!, 1), other.append(logs[1]!, 2)])
        const winners = outcomes.flatMap((outcome, index) => (outcome.status === 'fulfilled' ? [index] : []))
        expect(winners).toHaveLength(1)
        const loser = outcomes.find((outcome) => outcome.status === 'rejected')
        expect(loser?.reason).toMatchObject({ code: 'ERR_FENCED' })
        const log = await store.readLog((await store.logs({ from: round * 2 })).at(-1)!)
        expect(log).toMatchObject({ epoch: winners[0]! + 1, endChecksum: logs[winners[0]!]!.endChecksum })
      }
    })

    it('refuses what is no log for a history', async () => {
      const { store } = await open()
      expect(await rejection(store.append(await Log.create(4), 1))).toBeInstanceOf(TypeError)
      expect(await store.logs()).toEqual([])
    })

    it('removes logs, and passes over what is not there', async () => {
      const { store, reopen } = await open()
      const stored: StoredLog[] = []
      for (const log of await chain(4)) stored.push(await store.append(log, 1))
      await store.remove(stored.slice(0, 2))
      await (await reopen()).remove(stored.slice(0, 3))
      expect(starts(await store.logs())).toEqual([6])
      await expectCode(store.readLog(stored[0]!), 'ERR_NOT_FOUND')
      await store.remove([])
    })

    it.each(['cut short', 'damaged', 'of another program', 'empty'])(
      'names a log that is %s',
      async (what) => {
        const { store, overwrite, bytesOf } = await open()
        const stored = await store.append(await logAt(0, { frameCount: 6 }), 1)
        const bytes = spoilt(await bytesOf(stored.id), what)
        await overwrite(stored.id, bytes)
        const [found] = await store.logs()
        const error = await rejection(store.readLog(found!))
        expect(error.code).toMatch(/^ERR_(NOT_A_LOG|CORRUPT)$/)
        expect(error.message).toContain(stored.id)
        // It stays for somebody to look at, and its place is not free.
        expect((await rejection(store.append(await logAt(0), 1))).code).toMatch(
          /^ERR_(NOT_A_LOG|CORRUPT|FENCED)$/,
        )
        expect(Buffer.from(await bytesOf(stored.id)).equals(bytes)).toBe(true)
      },
    )

    it('tells when a log is stored under the name of another frame', async () => {
      const { store, overwrite, bytesOf } = await open()
      const [first, second] = await chain(2)
      const storedFirst = await store.append(first!, 1)
      const storedSecond = await store.append(second!, 1)
      await overwrite(storedSecond.id, await bytesOf(storedFirst.id))
      const error = await expectCode(store.readLog((await store.logs())[1]!), 'ERR_CORRUPT')
      expect(error.message).toContain(storedSecond.id)
    })
  })

  describe(`${name}: following`, () => {
    it('sees logs made before and after, each once, in order', async () => {
      const { store, reopen } = await open()
      const logs = await chain(12)
      for (const log of logs.slice(0, 4)) await store.append(log, 1)
      const seen = followed(await reopen(), 0, 12)
      const seenLater = followed(await reopen(), 5, 9)
      for (const log of logs.slice(4)) {
        await store.append(log, 1)
        if (log.startFrameNo % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 30))
      }
      expect(starts(await seen)).toEqual(starts(await store.logs()))
      expect(starts(await seenLater)).toEqual([6, 8, 10, 12, 14, 16, 18, 20, 22])
      const log = await store.readLog((await seen)[11]!)
      expect(log.endChecksum).toBe(logs[11]!.endChecksum)
    })

    it('waits in an empty store, and passes over holes and what was removed', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      const seen: number[] = []
      const controller = new AbortController()
      const following = (async () => {
        for await (const { startFrameNo } of other.follow(0, { signal: controller.signal }))
          seen.push(startFrameNo)
      })()
      await new Promise((resolve) => setTimeout(resolve, 50))
      const stored = await store.append(await logAt(10), 1)
      await store.append(await logAt(50), 1)
      await expect.poll(() => seen).toEqual([10, 50])
      await store.remove([stored])
      await store.append(await logAt(200), 1)
      await expect.poll(() => seen).toEqual([10, 50, 200])
      controller.abort()
      await following
    })

    it('follows one that is slower than the logs come', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      const list: number[] = []
      const controller = new AbortController()
      const following = (async () => {
        for await (const { startFrameNo } of other.follow(0, { signal: controller.signal })) {
          list.push(startFrameNo)
          await new Promise((resolve) => setTimeout(resolve, 10))
          if (list.length === 20) controller.abort()
        }
      })()
      const logs = await chain(20)
      for (const log of logs) await store.append(log, 1)
      await following
      expect(list).toEqual(logs.map(({ startFrameNo }) => startFrameNo))
    })

    it('ends at once when the signal aborts, and when the store closes', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      const controller = new AbortController()
      const ended = [
        followed(store, 0, 1),
        (async () => {
          for await (const _ of other.follow(0, { signal: controller.signal }));
        })(),
      ]
      await new Promise((resolve) => setTimeout(resolve, 30))
      const startMs = performance.now()
      controller.abort()
      await ended[1]
      await store.close()
      await ended[0]
      expect(performance.now() - startMs).toBeLessThan(2000)
      for await (const _ of other.follow(0, { signal: AbortSignal.abort() }))
        expect.fail('it was aborted before')
    })
  })

  describeReplacing(name, open)

  describe(`${name}: snapshots`, () => {
    it('keeps snapshots by frame, the blank one first', async () => {
      const { store, reopen } = await open()
      const { blank, snapshots } = await history()
      expect(await store.snapshots()).toEqual([])
      for (const snapshot of [snapshots[1]!, blank, snapshots[0]!]) await store.putSnapshot(snapshot)
      const list = await (await reopen()).snapshots()
      const frameNos = [undefined, snapshots[0]!.lastFrameNo, snapshots[1]!.lastFrameNo]
      expect(list.map(({ lastFrameNo }) => lastFrameNo)).toEqual(frameNos)
      let byteCount = 0
      const read = await store.readSnapshot(list[2]!, {
        onProgress: (count) => {
          byteCount = count
        },
      })
      expect(byteCount).toBe(list[2]!.byteLength)
      expect(read).toMatchObject({ lastFrameNo: snapshots[1]!.lastFrameNo, checksum: snapshots[1]!.checksum })
      const [left, right] = [await Primary.open(read), await Primary.open(snapshots[1]!)]
      await expectSameBytes(left, right)
      await Promise.all([left.close(), right.close()])
      await read.close()
    })

    it('puts one in the place of another one of the same frame', async () => {
      const { store } = await open()
      const { blank, snapshots } = await history()
      await store.putSnapshot(snapshots[0]!)
      await store.putSnapshot(snapshots[0]!)
      await store.putSnapshot(blank)
      await store.putSnapshot(await Snapshot.blank())
      expect(await store.snapshots()).toHaveLength(2)
    })

    it('removes snapshots', async () => {
      const { store } = await open()
      const { blank, snapshots } = await history()
      for (const snapshot of [blank, ...snapshots]) await store.putSnapshot(snapshot)
      const list = await store.snapshots()
      await store.remove([list[0]!, list[1]!])
      await store.remove([list[0]!])
      expect(await store.snapshots()).toEqual([list[2]])
      await expectCode(store.readSnapshot(list[1]!), 'ERR_NOT_FOUND')
    })

    it.each(['cut short', 'damaged', 'of another program', 'empty'])(
      'names a snapshot that is %s',
      async (what) => {
        const { store, overwrite, bytesOf } = await open()
        const { snapshots } = await history()
        const { id } = await store.putSnapshot(snapshots[0]!)
        await overwrite(id, spoilt(await bytesOf(id), what))
        const [found] = await store.snapshots()
        const error = await rejection(store.readSnapshot(found!))
        expect(error.code).toMatch(/^ERR_(NOT_A_SNAPSHOT|CORRUPT)$/)
        expect(error.message).toContain(id)
      },
    )
  })

  describe(`${name}: verify`, () => {
    it('finds a whole history whole, and names the object that was damaged, and the one that is missing', async () => {
      const { store, bytesOf, overwrite } = await open()
      await store.putSnapshot(await Snapshot.blank({ pageSize }))
      await store.claimEpoch('test')
      for (const log of await chain(4)) await store.append(log, 1)
      const whole = { snapshotCount: 1, spans: [{ from: undefined, to: 7 }], problems: [] }
      expect(await verify(store)).toMatchObject({ ...whole, logCount: 4 })
      const third = (await store.logs())[2]!
      const bytes = await bytesOf(third.id)
      const damaged = bytes.slice()
      damaged[damaged.length - 1]! ^= 1
      await overwrite(third.id, damaged)
      const found = await verify(store)
      expect(found.spans).toEqual([{ from: undefined, to: 3 }])
      expect(found.problems.map(({ code }) => code)).toEqual(['ERR_CORRUPT'])
      const { id } = (await store.logs())[2]!
      expect(found.problems[0]!.message).toContain(`${id}: `)
      await store.remove([(await store.logs())[2]!])
      expect((await verify(store)).problems.map(({ code }) => code)).toEqual(['ERR_LOG_GAP'])
    })
  })

  describe(`${name}: calls`, () => {
    it('gives up when the signal says so', async () => {
      const { store } = await open()
      const reason = new Error('enough')
      const limits = { signal: AbortSignal.abort(reason) }
      const log = await logAt(0)
      const calls = [
        () => store.currentEpoch(limits),
        () => store.claimEpoch('me', limits),
        () => store.append(log, 1, limits),
        () => store.logs(limits),
        () => store.snapshots(limits),
        () => store.remove([], limits),
      ]
      for (const call of calls) expect(await rejection(call())).toBe(reason)
      expect(await store.currentEpoch()).toBe(0)
      expect(await store.logs()).toEqual([])
      const controller = new AbortController()
      const call = store.append(log, 1, { signal: controller.signal })
      controller.abort(reason)
      await call.catch((error) => expect(error).toBe(reason))
      // Wholly or not at all, and a second attempt recognises the first.
      const stored = await store.append(log, 1)
      await (await store.readLog(stored)).close()
    })

    it('refuses everything when it is closed', async () => {
      const { store } = await open()
      const stored = await store.append(await logAt(0), 1)
      await store.close()
      await store.close()
      const log = await logAt(2)
      const calls = [
        () => store.currentEpoch(),
        () => store.claimEpoch('me'),
        () => store.append(log, 1),
        () => store.logs(),
        () => store.readLog(stored),
      ]
      for (const call of calls) await expectCode(call(), 'ERR_CLOSED')
      await expectCode(
        store.follow(0, { signal: new AbortController().signal })[Symbol.asyncIterator]().next(),
        'ERR_CLOSED',
      )
    })

    it('refuses bad arguments', async () => {
      const { store } = await open()
      const log = await logAt(0)
      const calls = [
        () => store.append({} as Log, 1),
        () => store.append(log, 0),
        () => store.append(log, 1.5),
        () => store.claimEpoch(7 as never),
        () => store.logs({ from: -1 }),
        () => store.putSnapshot(log as never),
      ]
      for (const call of calls) expect(await rejection(call())).toBeInstanceOf(TypeError)
      expect(await store.logs()).toEqual([])
    })
  })
}

/** A log of more than 1 MiB, which is in a file. */
async function largeLog(): Promise<Log> {
  const primary = await Primary.open(await Snapshot.blank())
  let made: Log | undefined
  await primary.batch([
    { sql: 'CREATE TABLE blobs (bytes)' },
    {
      sql: 'INSERT INTO blobs SELECT randomblob(100000) FROM json_each(?)',
      params: [JSON.stringify(Array(15).fill(0))],
    },
  ])
  await primary.checkpoint((log) => {
    made = log
  })
  await primary.close()
  return made!
}

/** A database at its beginning and at two later frames. */
async function history(): Promise<{ blank: Snapshot; snapshots: Snapshot[] }> {
  const folder = temporaryFolder()
  const blank = await Snapshot.blank()
  const primary = await Primary.open(blank)
  const snapshots: Snapshot[] = []
  for (const index of [1, 2]) {
    await primary.run(`CREATE TABLE t${index} AS SELECT ${index} AS n, randomblob(5000) AS bytes`)
    snapshots.push(await primary.snapshot(join(folder, `${index}.db`)))
  }
  await primary.close()
  return { blank, snapshots }
}

function spoilt(bytes: Uint8Array, what: string): Buffer {
  const copy = Buffer.from(bytes)
  if (what === 'cut short') return copy.subarray(0, copy.length - 100)
  if (what === 'of another program') return Buffer.from('%PDF-1.7 of somebody else\n'.repeat(100))
  if (what === 'empty') return Buffer.alloc(0)
  if (what === 'damaged') copy[Math.floor(copy.length / 2)]! ^= 0x40
  return copy
}
