// Segments of a FileStore: many small logs in one file, which a primary adds to by itself. The rules are in
// src/protocol/segment-format.ts and src/worker/segment-end.ts; segment-model.test.ts visits every state of them.
import { mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { constants } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { FileStore, Log, Primary, prune, Replica, restore, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { tailPauseMs } from '../../src/protocol/limits.js'
import { column } from '../support/archived.js'
import { runProgram } from '../support/child.js'
import { closedAfterTest, expectSameBytes, integrityCheck } from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { faultyEnvironment } from '../support/faults.js'
import { temporaryFolder } from '../support/folder.js'
import { withSeed } from '../support/random.js'
import { addTo, starts, storeWithSegment } from '../support/segments.js'
import { followed } from './contract.js'

const framesOf = async (log: Log) => Buffer.from((await log.bytes()).subarray(112))
const logFiles = (dir: string) => readdirSync(join(dir, 'logs')).sort()
const nameOf = (startFrameNo: number) => `${String(startFrameNo).padStart(16, '0')}.log`

/** Every log of a store, read: what comes of each. */
async function readAll(store: FileStore): Promise<(number | string)[]> {
  const outcomes: (number | string)[] = []
  for (const stored of await store.logs()) {
    try {
      const log = await store.readLog(stored)
      outcomes.push(log.nextFrameNo)
      await log.close()
    } catch (error) {
      outcomes.push((error as { code: string }).code)
    }
  }
  return outcomes
}

describe('a segment', () => {
  it('is begun by logs that go on coming, and holds them one behind the other', async () => {
    const { dir, store, logs, epoch, reopen, tail } = await storeWithSegment(5)
    expect(logFiles(dir)).toEqual([0, 2, 4, 6, 8].map(nameOf))
    expect(basename(tail.path)).toBe(nameOf(8))
    for (const each of [store, reopen()]) {
      const listed = await each.logs()
      expect(starts(listed)).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16])
      for (const [index, stored] of listed.entries()) {
        expect(stored.isOpen).toBe(index < 4 ? undefined : true)
        const log = await each.readLog(stored)
        expect(log).toMatchObject({ epoch, endChecksum: logs[index]!.endChecksum })
        expect(log.createdAt).toEqual(logs[index]!.createdAt)
        expect(await framesOf(log)).toEqual(await framesOf(logs[index]!))
        await log.close()
      }
    }
  })

  it('is listed from a frame in its midst on, with the last log before', async () => {
    const { store } = await storeWithSegment(5)
    expect(starts(await store.logs({ from: 8 }))).toEqual([6, 8, 10, 12, 14, 16])
    expect(starts(await store.logs({ from: 12 }))).toEqual([10, 12, 14, 16])
    expect(starts(await store.logs({ from: 13 }))).toEqual([12, 14, 16])
    expect(starts(await store.logs({ from: 99 }))).toEqual([16])
  })

  it('is not begun for a caller who cannot add to it, under an epoch of somebody else, nor for compressed logs', async () => {
    const { logs } = await storeWithSegment(1, 8)
    const stores = [
      { store: new FileStore(temporaryFolder()), claims: true, takesTail: false },
      { store: new FileStore(temporaryFolder()), claims: false, takesTail: true },
      { store: new FileStore(temporaryFolder(), { compression: 'deflate' }), claims: true, takesTail: true },
    ]
    for (const { store, claims, takesTail } of stores) {
      const epoch = claims ? await store.claimEpoch('test') : 1
      for (const log of logs) expect(await store.append(log, epoch, { takesTail })).not.toHaveProperty('tail')
      expect((await store.logs()).every(({ id }) => id.endsWith('.log'))).toBe(true)
      await store.close()
    }
  })

  it('takes logs as long as there is room, and begins each in a block of its own', async () => {
    const { writer, logs, tail, store } = await storeWithSegment(1, 200)
    const rest = logs.slice(5)
    let count = 0
    while (writer.takes(rest[count]!.file.header)) addTo(writer, rest[count++]!)
    expect(count).toBe(tail.fileBytes / 4096 - 1)
    expect(statSync(tail.path).size).toBe(tail.fileBytes)
    const listed = (await store.logs()).slice(4)
    expect(listed.map(({ id }) => id)).toEqual(
      Array.from({ length: count + 1 }, (_, at) => `${tail.path}@${at * 4096}`),
    )
  })

  it('is opened by Log.openAll; Log.open says so', async () => {
    const { tail, logs } = await storeWithSegment(3)
    const error = await expectCode(Log.open(tail.path), 'ERR_NOT_A_LOG')
    expect(error.message).toContain('3 logs, one behind the other')
    expect(error.message).toContain('Log.openAll')
    const opened = await Log.openAll(tail.path)
    expect(opened.map(({ startFrameNo }) => startFrameNo)).toEqual([8, 10, 12])
    expect(await framesOf(opened[1]!)).toEqual(await framesOf(logs[5]!))
    const alone = await Log.openAll(join(dirname(tail.path), nameOf(2)))
    expect(alone.map(({ startFrameNo }) => startFrameNo)).toEqual([2])
    for (const log of [...opened, ...alone]) await log.close()
  })

  it('is followed from any frame on, also by a later start and in other files', async () => {
    const { store, writer, logs, epoch, reopen } = await storeWithSegment(2, 4)
    const [fromStart, fromMidst, fromEnd] = [0, 10, 12].map((from) => followed(reopen(), from, 8 - from / 2))
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (const log of logs.slice(6, 7)) addTo(writer, log)
    await store.append(logs[7]!, epoch)
    expect(starts(await fromStart!)).toEqual([0, 2, 4, 6, 8, 10, 12, 14])
    expect(starts(await fromMidst!)).toEqual([10, 12, 14])
    expect(starts(await fromEnd!)).toEqual([12, 14])
  })
})

describe('the end of a segment', () => {
  it('is said by a newer primary, and what comes to lie behind it does not count', async () => {
    const { store, writer, logs, dir, tail, reopen } = await storeWithSegment(3)
    const newer = reopen()
    expect(await newer.claimEpoch('newer')).toBe(2)
    expect(readdirSync(join(dir, 'ends'))).toEqual(['0000000000000008'])
    // The primary that was taken over, paused until now: it sees that it is not to acknowledge it.
    expect(addTo(writer, logs[7]!)).toMatchObject({ newestEpoch: 2 })
    for (const each of [store, newer]) expect(starts(await each.logs())).toEqual([0, 2, 4, 6, 8, 10, 12])
    const late = { ...(await store.logs()).at(-1)!, startFrameNo: 14, id: `${tail.path}@${3 * 4096}` }
    await expectCode(newer.readLog(late), 'ERR_NOT_FOUND')
    // Its place is free.
    await newer.append(logs[7]!, 2)
    expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 10, 12, 14])
    expect((await newer.readLog((await newer.logs()).at(-1)!)).epoch).toBe(2)
  })

  it('is said by a reader too, when who has claimed the newer epoch has come no further', async () => {
    const { dir, writer, logs, reopen } = await storeWithSegment(3)
    writeFileSync(join(dir, 'epochs', '0000000000000002'), '{}')
    const [left, right] = [reopen(), reopen()]
    const lists = await Promise.all([left.logs(), right.logs({ from: 10 }), left.logs()])
    expect(starts(lists[0])).toEqual([0, 2, 4, 6, 8, 10, 12])
    expect(starts(lists[1])).toEqual([8, 10, 12])
    addTo(writer, logs[7]!)
    expect(starts(await reopen().logs())).toEqual([0, 2, 4, 6, 8, 10, 12])
  })

  it('is not said of a segment of a newer primary', async () => {
    const { dir, writer, logs, store } = await storeWithSegment(3)
    // Claimed before, paused until now.
    const older = new FileStore(dir)
    writeFileSync(join(dir, 'epochs', '0000000000000000'), '{}')
    expect(await older.claimEpoch('older')).toBe(2)
    await older.close()
    expect(addTo(writer, logs[7]!).newestEpoch).toBe(2)
    expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 10, 12])
  })

  it('is said by the primary itself when it adds nothing more: the file is no larger than it has to be', async () => {
    const { store, tail, dir } = await storeWithSegment(3)
    await store.endTail(tail)
    expect(statSync(tail.path).size).toBe(3 * 4096)
    expect((await store.logs()).some(({ isOpen }) => isOpen)).toBe(false)
    await store.endTail(tail)
    expect(readdirSync(join(dir, 'ends'))).toHaveLength(1)
  })

  it('lies before a log that was not written wholly', async () => {
    const { tail, writer, logs, reopen, store } = await storeWithSegment(3)
    addTo(writer, logs[7]!)
    const bytes = readFileSync(tail.path)
    const lastAt = 3 * 4096
    for (const spoil of [
      () => bytes.fill(0, lastAt + 600, lastAt + 700),
      () => bytes.fill(0, lastAt + 1000, lastAt + 4096),
      () => bytes.fill(0, lastAt, lastAt + 512),
    ]) {
      spoil()
      writeFileSync(tail.path, bytes)
      expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 10, 12])
    }
    await reopen().claimEpoch('newer')
    expect(await readAll(store)).toEqual([2, 4, 6, 8, 10, 12, 14])
  })

  it('that cannot be read is an error that names it', async () => {
    const { store, tail, dir } = await storeWithSegment(3)
    await store.endTail(tail)
    const path = join(dir, 'ends', '0000000000000008')
    writeFileSync(path, 'no')
    expect((await expectCode(store.logs(), 'ERR_CORRUPT')).message).toContain(path)
  })

  it('goes when there is a newer file', async () => {
    const { store, tail, logs, epoch, dir, reopen } = await storeWithSegment(3)
    await store.endTail(tail)
    await store.append(logs[7]!, epoch)
    await reopen().claimEpoch('newer')
    expect(readdirSync(join(dir, 'ends'))).toEqual([])
    expect(await readAll(store)).toEqual([2, 4, 6, 8, 10, 12, 14, 16])
  })
})

describe('damage in a segment', () => {
  const whole = [2, 4, 6, 8, 10, 12, 14]

  it('is found in whichever byte, and never taken for something else', () =>
    withSeed('flipped bits', async (random) => {
      const { store, tail } = await storeWithSegment(3)
      await store.endTail(tail)
      const bytes = readFileSync(tail.path)
      const logBytes = 112 + 2 * (24 + 512)
      for (let round = 0; round < 60; round++) {
        const [record, offset] = [random.integer(0, 2), random.integer(0, 4095)]
        const at = record * 4096 + offset
        const flipped = Buffer.from(bytes)
        flipped[at]! ^= 1 << random.integer(0, 7)
        writeFileSync(tail.path, flipped)
        const read = await readAll(store)
        const context = `bit in byte ${at}: ${read}`
        const isRoom = offset >= logBytes && offset < 4088
        if (isRoom) expect(read, context).toEqual(whole)
        else expect(read.filter((outcome) => typeof outcome === 'string').length, context).toBeGreaterThan(0)
        // What can be read is what was there.
        const found = read.filter((outcome) => typeof outcome === 'number')
        expect(whole, context).toEqual(expect.arrayContaining(found))
      }
    }))

  it('is found where the file is cut off', async () => {
    const { store, tail } = await storeWithSegment(3)
    await store.endTail(tail)
    for (const size of [3 * 4096 - 1, 2 * 4096 + 1, 2 * 4096, 4096 + 100, 4096, 100, 0]) {
      truncateSync(tail.path, size)
      const read = await readAll(store)
      expect(read.slice(0, 4)).toEqual(whole.slice(0, 4))
      expect(read.slice(4).filter((outcome) => typeof outcome === 'string').length, `${size}: ${read}`).toBe(
        1,
      )
    }
  })

  it('in the midst of one that is being added to is told, with the logs behind it', async () => {
    const { store, tail } = await storeWithSegment(4)
    const bytes = readFileSync(tail.path)
    bytes.fill(0, 4096, 4096 + 200)
    writeFileSync(tail.path, bytes)
    const listed = await store.logs()
    expect(starts(listed)).toEqual([0, 2, 4, 6, 8, 10, 12, 14])
    const error = await rejection(store.readLog(listed[5]!))
    expect(error.code).toMatch(/^ERR_(NOT_A_LOG|CORRUPT)$/)
    expect(error.message).toContain(`${tail.path}@4096`)
    expect((await store.readLog(listed[6]!)).startFrameNo).toBe(12)
  })
})

describe('a log of a segment', () => {
  async function merged(store: FileStore, from: number, to: number): Promise<Log> {
    const logs: Log[] = []
    for (const stored of await store.logs()) {
      if (stored.startFrameNo >= from && stored.startFrameNo < to) logs.push(await store.readLog(stored))
    }
    return Log.merge(logs)
  }

  it('gives way to another one: it gets a file of its own first', async () => {
    const { store, tail, dir, reopen } = await storeWithSegment(5)
    await store.endTail(tail)
    const before = await store.logs()
    const log = await merged(store, 10, 14)
    const replaced = await store.replaceLog(log)
    expect(logFiles(dir)).toEqual([0, 2, 4, 6, 8, 10, 12].map(nameOf))
    expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16])
    expect((await reopen().readLog(replaced)).isMerged).toBe(true)
    // What was listed before is found where it is now, and what was replaced is not.
    for (const stored of before.filter(({ startFrameNo }) => startFrameNo !== 10))
      expect((await store.readLog(stored)).startFrameNo).toBe(stored.startFrameNo)
    await expectCode(store.readLog(before[5]!), 'ERR_NOT_FOUND')
    await store.close()
    expect(await readdir(join(dir, 'tmp'))).toEqual([])
  })

  it('is removed without those before and behind it', async () => {
    const { store, tail, dir } = await storeWithSegment(6)
    await store.endTail(tail)
    const listed = await store.logs()
    await store.remove([listed[5]!, listed[8]!])
    expect(starts(await store.logs())).toEqual([0, 2, 4, 6, 8, 12, 14, 18])
    expect(await readAll(store)).toEqual([2, 4, 6, 8, 10, 14, 16, 20])
    await store.remove(listed.slice(4))
    expect(logFiles(dir)).toEqual([0, 2, 4, 6].map(nameOf))
  })

  it('stays while its segment may be added to', async () => {
    const { store, writer, logs } = await storeWithSegment(3)
    const listed = await store.logs()
    const log = await merged(store, 8, 12)
    const error = await expectCode(store.replaceLog(log), 'ERR_LOCKED')
    expect(error.message).toContain('still adds logs to that file')
    await store.remove(listed)
    expect(starts(await store.logs())).toEqual([8, 10, 12])
    expect(addTo(writer, logs[7]!)).toMatchObject({ newestEpoch: 1 })
    expect(starts(await store.logs())).toEqual([8, 10, 12, 14])
  })

  it('is where it was when the split of its file was cut off', async () => {
    const { store, tail, dir } = await storeWithSegment(4)
    await store.endTail(tail)
    const whole = readFileSync(tail.path)
    // The new files are there, and the old one too.
    for (const [at, end] of [
      [2, 4],
      [1, 2],
    ] as const) {
      writeFileSync(join(dir, 'logs', nameOf(8 + 2 * at)), whole.subarray(at * 4096, end * 4096))
      expect(await readAll(store)).toEqual([2, 4, 6, 8, 10, 12, 14, 16])
    }
    await store.remove((await store.logs()).slice(5, 6))
    expect(await readAll(store)).toEqual([2, 4, 6, 8, 10, 14, 16])
  })
})

describe('a primary', () => {
  const table = 'CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)'
  const insert = 'INSERT INTO t (text) VALUES (?)'

  async function openWritten(count: number) {
    const dir = temporaryFolder()
    const store = closedAfterTest(new FileStore(dir))
    await store.putSnapshot(await Snapshot.blank())
    const primary = closedAfterTest(await Primary.open({ store, checkpoint: { frames: 1 } }))
    await primary.run(table)
    const times: Date[] = []
    for (let index = 0; index < count; index++) {
      const ack = await primary.run(insert, [`row ${index}`])
      await ack.durable()
      times.push(new Date())
      if (index % 10 === 5) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return { store, dir, primary, times }
  }

  it('stores small logs in few files; each moment of them can be restored', async () => {
    const { store, dir, primary, times } = await openWritten(40)
    const logs = await store.logs()
    expect(logs.length).toBeGreaterThan(35)
    // Some more of them after each pause of a second.
    expect(logFiles(dir).length).toBeLessThan(20)
    const folder = temporaryFolder()
    const rowsIn = async (path: string) => {
      integrityCheck(path)
      const replica = closedAfterTest(await Replica.open(await Snapshot.fromDatabase(path)))
      return column(replica, 'SELECT count(*) FROM t')
    }
    await restore(store, join(folder, 'at.db'), { at: times[25]! })
    expect(await rowsIn(join(folder, 'at.db'))).toEqual([26])
    const { startFrameNo } = logs[20]!
    await restore(store, join(folder, 'frame.db'), { at: startFrameNo - 1 })
    expect(await rowsIn(join(folder, 'frame.db'))).toEqual([19])
    await primary.close()
    expect((await store.logs()).some(({ isOpen }) => isOpen)).toBe(false)
    const again = closedAfterTest(await Primary.open({ store }))
    expect(await column(again, 'SELECT count(*) FROM t')).toEqual([40])
  })

  it('is followed while it adds to a segment, by replicas that come at any time', async () => {
    const { store, dir, primary } = await openWritten(20)
    const replicas = [closedAfterTest(await Replica.follow(new FileStore(dir)))]
    for (let index = 0; index < 30; index++) {
      const ack = await primary.run(insert, [`more ${index}`])
      await ack.durable()
      if (index === 10) replicas.push(closedAfterTest(await Replica.follow(store)))
    }
    for (const replica of replicas) {
      await replica.waitFor(primary.lastFrameNo!)
      await expectSameBytes(replica, primary)
      expect((await replica.stats()).follow).toMatchObject({ failureCount: 0, snapshotCount: 0 })
    }
  })

  it('ends its segment when nothing comes any more, so that it can be pruned', async () => {
    const { store, dir, primary } = await openWritten(20)
    await expect
      .poll(async () => (await store.logs()).some(({ isOpen }) => isOpen), { timeout: 10_000 })
      .toBe(false)
    const snapshot = await primary.snapshot(join(temporaryFolder(), 'snapshot.db'))
    await store.putSnapshot(snapshot)
    await prune(store, { keepMs: 0, keepSnapshots: 1 })
    expect(await store.logs()).toHaveLength(1)
    expect(logFiles(dir)).toHaveLength(1)
    const ack = await primary.run(insert, ['after'])
    await ack.durable()
    await primary.close()
    const again = closedAfterTest(await Primary.open({ store }))
    expect(await column(again, 'SELECT count(*) FROM t')).toEqual([21])
  })

  it('begins another segment when one is full, and stores what is too large in a file of its own', async () => {
    const { store, dir, primary } = await openWritten(80)
    const segments = (await store.logs()).filter(({ id }) => id.endsWith('.log@0'))
    expect(segments.length).toBeGreaterThan(1)
    const ack = await primary.run('INSERT INTO t (text) VALUES (?)', [Buffer.alloc(2_000_000)])
    await ack.durable()
    expect((await store.logs()).at(-1)!.id).toMatch(/\.log$/)
    for (let index = 0; index < 10; index++) await (await primary.run(insert, ['after'])).durable()
    expect((await store.logs()).slice(-10).some(({ id }) => /\.log@\d+$/.test(id))).toBe(true)
    await primary.close()
    expect(await readdir(join(dir, 'tmp'))).toHaveLength(1)
    const again = closedAfterTest(await Primary.open({ store }))
    expect(await column(again, 'SELECT count(*) FROM t')).toEqual([91])
  })

  it('is for small logs: behind a larger one four of them come before the next segment, which is a small one again', async () => {
    const { store, primary } = await openWritten(80)
    /** Once more where a pause between two of them has ended a segment. */
    const idsOf = async (writes: readonly Uint8Array[]) => {
      for (;;) {
        let longestMs = 0
        for (const bytes of writes) {
          const startMs = performance.now()
          await (await primary.run('INSERT INTO t (text) VALUES (?)', [bytes])).durable()
          longestMs = Math.max(longestMs, performance.now() - startMs)
        }
        if (longestMs < tailPauseMs / 2) return (await store.logs()).slice(-writes.length).map(({ id }) => id)
      }
    }
    const small = (length: number) => Array.from({ length }, () => Buffer.alloc(10))
    // There would be room for the larger one.
    const all = await idsOf([...small(10), Buffer.alloc(140_000), ...small(6)])
    expect(all.at(9)).toMatch(/\.log@\d+$/)
    expect(all.at(10)).toMatch(/\.log$/)
    const ids = all.slice(11)
    for (const id of ids.slice(0, 3)) expect(id).toMatch(/\.log$/)
    expect(ids.at(3)).toMatch(/\.log@0$/)
    const path = ids.at(3)!.replace(/@0$/, '')
    expect(ids.at(4)).toMatch(/\.log@\d+$/)
    expect(ids.at(4)!.startsWith(`${path}@`)).toBe(true)
    expect(statSync(path).size).toBe(256 * 1024)
  })
})

describe('system calls that fail while a primary adds to a segment', () => {
  interface Report {
    readonly n: number
    readonly failed: readonly string[]
    readonly calls: readonly string[]
    readonly failureCount: number
    readonly written: number
    readonly rows: readonly number[]
    readonly integrity: string
  }

  // Small logs have room in the segment; of the large ones each second begins another.
  it.each([
    ['EIO', 1, 10],
    ['EIO', 1, 120_000],
    ['ENOSPC', 4, 10],
  ] as const)(
    '%s, %i in a row, %i bytes each: nothing that was acknowledged is lost',
    async (name, count, blobBytes) => {
      const folder = temporaryFolder()
      const stores = join(folder, 'stores')
      mkdirSync(stores)
      const reports = await runProgram<Report>('faulty-archive.mjs', {
        argument: { folder: stores, errno: constants.errno[name], count, blobBytes },
        env: faultyEnvironment(folder, stores),
      })
      for (const { rows, written, integrity, failed } of reports) {
        const context = failed.join(', ')
        expect(rows, context).toEqual(Array.from({ length: written }, (_, n) => n))
        expect(integrity, context).toBe('ok')
      }
      const calls = reports.flatMap(({ failed }) => failed)
      expect(calls.some((call) => /pwritev .*\/logs\//.test(call))).toBe(true)
      expect(calls.some((call) => /fdatasync .*\/logs\//.test(call))).toBe(true)
      // What fails in the segment is stored elsewhere, and counted.
      const inSegment = reports.filter(({ failed }) => /(pwritev|fdatasync) .*\/logs\//.test(failed[0] ?? ''))
      for (const { failureCount } of inSegment) expect(failureCount).toBeGreaterThan(0)
    },
  )
})
