import type { FrameBatch, Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { isSettled } from './support/deferred.js'
import { expectCode } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
const last = (batch: FrameBatch) => batch.nextFrameNo - 1

describe('a slow subscriber', () => {
  it('holds writers, which go on when it has caught up', async () => {
    const source = await openPrimary(numbers, { subscriberBytesMax: 3 * 4120 })
    const { primary } = source
    const frames = primary.captureFrames()
    for (let n = 1; n <= 3; n++) await insert(primary, n)
    const held = [insert(primary, 4), insert(primary, 5)]
    const reads = await primary.get('SELECT count(*) AS n FROM numbers')
    expect(reads).toEqual({ n: 3 })
    expect(await isSettled(Promise.race(held))).toBe(false)
    expect((await primary.stats()).pendingRequestCount).toBe(2)
    const first = frames.tryNext()!
    expect(first.frameCount).toBe(1)
    await Promise.all(held)
    const rest: FrameBatch[] = []
    for (let batch = frames.tryNext(); batch !== undefined; batch = frames.tryNext()) rest.push(batch)
    expect(last(rest.at(-1)!)).toBe(primary.lastFrameNo)
    await expectReplicated(source)
  })

  it('holds them no longer than busyTimeoutMs', async () => {
    const source = await openPrimary(numbers, { subscriberBytesMax: 1, busyTimeoutMs: 250 })
    const { primary } = source
    const frames = primary.captureFrames()
    await insert(primary, 1)
    const refused = [insert(primary, 2), primary.transaction(async () => {}), primary.batch([])]
    for (const promise of refused) {
      const error = await expectCode(promise, 'ERR_BUSY')
      expect(error.message).toContain('subscriberBytesMax')
    }
    frames.tryNext()
    await insert(primary, 3)
    expect(await primary.all('SELECT n FROM numbers')).toEqual([{ n: 1 }, { n: 3 }])
    frames.close()
    await expectReplicated(source)
  })

  it('holds an interactive connection between its statements', async () => {
    const { primary } = await openPrimary(numbers, { subscriberBytesMax: 1, busyTimeoutMs: 2000 })
    const frames = primary.captureFrames()
    await primary.withConnection(async (connection) => {
      await connection.run('INSERT INTO numbers (n) VALUES (1)')
      await expectCode(connection.run('INSERT INTO numbers (n) VALUES (2)'), 'ERR_BUSY')
      const held = connection.run('INSERT INTO numbers (n) VALUES (3)')
      expect(await isSettled(held)).toBe(false)
      frames.tryNext()
      await held
      frames.tryNext()
      // A transaction that has begun ends.
      await connection.transaction(async () => {
        await connection.run('INSERT INTO numbers (n) VALUES (4)')
        await connection.run('INSERT INTO numbers (n) VALUES (5)')
      })
    })
    expect(await primary.all('SELECT n FROM numbers')).toEqual([1, 3, 4, 5].map((n) => ({ n })))
  })

  it('with others that are quick counts alone, and no more once it is closed', async () => {
    const { primary } = await openPrimary(numbers, { subscriberBytesMax: 2 * 4120 })
    const [quick, slow] = [primary.captureFrames(), primary.captureFrames()]
    quick.subscribe()
    for (let n = 1; n <= 2; n++) await insert(primary, n)
    const held = insert(primary, 3)
    expect(await isSettled(held)).toBe(false)
    slow.close()
    await held
    for (let n = 4; n <= 9; n++) await insert(primary, n)
  })

  it("with credit 'acknowledged' holds writers until it has acknowledged", async () => {
    const { primary } = await openPrimary(numbers, { subscriberBytesMax: 2 * 4120 })
    const frames = primary.captureFrames({ credit: 'acknowledged' })
    const acks = [await insert(primary, 1), await insert(primary, 2)]
    const batches = [frames.tryNext()!, frames.tryNext()!]
    const held = insert(primary, 3)
    expect(await isSettled(held)).toBe(false)
    frames.ackReplicated(last(batches[0]!))
    await held
    expect(acks.map((ack) => ack.isDurable)).toEqual([true, false])
    const again = insert(primary, 4)
    expect(await isSettled(again)).toBe(false)
    frames.close()
    await again
  })

  it('leaves the next one a fresh start', async () => {
    const { primary } = await openPrimary(numbers, { subscriberBytesMax: 2 * 4120 })
    const slow = primary.captureFrames({ credit: 'acknowledged' })
    for (let n = 1; n <= 2; n++) await insert(primary, n)
    slow.tryNext()
    slow.close()
    const frames = primary.captureFrames()
    for (let n = 3; n <= 4; n++) await insert(primary, n)
    const held = insert(primary, 5)
    expect(await isSettled(held)).toBe(false)
    frames.tryNext()
    await held
  })
})

it('writers held for unsaved bytes go on after a checkpoint', async () => {
  const source = await openPrimary(numbers, { unsavedBytesMax: 3 * 4120, busyTimeoutMs: 20_000 })
  const { primary, save } = source
  for (let n = 1; n <= 3; n++) await insert(primary, n)
  const held = insert(primary, 4)
  expect(await isSettled(held)).toBe(false)
  await save()
  await held
  await expectReplicated(source)
})

// One after the other they would take 10 seconds.
it('each of many writers is held for busyTimeoutMs', { timeout: 5000 }, async () => {
  const { primary, save } = await openPrimary(numbers, { unsavedBytesMax: 4120, busyTimeoutMs: 500 })
  await insert(primary, 1)
  const writers = Array.from({ length: 40 }, (_, n) =>
    n % 2 === 0 ? primary.transaction(async () => {}) : primary.withConnection(async () => {}),
  )
  for (const writer of writers) await expectCode(writer, 'ERR_BUSY')
  await save()
  await insert(primary, 2)
})

it('writers held for unsaved bytes are refused after busyTimeoutMs', async () => {
  const { primary, save } = await openPrimary(numbers, { unsavedBytesMax: 4120, busyTimeoutMs: 250 })
  await insert(primary, 1)
  const error = await expectCode(insert(primary, 2), 'ERR_BUSY')
  expect(error.message).toContain('unsavedBytesMax')
  await save()
  await insert(primary, 3)
})
