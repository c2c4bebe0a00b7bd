import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Log, MylibsqlError, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectReplicated, expectSameBytes, openPrimary } from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
/** Writes some pages more than the small logs that are kept in memory. */
const insertMuch = (primary: Primary) =>
  primary.run(
    "WITH RECURSIVE c(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM c LIMIT 600) INSERT INTO numbers SELECT n, printf('%04000d', n) FROM c",
  )

describe('nothing new', () => {
  it('is undefined, and saveLog is not called', async () => {
    const { primary, save } = await openPrimary()
    const never = () => expect.fail('saveLog was called')
    expect(await primary.checkpoint(never)).toBeUndefined()
    await primary.run('SELECT 1')
    expect(await primary.checkpoint(never)).toBeUndefined()
    await primary.run(numbers)
    await save()
    await primary.run('DELETE FROM numbers WHERE n = 9')
    expect(await primary.checkpoint(never)).toBeUndefined()
  })
})

describe('the log', () => {
  it('holds all frames since the last checkpoint, and its last frame is what checkpoint returns', async () => {
    const source = await openPrimary(numbers)
    const { primary, logs, save } = source
    for (const n of [1, 2, 3]) {
      const ack = await insert(primary, n)
      expect(await save()).toBe(ack.frameNo)
      expect(logs.at(-1)).toMatchObject({ lastFrameNo: ack.frameNo, version: 3, pageSize: 4096 })
      expect(primary.savedFrameNo).toBe(ack.frameNo)
    }
    await insertMuch(primary)
    await save()
    let [nextFrameNo, checksum] = [0, 0n]
    for (const log of logs) {
      expect([log.startFrameNo, log.startChecksum]).toEqual([nextFrameNo, checksum])
      await log.verify()
      nextFrameNo = log.nextFrameNo
      checksum = log.endChecksum
    }
    await expectReplicated(source)
  })

  it('holds what was asked for before, also when nobody waited for it', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    const asked = Array.from({ length: 20 }, (_, n) => insert(primary, n))
    const savedFrameNo = await save()
    const acks = await Promise.all(asked)
    expect(savedFrameNo).toBe(acks.at(-1)!.frameNo)
    expect(acks.every((ack) => ack.isDurable)).toBe(true)
    await expectReplicated(source)
  })

  it('ends before a transaction that is open', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    const before = await insert(primary, 1)
    const ack = await primary.transaction(async (connection) => {
      await connection.run('INSERT INTO numbers (n) VALUES (2)')
      expect(await save()).toBe(before.frameNo)
      await connection.run('INSERT INTO numbers (n) VALUES (3)')
      expect(await save()).toBeUndefined()
    })
    expect([before.isDurable, ack.isDurable]).toEqual([true, false])
    await expectReplicated(source)
  })

  it.each([
    ['small', insert],
    ['large', insertMuch],
  ])('stays readable after saveLog, and after the primary is closed (%s)', async (_name, write) => {
    const { primary, logs, save } = await openPrimary(numbers)
    await write(primary, 1)
    await save()
    const snapshot = await primary.snapshot(join(temporaryFolder(), 'snapshot.db'))
    await primary.close()
    const log = logs.at(-1)!
    await log.verify()
    expect((await log.bytes()).byteLength).toBe(log.byteLength)
    const replica = closedAfterTest(await Replica.open(await Snapshot.blank(), logs))
    const original = closedAfterTest(await Replica.open(snapshot))
    await expectSameBytes(replica, original)
    for (const each of logs) await each.close()
    await expectCode(log.bytes(), 'ERR_CLOSED')
  })

  it('is saved to a file, and opens again', async () => {
    const folder = temporaryFolder()
    const { primary, blank } = await openPrimary()
    await primary.run(numbers)
    await primary.checkpoint((log) => log.copyTo(join(folder, `${log.startFrameNo}.log`)))
    await insertMuch(primary)
    await primary.checkpoint((log) => log.copyTo(join(folder, `${log.startFrameNo}.log`)))
    const first = await Log.open(join(folder, '0.log'))
    const second = await Log.open(join(folder, `${first.nextFrameNo}.log`))
    const again = closedAfterTest(await Primary.open(blank, [first, second]))
    expect(again.lastFrameNo).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, again)
  })
})

it('writers go on while saveLog runs', async () => {
  const source = await openPrimary(numbers)
  const { primary, logs } = source
  await insert(primary, 1)
  await primary.checkpoint(async (log) => {
    logs.push(log)
    await insert(primary, 2)
    await primary.transaction((connection) => connection.run('INSERT INTO numbers (n) VALUES (3)'))
    expect(await primary.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 3 })
    expect(log.nextFrameNo).toBeLessThanOrEqual(primary.lastFrameNo!)
  })
  await expectReplicated(source)
})

it('calls are served one after the other, and logs come in order', async () => {
  const source = await openPrimary(numbers)
  const { primary, logs } = source
  let running = 0
  const results: Promise<number | undefined>[] = []
  for (let n = 1; n <= 5; n++) {
    const write = insert(primary, n)
    results.push(
      primary.checkpoint(async (log) => {
        running += 1
        expect(running).toBe(1)
        logs.push(log)
        // Longer for the ones that come first.
        for (let turn = 0; turn < 10 - n; turn++) await insert(primary, n * 100 + turn)
        running -= 1
      }),
    )
    await write
  }
  const saved = (await Promise.all(results)).filter((frameNo) => frameNo !== undefined)
  expect(saved).toEqual([...saved].sort((a, b) => a - b))
  expect(new Set(saved).size).toBe(saved.length)
  await expectReplicated(source)
})

it('a log file goes when its log is closed after saveLog, and when it was closed in it', async () => {
  const { primary } = await openPrimary(numbers)
  const paths: string[] = []
  const pathOf = (log: Log) => (log.file.location as { path: string }).path
  await insertMuch(primary)
  let kept: Log | undefined
  await primary.checkpoint((log) => {
    paths.push(pathOf(log))
    kept = log
  })
  await primary.run('UPDATE numbers SET text = text || 1')
  await primary.checkpoint(async (log) => {
    paths.push(pathOf(log))
    await log.close()
  })
  await expect.poll(() => paths.map(existsSync)).toEqual([true, false])
  await kept!.close()
  expect(paths.map(existsSync)).toEqual([false, false])
})

describe('re-entrant', () => {
  it('in its own saveLog is ERR_REENTRANT', async () => {
    const source = await openPrimary(numbers)
    const { primary, logs } = source
    await insert(primary, 1)
    await primary.checkpoint(async (log) => {
      logs.push(log)
      await insert(primary, 2)
      await expectCode(
        primary.checkpoint(() => {}),
        'ERR_REENTRANT',
      )
      // Also by way of others.
      const nested = new Promise((resolve) => setTimeout(() => resolve(primary.checkpoint(() => {})), 0))
      await expectCode(nested, 'ERR_REENTRANT')
    })
    await expectReplicated(source)
  })

  it('is not the call of another primary, nor one after saveLog', async () => {
    const [source, other] = [await openPrimary(numbers), await openPrimary(numbers)]
    await insert(source.primary, 1)
    let later: Promise<unknown> | undefined
    const over = deferred()
    await source.primary.checkpoint(async (log) => {
      source.logs.push(log)
      await insert(other.primary, 1)
      await other.save()
      later = over.promise.then(() => source.primary.checkpoint(() => {}))
    })
    over.resolve()
    expect(await later).toBeUndefined()
    await expectReplicated(source)
    await expectReplicated(other)
  })

  it('inside withConnection is allowed: it saves what is committed', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    await primary.withConnection(async (connection) => {
      await connection.run('INSERT INTO numbers (n) VALUES (1)')
      expect(await save()).toBe(primary.savedFrameNo)
    })
    expect(source.logs).toHaveLength(2)
    await expectReplicated(source)
  })
})

it('after ackReplicated still hands over every frame', async () => {
  const source = await openPrimary(numbers)
  const { primary, save } = source
  const frames = primary.captureFrames()
  const ack = await insert(primary, 1)
  frames.ackReplicated(frames.tryNext()!.nextFrameNo - 1)
  expect(ack.isDurable).toBe(true)
  expect(await save()).toBe(ack.frameNo)
  await expectReplicated(source)
})

it('what saveLog is rejected with may be anything', async () => {
  const { primary } = await openPrimary(numbers)
  await insert(primary, 1)
  const error = new MylibsqlError('ERR_IO', 'mine')
  expect(await rejection(primary.checkpoint(() => Promise.reject(error)))).toBe(error)
  await expect(primary.checkpoint(() => Promise.reject('text'))).rejects.toBe('text')
  await expect(primary.checkpoint(() => Promise.reject(undefined))).rejects.toBe(undefined)
})
