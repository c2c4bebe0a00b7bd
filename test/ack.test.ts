import { Ack, type Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { deferred, isSettled } from './support/deferred.js'
import { expectCode } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers VALUES (?)', [n])

it('is not thenable: await gives the Ack, which is not durable yet', async () => {
  const { primary } = await openPrimary(numbers)
  const ack = await insert(primary, 1)
  expect(ack).toBeInstanceOf(Ack)
  expect('then' in ack).toBe(false)
  expect(await ack).toBe(ack)
  expect(await Promise.all([ack])).toEqual([ack])
  expect(ack.isDurable).toBe(false)
})

describe('peek', () => {
  it('gives the result of an executed write, which readers see', async () => {
    const { primary } = await openPrimary(numbers)
    const ack = await insert(primary, 7)
    expect(ack.peek()).toEqual({ changes: 1, lastInsertRowid: 7 })
    expect(await primary.get('SELECT n FROM numbers')).toEqual({ n: 7 })
    expect(ack.isDurable).toBe(false)
  })

  it('gives the same object each time', async () => {
    const { primary } = await openPrimary(numbers)
    const ack = await insert(primary, 7)
    const result = ack.peek()
    expect(ack.peek()).toBe(result)
    expect(ack.split()[0]).toBe(result)
  })

  it('gives what withConnection and transaction return', async () => {
    const { primary } = await openPrimary(numbers)
    const value = { any: 'value' }
    expect((await primary.withConnection(async () => value)).peek()).toBe(value)
    expect((await primary.transaction(async () => value)).peek()).toBe(value)
  })

  it('goes on giving it after it is durable, and after close', async () => {
    const { primary, save } = await openPrimary(numbers)
    const ack = await insert(primary, 7)
    await save()
    await primary.close()
    expect(ack.peek().lastInsertRowid).toBe(7)
    expect(ack.isDurable).toBe(true)
    expect((await ack.durable()).lastInsertRowid).toBe(7)
  })
})

describe('split', () => {
  it('gives the result now and an Ack without it for later', async () => {
    const { primary, save } = await openPrimary(numbers)
    const ack = await insert(primary, 7)
    const [result, later] = ack.split()
    expect(result).toBe(ack.peek())
    expect(later).toBeInstanceOf(Ack)
    expect(later.peek()).toBeUndefined()
    expect(later.frameNo).toBe(ack.frameNo)
    const durable = later.durable()
    expect(await isSettled(durable)).toBe(false)
    await save()
    expect(await durable).toBeUndefined()
    expect(later.isDurable).toBe(true)
  })
})

describe('durable, by checkpoint', () => {
  it('resolves with the result when saveLog has resolved, not before', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const ack = await insert(primary, 7)
    const durable = ack.durable()
    const [saving, saved] = [deferred(), deferred()]
    const checkpoint = primary.checkpoint((log) => {
      source.logs.push(log)
      saving.resolve()
      return saved.promise
    })
    await saving.promise
    expect(await isSettled(durable)).toBe(false)
    expect(ack.isDurable).toBe(false)
    saved.resolve()
    expect(await durable).toEqual({ changes: 1, lastInsertRowid: 7 })
    expect(ack.isDurable).toBe(true)
    expect(await checkpoint).toBe(ack.frameNo)
    await expectReplicated(source)
  })

  it('does not resolve for a write that came after the log was sealed', async () => {
    const { primary, save } = await openPrimary(numbers)
    const before = await insert(primary, 1)
    let during: Ack<unknown> | undefined
    await primary.checkpoint(async () => {
      during = await insert(primary, 2)
    })
    expect([before.isDurable, during?.isDurable]).toEqual([true, false])
    await save()
    await during?.durable()
  })

  it('does not resolve when saveLog fails', async () => {
    const { primary, save } = await openPrimary(numbers)
    const ack = await insert(primary, 1)
    const durable = ack.durable()
    await expect(primary.checkpoint(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await isSettled(durable)).toBe(false)
    await save()
    await durable
  })

  it('resolves in the order of the writes', async () => {
    const { primary, save } = await openPrimary(numbers)
    const order: number[] = []
    const acks: Ack<unknown>[] = []
    for (let n = 0; n < 10; n++) acks.push(await insert(primary, n))
    // Asked for in another order.
    const waits = [3, 9, 0, 5, 1, 8, 2, 7, 4, 6].map((n) => acks[n]!.durable().then(() => order.push(n)))
    await save()
    await Promise.all(waits)
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('resolves at once for a write that is durable, any number of times', async () => {
    const { primary, save } = await openPrimary(numbers)
    const ack = await insert(primary, 1)
    await save()
    expect(await Promise.all([ack.durable(), ack.durable()])).toHaveLength(2)
  })
})

describe('durable, by ackReplicated', () => {
  it('resolves for the writes up to the acknowledged frame', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const first = await insert(primary, 1)
    const second = await insert(primary, 2)
    const batch = await frames.next()
    expect(batch!.nextFrameNo - 1).toBe(first.frameNo)
    await frames.next()
    frames.ackReplicated(first.frameNo!)
    expect([first.isDurable, second.isDurable]).toEqual([true, false])
    await first.durable()
    expect(await isSettled(second.durable())).toBe(false)
    frames.ackReplicated(second.frameNo!)
    await second.durable()
    expect(primary.savedFrameNo).toBe(second.frameNo)
  })

  it('a frame inside a transaction does not make it durable', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const ack = await primary.transaction(async (connection) => {
      await connection.exec('CREATE TABLE a (a); CREATE TABLE b (b); CREATE TABLE c (c)')
    })
    const batch = frames.tryNext()!
    expect(batch.frameCount).toBeGreaterThan(1)
    frames.ackReplicated(batch.nextFrameNo - 2)
    expect(ack.isDurable).toBe(false)
    frames.ackReplicated(batch.nextFrameNo - 1)
    expect(ack.isDurable).toBe(true)
  })
})

describe('frameNo', () => {
  it('is the last frame of the write', async () => {
    const { primary, blank } = await openPrimary()
    expect(blank.lastFrameNo).toBeUndefined()
    expect((await primary.run('SELECT 1')).frameNo).toBeUndefined()
    const ack = await primary.run(numbers)
    expect(ack.frameNo).toBe(primary.lastFrameNo)
    expect((await insert(primary, 1)).frameNo).toBe(ack.frameNo! + 1)
  })

  it('of a read or a write without effect is the last frame committed before it', async () => {
    const { primary, save } = await openPrimary(numbers)
    const write = await insert(primary, 1)
    const reads = [
      await primary.run('SELECT * FROM numbers'),
      await primary.run('DELETE FROM numbers WHERE n = 99'),
      await primary.batch([]),
      await primary.withConnection(async () => {}),
      await primary.transaction(async (connection) => connection.all('SELECT 1')),
    ]
    expect(reads.map(({ frameNo }) => frameNo)).toEqual(reads.map(() => write.frameNo))
    expect(reads.map(({ isDurable }) => isDurable)).toEqual(reads.map(() => false))
    await save()
    await Promise.all(reads.map((ack) => ack.durable()))
  })

  it('undefined, when nothing was ever written, is durable', async () => {
    const { primary } = await openPrimary()
    const ack = await primary.run('SELECT 1 AS one')
    expect(ack.isDurable).toBe(true)
    expect((await ack.durable()).rows).toEqual([{ one: 1 }])
  })
})

describe('close', () => {
  it('rejects what is not durable, and what is asked for later', async () => {
    const { primary, save } = await openPrimary(numbers)
    const saved = await insert(primary, 1)
    await save()
    const lost = await insert(primary, 2)
    const [, part] = lost.split()
    const waiting = expectCode(lost.durable(), 'ERR_CLOSED')
    await primary.close()
    const error = await waiting
    expect(error.details).toEqual({ frameNo: lost.frameNo })
    expect(error.message).toContain(`Frame ${lost.frameNo} was not saved`)
    await expectCode(lost.durable(), 'ERR_CLOSED')
    await expectCode(part.durable(), 'ERR_CLOSED')
    await saved.durable()
  })

  it('a role change ends nothing: all writes are saved then', async () => {
    const { primary, save } = await openPrimary(numbers)
    const ack = await insert(primary, 1)
    await save()
    const replica = await primary.intoReplica()
    await ack.durable()
    await replica.close()
  })
})

describe('durable, for so long', () => {
  it('ends the wait with ERR_TIMEOUT or the reason of a signal; the write stays', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    const ack = await insert(primary, 7)
    const error = await expectCode(ack.durable({ timeoutMs: 20 }), 'ERR_TIMEOUT')
    expect(error.message).toContain('checkpoint()')
    const controller = new AbortController()
    const reason = new Error('no longer')
    const waiting = ack.durable({ signal: controller.signal, timeoutMs: 60_000 })
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await expect(ack.durable({ signal: controller.signal })).rejects.toBe(reason)
    const later = ack.durable({ timeoutMs: 60_000 })
    await save()
    expect((await later).lastInsertRowid).toBe(7)
    expect((await ack.durable({ timeoutMs: 1 })).lastInsertRowid).toBe(7)
    await expectReplicated(source)
  })

  it('rejects when the primary closes, and for options that it does not know', async () => {
    const { primary } = await openPrimary(numbers)
    const ack = await insert(primary, 7)
    const waiting = expectCode(ack.durable({ timeoutMs: 60_000 }), 'ERR_CLOSED')
    await primary.close()
    await waiting
    await expectCode(ack.durable({ timeoutMs: 60_000 }), 'ERR_CLOSED')
    await expect(ack.durable({ timeout: 5 } as never)).rejects.toThrow(/Unknown option "timeout" of durable/)
  })
})
