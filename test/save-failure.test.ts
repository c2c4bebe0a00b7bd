import { existsSync } from 'node:fs'
import type { Log, Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { deferred, isSettled } from './support/deferred.js'
import { expectCode, rejection } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
/** Writes some pages more than the small logs that are kept in memory. */
const insertMuch = (primary: Primary) =>
  primary.run(
    "WITH RECURSIVE c(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM c LIMIT 600) INSERT INTO numbers SELECT n, printf('%04000d', n) FROM c",
  )

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
