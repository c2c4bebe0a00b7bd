/** Everything on a NatsStore: a primary that archives, replicas that follow, another primary that takes over, a restore. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { compact, Primary, prune, Replica, restore, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { closedAfterTest, expectSameBytes, integrityCheck } from '../support/database.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { NatsServer } from '../support/nats-server.js'
import { openNatsStore, rawClient, storeName } from '../support/nats-store.js'

let server: NatsServer

beforeAll(async () => {
  server = await NatsServer.start({ maxPayload: 64 * 1024 })
})
afterAll(() => server?.remove())

const checkpoint = { intervalMs: 10 }
const insert = 'INSERT INTO notes (n, text) VALUES (?, ?)'
const numbers = (database: Primary | Replica) => database.all('SELECT n FROM notes ORDER BY n')

it('replicates, fails over and restores', async () => {
  const name = storeName()
  const first = await openNatsStore(server, { name })
  const [second, third] = await Promise.all([1, 2].map(() => openNatsStore(server, { name })))
  await first.putSnapshot(await Snapshot.blank())
  const older = closedAfterTest(await Primary.open({ store: first, checkpoint }))
  await older.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')
  const replica = closedAfterTest(await Replica.follow(third!))
  for (let n = 0; n < 40; n++) {
    // Now and then more than a message holds.
    const ack = await older.run(insert, [n, 'x'.repeat(n % 10 === 9 ? 200_000 : 10)])
    await ack.durable()
    if (n % 10 === 0) await replica.waitFor(ack.frameNo)
  }
  const newer = closedAfterTest(await Primary.open({ store: second!, checkpoint }))
  expect(await numbers(newer)).toHaveLength(40)
  const lost = older.run(insert, [1000, 'of the older one'])
  await expectCode(
    lost.then((ack) => ack.durable()),
    'ERR_FENCED',
  )
  const kept = await newer.run(insert, [40, 'of the newer one'])
  await kept.durable()
  await replica.waitFor(kept.frameNo)
  await expectSameBytes(newer, replica)
  expect((await numbers(replica)).map(({ n }) => n)).toEqual(Array.from({ length: 41 }, (_, n) => n))
  const target = join(temporaryFolder(), 'restored.db')
  await restore(third!, target)
  integrityCheck(target)
  // Pruned, and restored once more, from a snapshot that is as large as many messages.
  const logCount = (await third!.logs()).length
  await second!.putSnapshot(await newer.snapshot(join(temporaryFolder(), 'newer.db')))
  await prune(second!, { keepMs: 0, keepSnapshots: 1 })
  expect((await third!.logs()).length).toBeLessThan(logCount)
  const again = closedAfterTest(await Primary.open({ store: third!, checkpoint }))
  await expectSameBytes(replica, again)
})

it('lets a replica take over', async () => {
  const name = storeName()
  const first = await openNatsStore(server, { name })
  const second = await openNatsStore(server, { name })
  await first.putSnapshot(await Snapshot.blank())
  const primary = closedAfterTest(await Primary.open({ store: first, checkpoint }))
  await (await primary.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')).durable()
  const replica = closedAfterTest(await Replica.follow(second))
  const promoted = closedAfterTest(await replica.promote())
  await (await promoted.run(insert, [1, 'of the one that was promoted'])).durable()
  const late = primary.run(insert, [2, 'late'])
  await expectCode(
    late.then((ack) => ack.durable()),
    'ERR_FENCED',
  )
  expect(await numbers(promoted)).toEqual([{ n: 1 }])
})

it('tells a primary that has nothing to store of the one that has taken over', async () => {
  const name = storeName()
  const first = await openNatsStore(server, { name })
  const second = await openNatsStore(server, { name })
  await first.putSnapshot(await Snapshot.blank())
  const idle = closedAfterTest(
    await Primary.open({ store: first, checkpoint: { intervalMs: 10, fenceCheckMs: 20 } }),
  )
  await (await idle.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')).durable()
  closedAfterTest(await Primary.open({ store: second, checkpoint }))
  await expect.poll(() => numbers(idle).catch(({ code }) => code)).toBe('ERR_FENCED')
  expect((await idle.stats()).archive).toMatchObject({ fenceCheckFailureCount: 0, epoch: 1 })
})

it.each([
  ['plain', 'none'],
  ['compressed', 'brotli'],
  ['packed', 'lz4'],
] as const)('has no log sent to a replica twice: %s ones', async (_name, compression) => {
  const name = storeName()
  const store = await openNatsStore(server, { name, compression })
  await store.putSnapshot(await Snapshot.blank())
  const primary = closedAfterTest(await Primary.open({ store, checkpoint }))
  await (await primary.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')).durable()
  const followed = await openNatsStore(server, { name })
  const replica = closedAfterTest(await Replica.follow(followed))
  const { js } = await rawClient(server)
  const manager = await js.jetstreamManager()
  const read = vi.spyOn(followed, 'readLog')
  const asked = vi.spyOn(Object.getPrototypeOf(manager.direct), 'getMessage')
  const write = async (n: number, byteLength: number) => {
    const ack = await primary.run(insert, [n, randomBytes(byteLength / 2).toString('hex')])
    await ack.durable()
    await replica.waitFor(ack.frameNo)
  }
  // Until it is told of logs: at first it looks what is there.
  for (let n = -1; n === -1 || asked.mock.calls.length > 0; n--) {
    asked.mockClear()
    await write(n, 10)
  }
  read.mockClear()
  // Messages hold 64 KiB here: one, several, and more than is kept in memory.
  for (let n = 0; n < 14; n++) await write(n, n % 7 === 0 ? 1_500_000 : n % 2 === 0 ? 200_000 : 10)
  expect(read).not.toHaveBeenCalled()
  expect(asked).not.toHaveBeenCalled()
  await expectSameBytes(primary, replica)
})

it('is restored without asking for a log twice, however well they are compressed', async () => {
  const name = storeName()
  const store = await openNatsStore(server, { name, compression: 'deflate' })
  await store.putSnapshot(await Snapshot.blank())
  const primary = closedAfterTest(await Primary.open({ store, checkpoint }))
  await primary.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')
  for (let n = 0; n < 16; n++) {
    await (await primary.run('INSERT INTO notes VALUES (?, zeroblob(1000000))', [n])).durable()
  }
  const other = await openNatsStore(server, { name })
  const { js } = await rawClient(server)
  const manager = await js.jetstreamManager()
  const asked = vi.spyOn(Object.getPrototypeOf(manager.direct), 'getMessage')
  asked.mockClear()
  const target = join(temporaryFolder(), 'restored.db')
  expect((await restore(other, target)).frameNo).toBe(primary.lastFrameNo)
  integrityCheck(target)
  expect(asked.mock.calls.length).toBeLessThanOrEqual((await store.logs()).length + 2)
})

it.each(['none', 'brotli', 'lz4'] as const)(
  'catches up by itself from logs of one message: %s',
  async (compression) => {
    const name = storeName()
    const store = await openNatsStore(server, { name, compression })
    await store.putSnapshot(await Snapshot.blank())
    const primary = closedAfterTest(await Primary.open({ store, checkpoint }))
    await (await primary.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, text)')).durable()
    const write = async (n: number, byteLength: number) =>
      (await primary.run(insert, [n, randomBytes(byteLength / 2).toString('hex')])).durable()
    // More than a step takes.
    for (let n = 0; n < 80; n++) await write(n, 10)
    const followed = await openNatsStore(server, { name })
    const read = vi.spyOn(followed, 'readLog')
    const replica = closedAfterTest(await Replica.follow(followed))
    // The first one, to see whether the snapshot goes on, and the last one, whether it goes beyond the end.
    expect(read.mock.calls.length).toBeLessThanOrEqual(2)
    await expectSameBytes(primary, replica)
    // A merged one ends it: from there on all are read, and none of them comes twice.
    expect((await compact(store, { keepMs: 0, spanMs: 300 })).mergedCount).toBeGreaterThan(0)
    for (let n = 80; n < 150; n++) await write(n, 10)
    const { js } = await rawClient(server)
    const manager = await js.jetstreamManager()
    const asked = vi.spyOn(Object.getPrototypeOf(manager.direct), 'getMessage')
    asked.mockClear()
    const logCount = (await store.logs()).length
    const other = await openNatsStore(server, { name })
    const second = closedAfterTest(await Replica.follow(other))
    expect(asked.mock.calls.length).toBeLessThan(logCount + 20)
    await expectSameBytes(primary, second)
  },
)
