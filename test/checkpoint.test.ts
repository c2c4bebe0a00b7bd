import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Log, MylibsqlError, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectReplicated, expectSameBytes, openPrimary } from './support/database.js'
import { deferred, isSettled } from './support/deferred.js'
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

describe('a saveLog that fails', () => {
  it.each([
    [
      'throws',
      () => {
        throw new RangeError('disk')
      },
    ],
    ['rejects', () => Promise.reject(new RangeError('disk'))],
  ])('%s: so does the call, with the same error', async (_name, saveLog) => {
    const source = await openPrimary(numbers)
    await insert(source.primary, 1)
    const error = await rejection(source.primary.checkpoint(saveLog))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toBe('disk')
    await expectReplicated(source)
  })

  it.each([
    ['in memory', insert],
    ['in a file', insertMuch],
  ])('loses nothing: the same bytes come first in the next call (%s)', async (_name, write) => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const before = await write(primary, 1)
    let failed: Uint8Array | undefined
    const failing = primary.checkpoint(async (log) => {
      failed = await log.bytes()
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(before.isDurable).toBe(false)
    const after = await insert(primary, 2)

    const bytes: Uint8Array[] = []
    const durableAt: boolean[][] = []
    const savedFrameNo = await primary.checkpoint(async (log) => {
      durableAt.push([before.isDurable, after.isDurable])
      bytes.push(await log.bytes())
      source.logs.push(log)
    })
    expect(bytes).toHaveLength(2)
    expect(Buffer.compare(bytes[0]!, failed!)).toBe(0)
    expect(savedFrameNo).toBe(after.frameNo)
    // The first log was saved when the second was handed over.
    expect(durableAt).toEqual([
      [false, false],
      [true, false],
    ])
    await expectReplicated(source)
  })

  it('again and again still loses nothing, and calls behind it go on', async () => {
    const source = await openPrimary(numbers)
    const { primary, logs } = source
    const starts: number[] = []
    const fail = (log: Log) => {
      starts.push(log.startFrameNo)
      throw new Error('no')
    }
    for (let n = 1; n <= 3; n++) {
      await insert(primary, n)
      await expect(primary.checkpoint(fail)).rejects.toThrow('no')
    }
    expect(new Set(starts).size).toBe(1)
    await insert(primary, 4)
    const [first, second] = [primary.checkpoint(fail), primary.checkpoint((log) => void logs.push(log))]
    await expect(first).rejects.toThrow('no')
    expect(await second).toBe(primary.lastFrameNo)
    await expectReplicated(source)
  })

  it.each([
    ['in memory', insert],
    ['in a file', insertMuch],
  ])('after it has closed or changed the log (%s)', async (_name, write) => {
    const source = await openPrimary(numbers)
    const { primary, logs } = source
    await write(primary, 1)
    let failed: Uint8Array | undefined
    const closing = primary.checkpoint(async (log) => {
      failed = await log.bytes()
      await log.close()
      throw new Error('no')
    })
    await expect(closing).rejects.toThrow('no')
    const changing = primary.checkpoint(async (log) => {
      expect(Buffer.compare(await log.bytes(), failed!)).toBe(0)
      await log.truncate(log.nextFrameNo)
      throw new Error('no')
    })
    await expect(changing).rejects.toThrow('no')
    let last: Uint8Array | undefined
    await primary.checkpoint(async (log) => {
      last = await log.bytes()
      logs.push(log)
    })
    expect(Buffer.compare(last!, failed!)).toBe(0)
    await expectReplicated(source)
  })

  it('leaves no file behind when the primary closes', async () => {
    const { primary } = await openPrimary(numbers)
    await insertMuch(primary)
    let path = ''
    await rejection(
      primary.checkpoint((log) => {
        path = (log.file.location as { path: string }).path
        throw new Error('no')
      }),
    )
    expect(existsSync(path)).toBe(true)
    await primary.close()
    expect(existsSync(path)).toBe(false)
  })
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

describe('a saveLog that does not settle', () => {
  it('keeps writers and readers going, and the checkpoints behind it waiting', async () => {
    const { primary } = await openPrimary(numbers, { closeTimeoutMs: 200 })
    await insert(primary, 1)
    const saving = deferred()
    const stuck = primary.checkpoint(() => {
      saving.resolve()
      return new Promise(() => {})
    })
    stuck.catch(() => {})
    await saving.promise
    const ack = await insert(primary, 2)
    expect(await primary.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 2 })
    const behind = primary.checkpoint(() => {})
    behind.catch(() => {})
    expect(await isSettled(behind)).toBe(false)

    const error = await expectCode(primary.close(), 'ERR_SAVE_PENDING')
    expect(error.message).toContain('200 ms')
    expect(error.details.frameNo).toBeLessThan(ack.frameNo!)
    await expectCode(stuck, 'ERR_CLOSED')
    await expectCode(behind, 'ERR_CLOSED')
    await expectCode(ack.durable(), 'ERR_CLOSED')
    expect(existsSync(primary.path)).toBe(false)
    // Every close tells the same.
    expect(await rejection(primary.close())).toBe(error)
  })

  it('is waited for by close until it does', async () => {
    const { primary } = await openPrimary(numbers)
    const ack = await insert(primary, 1)
    const [saving, saved] = [deferred(), deferred()]
    const checkpoint = primary.checkpoint(() => {
      saving.resolve()
      return saved.promise
    })
    await saving.promise
    const closed = primary.close()
    expect(await isSettled(closed)).toBe(false)
    saved.resolve()
    await closed
    expect(await checkpoint).toBe(ack.frameNo)
    expect(await ack.durable()).toEqual({ changes: 1, lastInsertRowid: 1 })
  })

  it('that settles after close changes nothing', async () => {
    const { primary } = await openPrimary(numbers, { closeTimeoutMs: 200 })
    const ack = await insert(primary, 1)
    const [saving, saved] = [deferred(), deferred()]
    const checkpoint = primary.checkpoint(async (log) => {
      saving.resolve()
      await saved.promise
      // The log is still in the hands of who was given it.
      await log.verify()
    })
    checkpoint.catch(() => {})
    await saving.promise
    await expectCode(primary.close(), 'ERR_SAVE_PENDING')
    saved.resolve()
    await expectCode(checkpoint, 'ERR_CLOSED')
    await expectCode(ack.durable(), 'ERR_CLOSED')
  })
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
