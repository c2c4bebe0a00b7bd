/** What happens to a NatsStore when its server, or the way there, fails; and what it does not touch. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { Log, Primary, Replica, restore, Snapshot } from 'mylibsql'
import { NatsStore } from 'mylibsql/nats'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { NatsStream } from '../../dist/main/stores/nats-stream.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { NatsServer } from '../support/nats-server.js'
import { openNatsStore, rawClient, storeName } from '../support/nats-store.js'
import { PoorLine } from '../support/poor-line.js'
import { withSeed } from '../support/random.js'
import { type Acknowledged, expectHolds, followPatiently, writeUntil } from '../support/store-load.js'
import { chain, followed, logAt } from './contract.js'

const maxPayload = 32 * 1024
let server: NatsServer

beforeAll(async () => {
  server = await NatsServer.start({ maxPayload })
})
afterAll(() => server?.remove())

/** A server of the test's own, which it may kill. */
async function ownServer(options?: Parameters<typeof NatsServer.start>[0]): Promise<NatsServer> {
  const own = await NatsServer.start(options)
  onTestFinished(() => own.remove())
  return own
}

describe('logs larger than a message', () => {
  it('are split, and there once the last part is', async () => {
    const name = storeName()
    const store = await openNatsStore(server, { name })
    const { js } = await rawClient(server)
    const log = await logAt(0, { frameCount: 400 })
    expect(log.byteLength).toBeGreaterThan(6 * maxPayload)
    const stored = await store.append(log, 1)
    const manager = await js.jetstreamManager()
    expect((await manager.streams.info(name)).state.messages).toBe(Number(stored.id))
    expect(Number(stored.id)).toBeGreaterThan(6)
    const read = await store.readLog(stored)
    expect(read).toMatchObject({ nextFrameNo: 400, endChecksum: log.endChecksum, epoch: 1 })
    expect(await store.append(log, 1)).toEqual(stored)
    await store.remove([stored])
    expect((await manager.streams.info(name)).state.messages).toBe(0)
  })

  it('that were not finished are seen by nobody, and go with the next epoch', async () => {
    const name = storeName()
    const store = await openNatsStore(server, { name })
    const epoch = await store.claimEpoch('one')
    const log = await logAt(0, { frameCount: 400 })
    const stored = await store.append(log, epoch)
    const { js } = await rawClient(server)
    const manager = await js.jetstreamManager()
    // A second one whose writer died before the last part.
    const part = (await manager.streams.getMessage(name, { seq: Number(stored.id) - 1 }))!
    for (let index = 0; index < 3; index++) {
      await js.publish(part.subject, part.data, { headers: part.header })
    }
    const other = await openNatsStore(server, { name })
    expect(await other.logs()).toEqual([stored])
    const before = (await manager.streams.info(name)).state.messages
    await other.claimEpoch('two')
    expect((await manager.streams.info(name)).state.messages).toBe(before - 3 + 1)
    await (await other.readLog(stored)).verify()
  })

  it('are whole though somebody claims an epoch while a merged one takes the place of others', async () => {
    const name = storeName()
    const store = await openNatsStore(server, { name })
    await store.putSnapshot(await Snapshot.blank())
    const primary = closedAfterTest(await Primary.open({ store, checkpoint: { intervalMs: 60_000 } }))
    await primary.run('CREATE TABLE t (a)')
    for (let n = 0; n < 3; n++) {
      await primary.run('INSERT INTO t VALUES (randomblob(70000))')
      await primary.checkpoint()
    }
    const other = await openNatsStore(server, { name })
    const logs = await Promise.all((await other.logs()).slice(0, 2).map((stored) => other.readLog(stored)))
    const merged = await Log.merge(logs)
    const { publish } = NatsStream.prototype
    let claimed: Promise<number> | undefined
    const spy = vi.spyOn(NatsStream.prototype, 'publish').mockImplementation(async function (
      this: NatsStream,
      ...args
    ) {
      // Between its parts and the message that makes a log of them.
      if (args[0].kind === 'replacement') {
        claimed ??= store.claimEpoch('failover')
        await claimed
      }
      return publish.apply(this, args)
    })
    onTestFinished(() => spy.mockRestore())
    const stored = await other.replaceLog(merged)
    expect(await claimed).toBe(2)
    const read = await (await openNatsStore(server, { name })).readLog(stored)
    expect(read).toMatchObject({ isMerged: true, endChecksum: merged.endChecksum, epoch: 1 })
  })

  it('are whole though others write in between, and names a part that is missing', async () => {
    const name = storeName()
    const [left, right] = [await openNatsStore(server, { name }), await openNatsStore(server, { name })]
    const logs = await Promise.all([0, 1000, 2000, 3000].map((at) => logAt(at, { frameCount: 300 })))
    await Promise.all(logs.map((log, index) => (index % 2 === 0 ? left : right).append(log, 1)))
    const list = await left.logs()
    expect(list.map(({ startFrameNo }) => startFrameNo)).toEqual([0, 1000, 2000, 3000])
    for (const [index, stored] of list.entries()) {
      expect(await left.readLog(stored)).toMatchObject({ endChecksum: logs[index]!.endChecksum })
    }
    const { js } = await rawClient(server)
    const lastPart = (await (
      await js.jetstreamManager()
    ).streams.getMessage(name, { seq: Number(list[0]!.id) }))!
    const [firstPart] = lastPart.header.get('Mylibsql-Parts').split('-')
    await (await js.jetstreamManager()).streams.deleteMessage(name, Number(firstPart))
    const error = await expectCode(right.readLog(list[0]!), 'ERR_CORRUPT')
    expect(error.message).toContain(`${name}#${list[0]!.id}`)
  })
})

describe('fencing', () => {
  it('is the doing of the server: the older primary is refused, whatever it knows', async () => {
    const name = storeName()
    const [older, newer] = [await openNatsStore(server, { name }), await openNatsStore(server, { name })]
    const logs = await chain(3)
    const first = await older.claimEpoch('older')
    await older.append(logs[0]!, first)
    const second = await newer.claimEpoch('newer')
    const error = await expectCode(older.append(logs[1]!, first), 'ERR_FENCED')
    expect(error.details).toMatchObject({ expected: first, actual: second })
    expect(await newer.logs()).toHaveLength(1)
    // What it had stored before, it had stored.
    await older.append(logs[0]!, first)
    await newer.append(logs[1]!, second)
    // Pruned away: the place is not free for the older one, neither here nor in a process that knows nothing yet.
    await newer.remove(await newer.logs())
    const late = await openNatsStore(server, { name })
    for (const store of [older, late]) {
      await expectCode(store.append(await logAt(0, { seed: 9 }), first), 'ERR_FENCED')
      await expectCode(store.append(await logAt(0, { frameCount: 400 }), first), 'ERR_FENCED')
    }
    expect(await older.logs()).toEqual([])
  })

  it('lets every acknowledged log stand, whoever takes over from whom', () =>
    withSeed('primaries that take over from each other', async (random) => {
      const name = storeName()
      const stores = await Promise.all([1, 2, 3].map(() => openNatsStore(server, { name })))
      const acknowledged: { startFrameNo: number; endChecksum: bigint }[] = []
      let isOver = false
      const primary = async (index: number) => {
        const store = stores[index]!
        while (!isOver) {
          const epoch = await store.claimEpoch(`primary ${index}`)
          const last = (await store.logs()).at(-1)
          const found = last === undefined ? undefined : await store.readLog(last)
          let [next, checksum] = [found?.nextFrameNo ?? 0, found?.endChecksum ?? 0n]
          for (const end = performance.now() + random.integer(1, 60); performance.now() < end; ) {
            const log = await logAt(next, { startChecksum: checksum, seed: random.integer(1, 1e6) })
            const outcome = await store.append(log, epoch).catch((error: unknown) => error)
            if (outcome instanceof Error) {
              expect(outcome).toMatchObject({ code: 'ERR_FENCED' })
              break
            }
            acknowledged.push({ startFrameNo: log.startFrameNo, endChecksum: log.endChecksum })
            ;[next, checksum] = [log.nextFrameNo, log.endChecksum]
          }
        }
      }
      const running = stores.map((_, index) => primary(index))
      await delay(2000)
      // On a busy machine for longer.
      await expect.poll(() => stores[0]!.currentEpoch()).toBeGreaterThan(10)
      await expect.poll(() => acknowledged.length).toBeGreaterThan(50)
      isOver = true
      await Promise.all(running)
      acknowledged.sort((left, right) => left.startFrameNo - right.startFrameNo)
      await expectHolds(stores[1]!, acknowledged)
    }))
})

describe('failures', () => {
  it('recognises its own logs when answers are lost', () =>
    withSeed('answers that are lost', async (random) => {
      const proxy = await PoorLine.start(server.port)
      const store = await NatsStore.open({
        servers: proxy.url,
        name: storeName(),
        create: true,
        timeoutMs: 2000,
        reconnectTimeWait: 20,
        reconnectJitter: 1,
      })
      onTestFinished(() => store.close())
      const epoch = await store.claimEpoch('me')
      let isOver = false
      const acknowledged: Acknowledged[] = []
      // Every third one is larger than a message.
      const frameCountOf = (index: number) => (index % 3 === 2 ? 150 : 2)
      const writing = writeUntil(store, epoch, () => isOver, acknowledged, frameCountOf)
      for (let round = 0; round < 12; round++) {
        const before = acknowledged.length
        await expect.poll(() => acknowledged.length, { interval: 5, timeout: 20_000 }).toBeGreaterThan(before)
        await delay(random.integer(0, 20))
        proxy.loseAnswers()
        await delay(random.integer(5, 40))
        proxy.cut()
      }
      isOver = true
      await writing
      expect(acknowledged.length).toBeGreaterThan(12)
      await expectHolds(store, acknowledged)
      expect(await store.currentEpoch()).toBe(epoch)
    }))

  it('goes on after the server was killed under load, and so does whoever follows', async () => {
    const own = await ownServer()
    const name = storeName()
    const store = await openNatsStore(own, { name, reconnectTimeWait: 20, reconnectJitter: 1 })
    const reader = await openNatsStore(own, { name, reconnectTimeWait: 20, reconnectJitter: 1 })
    const epoch = await store.claimEpoch('me')
    const controller = new AbortController()
    const seen: number[] = []
    const following = followPatiently(reader, controller.signal, seen)
    let isOver = false
    const acknowledged: Acknowledged[] = []
    const writing = writeUntil(store, epoch, () => isOver, acknowledged)
    const more = () => {
      const goal = acknowledged.length + 40
      return expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(goal)
    }
    for (let round = 0; round < 2; round++) {
      await more()
      await own.kill()
      await delay(100)
      await own.start()
    }
    await more()
    isOver = true
    await writing
    await expectHolds(reader, acknowledged)
    await expect.poll(() => seen.length, { timeout: 20_000 }).toBe(acknowledged.length)
    expect(seen).toEqual(acknowledged.map(({ startFrameNo }) => startFrameNo))
    controller.abort()
    await following
  })

  it('asks for no more than a slow line brings in time, by who follows and who restores', async () => {
    const own = await ownServer()
    const name = storeName()
    const maker = await openNatsStore(own, { name })
    await maker.putSnapshot(await Snapshot.blank())
    const primary = closedAfterTest(await Primary.open({ store: maker, checkpoint: { intervalMs: 10 } }))
    await (await primary.run('CREATE TABLE notes (n INTEGER PRIMARY KEY, bytes)')).durable()
    for (let n = 0; n < 40; n++)
      await (await primary.run('INSERT INTO notes VALUES (?, randomblob(50000))', [n])).durable()
    const storedBytes = (await maker.logs()).reduce((sum, { byteLength }) => sum + byteLength, 0)
    const line = await PoorLine.start(own.port)
    const store = await NatsStore.open({ servers: line.url, name })
    onTestFinished(() => store.close())
    // An answer has two seconds.
    line.slowDown(storedBytes / 5)
    const replica = closedAfterTest(await Replica.follow(store))
    await expectSameBytes(primary, replica)
    expect(line.byteCount).toBeLessThan(1.3 * storedBytes)
    await restore(store, join(temporaryFolder(), 'restored.db'))
    expect(line.byteCount).toBeLessThan(2.6 * storedBytes)
  })

  it('does not wait forever for a server that says nothing', async () => {
    const own = await ownServer()
    const name = storeName()
    const maker = await openNatsStore(own, { name })
    const [first, second] = await chain(2)
    const stored = await maker.append(first!, 1)
    const snapshot = await maker.putSnapshot(await Snapshot.blank())
    const store = await openNatsStore(own, { name, timeoutMs: 1000 })
    await own.pause()
    const startMs = performance.now()
    const calls = [
      store.currentEpoch(),
      store.append(second!, 1),
      store.logs(),
      store.readLog(stored),
      store.snapshots(),
      store.readSnapshot(snapshot),
      store.putSnapshot(await Snapshot.blank()),
      store.remove([stored, snapshot]),
    ]
    for (const { status, reason } of (await Promise.allSettled(calls)) as PromiseRejectedResult[]) {
      expect([status, (reason as { code?: string } | undefined)?.code]).toEqual(['rejected', 'ERR_STORE'])
    }
    expect(performance.now() - startMs).toBeLessThan(9000)
    own.resume()
    expect(await store.append(second!, 1)).toMatchObject({ startFrameNo: 2 })
  })

  it('tells when nobody can be reached, and when the connection is gone for good', async () => {
    const own = await ownServer()
    const name = storeName()
    const store = await openNatsStore(own, { name, timeoutMs: 2000 })
    const following = followed(store, 0, 1)
    following.catch(() => {})
    await delay(100)
    await own.kill()
    await expectCode(following, 'ERR_STORE')
    await expectCode(store.currentEpoch(), 'ERR_STORE')
    const error = await expectCode(NatsStore.open({ servers: own.url, name, timeoutMs: 300 }), 'ERR_STORE')
    expect(error.message).toContain(`127.0.0.1:${own.port}/${name}`)
    expect(error.cause).toBeInstanceOf(Error)
  })
})

describe('what is not ours', () => {
  it('makes a stream and a bucket only when it is told to', async () => {
    const name = storeName()
    const error = await expectCode(NatsStore.open({ servers: server.url, name }), 'ERR_NOT_FOUND')
    expect(error.message).toContain('create: true')
    const { connection } = await rawClient(server)
    const manager = await jetstreamManager(connection)
    expect((await manager.streams.names().next()).filter((one) => one.includes(name))).toEqual([])
    const store = await openNatsStore(server, { name })
    await store.close()
    await (await NatsStore.open({ servers: server.url, name })).close()
    await manager.streams.delete(`OBJ_${name}-snapshots`)
    await expectCode(NatsStore.open({ servers: server.url, name }), 'ERR_NOT_FOUND')
  })

  it('makes one store where several make it at once', async () => {
    for (let n = 0; n < 20; n++) {
      const name = storeName()
      const stores = await Promise.all(Array.from({ length: 5 }, () => openNatsStore(server, { name })))
      const epochs = await Promise.all(stores.map((store) => store.claimEpoch('test')))
      expect(epochs.sort()).toEqual([1, 2, 3, 4, 5])
      const stored = await stores[0]!.putSnapshot(await Snapshot.blank())
      for (const store of stores) expect((await store.snapshots()).map(({ id }) => id)).toEqual([stored.id])
    }
  })

  it('leaves the stream of another program alone, and one that would drop messages', async () => {
    const { js } = await rawClient(server)
    const manager = await js.jetstreamManager()
    const [other, dropping] = [storeName(), storeName()]
    await manager.streams.add({ name: other, subjects: [`orders.${other}`] })
    await js.publish(`orders.${other}`, 'an order')
    const before = await manager.streams.info(other)
    const error = await expectCode(openNatsStore(server, { name: other }), 'ERR_STORE')
    expect(error.message).toContain('another program')
    expect((await manager.streams.info(other)).state).toEqual(before.state)
    await (await openNatsStore(server, { name: dropping })).close()
    const { config } = await manager.streams.info(dropping)
    await manager.streams.update(dropping, { ...config, max_age: 3_600_000_000_000 })
    const refusal = await expectCode(openNatsStore(server, { name: dropping }), 'ERR_STORE')
    expect(refusal.message).toContain('drop messages')
  })

  it('passes over the messages of somebody else', async () => {
    const name = storeName()
    const store = await openNatsStore(server, { name })
    const { js } = await rawClient(server)
    const [first, second] = await chain(2)
    await store.append(first!, 1)
    await js.publish(`mylibsql.${name}.log`, 'hello')
    await js.publish(`mylibsql.${name}.else`, 'hello')
    await store.append(second!, 1)
    expect((await store.logs()).map(({ id }) => id)).toEqual(['1', '4'])
    expect(await followed(store, 0, 2)).toHaveLength(2)
  })

  it('notices that its stream is another one now', async () => {
    const name = storeName()
    const store = await openNatsStore(server, { name })
    const logs = await chain(3)
    await store.append(logs[0]!, 1)
    const { js } = await rawClient(server)
    const manager = await js.jetstreamManager()
    const { config } = await manager.streams.info(name)
    await manager.streams.delete(name)
    await expectCode(store.append(logs[1]!, 1), 'ERR_STORE')
    await manager.streams.add(config)
    const error = await expectCode(store.append(logs[1]!, 1), 'ERR_STORE')
    expect(error.message).toContain('made anew')
    await expectCode(store.logs(), 'ERR_STORE')
  })

  it('tells that credentials are refused, and that permissions are missing', async () => {
    const own = await ownServer({
      config: `authorization { users: [
        { user: writer, password: secret }
        { user: reader, password: secret, permissions: { publish: { deny: "mylibsql.>" } } }
      ] }`,
      user: 'writer',
      pass: 'secret',
    })
    const name = storeName()
    const login = { servers: own.url, name, timeoutMs: 10_000 }
    const error = await expectCode(NatsStore.open({ ...login, user: 'writer', pass: 'wrong' }), 'ERR_STORE')
    expect(error.message).toContain('credentials')
    expect(error.message).not.toContain('wrong')
    expect(error.cause).toBeInstanceOf(Error)
    const writer = await NatsStore.open({ ...login, user: 'writer', pass: 'secret', create: true })
    onTestFinished(() => writer.close())
    await writer.append(await logAt(0), 1)
    const reader = await NatsStore.open({ ...login, user: 'reader', pass: 'secret' })
    onTestFinished(() => reader.close())
    expect(await reader.logs()).toHaveLength(1)
    const startMs = performance.now()
    const refusal = await expectCode(reader.append(await logAt(2), 1), 'ERR_STORE')
    expect(refusal.message).toContain('permissions')
    expect(performance.now() - startMs).toBeLessThan(9000)
  })

  it('has as many replicas as were asked for, or says why not', async () => {
    const name = storeName()
    await expectCode(openNatsStore(server, { name, replicas: 3 }), 'ERR_STORE')
    await openNatsStore(server, { name, replicas: 1 })
    const error = await expectCode(openNatsStore(server, { name, replicas: 3 }), 'ERR_STORE')
    expect(error.message).toContain('replicas: 1')
  })

  it('refuses bad options', async () => {
    const wrong = [
      { name: 'a.b' },
      { name: '' },
      { name: 'a', replicas: 2 },
      { name: 'a', timeoutMs: 0 },
      { name: 'a', servers: [] },
    ]
    for (const options of wrong) {
      expect(await rejection(NatsStore.open(options as never))).toBeInstanceOf(TypeError)
    }
  })
})
