import { copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, type FollowOptions, type Log, MylibsqlError, Replica, type Store } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, openPrimary } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { numbers, startHistory } from '../support/history.js'
import { MemoryStore, stamped } from '../support/memory-store.js'

async function follow(store: Store, options?: FollowOptions): Promise<Replica> {
  return closedAfterTest(await Replica.follow(store, options))
}

const following = async (replica: Replica) => (await replica.stats()).follow!
const count = async (replica: Replica) => (await replica.get('SELECT count(*) AS n FROM numbers'))?.n

/** Resolves once the store is asked for something that fails, so many times. */
function failing(store: MemoryStore, times: number): Promise<void> {
  const failed = deferred()
  let failureCount = 0
  store.before = (call) => {
    failureCount += 1
    if (failureCount === times) failed.resolve()
    throw new MylibsqlError('ERR_STORE', `${call}: no route to host`)
  }
  return failed.promise
}

const stores: [string, () => Store][] = [
  ['a FileStore', () => closedAfterTest(new FileStore(join(temporaryFolder(), 'store')))],
  ['a store in memory', () => new MemoryStore()],
]

describe.each(stores)('following %s', (_, make) => {
  it('begins with the newest snapshot and the logs, and goes on with those that come', async () => {
    const { source, store, write, snapshot } = await startHistory(make())
    await write()
    await snapshot()
    await write()
    const replica = await follow(store)
    expect(replica.lastFrameNo).toBe(source.primary.lastFrameNo)
    for (let n = 0; n < 5; n++) await replica.waitFor((await write()).lastFrameNo)
    await expectSameBytes(source.primary, replica)
    expect(await following(replica)).toMatchObject({
      url: store.url,
      state: 'following',
      lagFrames: 0,
      lagMs: expect.any(Number),
      delayMs: expect.any(Number),
      snapshotCount: 0,
      failureCount: 0,
      lastError: undefined,
    })
  })

  it('gives read-your-writes by the number of a frame', async () => {
    const { source, store, write } = await startHistory(make())
    const replica = await follow(store)
    const before = Number(await count(replica))
    const ack = await source.primary.run('INSERT INTO numbers VALUES (-1, NULL)')
    const waiting = replica.waitFor(ack.frameNo)
    await write({ transactions: 1 })
    await waiting
    expect(await count(replica)).toBeGreaterThanOrEqual(before + 1)
    expect(await replica.get('SELECT n FROM numbers WHERE n = -1')).toEqual({ n: -1 })
  })

  it('has many replicas, and each ends by itself', async () => {
    const { source, store, write } = await startHistory(make())
    const replicas = await Promise.all(Array.from({ length: 4 }, () => follow(store)))
    const first = await write()
    await Promise.all(replicas.map((replica) => replica.waitFor(first.lastFrameNo)))
    await replicas[0]!.close()
    const second = await write()
    const others = replicas.slice(1)
    await Promise.all(others.map((replica) => replica.waitFor(second.lastFrameNo)))
    for (const replica of others) await expectSameBytes(source.primary, replica)
    await replicas[0]!.close()
  })

  it('starts from a snapshot that is at hand', async () => {
    const { source, store, write, snapshot } = await startHistory(make())
    const old = await snapshot()
    for (let n = 0; n < 3; n++) await write()
    const replica = await follow(store, { from: old })
    expect(replica.lastFrameNo).toBe(source.primary.lastFrameNo)
    // The caller's to close.
    expect(old.file).toBeDefined()
    await expectSameBytes(source.primary, replica)
  })

  it('takes a newer snapshot when the logs behind the one at hand were pruned', async () => {
    const { source, store, write, snapshot, prune } = await startHistory(make())
    const old = await snapshot()
    await write()
    await prune(await snapshot())
    await write()
    const replica = await follow(store, { from: old })
    await expectSameBytes(source.primary, replica)
    expect((await following(replica)).snapshotCount).toBe(1)
  })

  it('closes while it follows', async () => {
    const { store, write } = await startHistory(make())
    const replica = await follow(store)
    const waiting = rejection(replica.waitFor(1_000_000))
    const writing = write()
    await replica.close()
    expect(await waiting).toMatchObject({ code: 'ERR_CLOSED' })
    await writing
  })
})

describe('while it follows', () => {
  async function open(options?: FollowOptions) {
    const store = new MemoryStore()
    // What the replica alone meets is set with `store.before`.
    const history = await startHistory(store.view())
    await history.write()
    return { ...history, store, replica: await follow(store, options) }
  }

  it('survives that the store cannot be reached, and says so', async () => {
    const { source, store, write, replica } = await open()
    const failed = failing(store, 4)
    store.wake()
    await failed
    expect(await following(replica)).toMatchObject({ state: 'retrying', lastError: { code: 'ERR_STORE' } })
    expect(await count(replica)).toBe(2)
    store.before = () => {}
    const last = await write()
    await replica.waitFor(last.lastFrameNo)
    expect(await following(replica)).toMatchObject({ state: 'following', lastError: undefined })
    expect((await following(replica)).failureCount).toBeGreaterThan(0)
    await expectSameBytes(source.primary, replica)
  })

  it('survives that a log cannot be read at first', async () => {
    const { source, store, write, replica } = await open()
    let failures = 3
    store.before = (call) => {
      if (call === 'readLog' && failures-- > 0) throw new MylibsqlError('ERR_STORE', 'connection reset')
    }
    await replica.waitFor((await write()).lastFrameNo)
    await expectSameBytes(source.primary, replica)
  })

  it('finds what a silent store did not tell', async () => {
    const { store, source, replica } = await open({ pollMs: 50 })
    await source.primary.run('INSERT INTO numbers VALUES (-1, NULL)')
    await source.save()
    const log = source.logs.at(-1)!
    // Nobody is woken.
    store.logObjects.set(log.startFrameNo, {
      id: 'quiet',
      startFrameNo: log.startFrameNo,
      byteLength: log.byteLength,
      storedAt: new Date(),
      bytes: stamped(await log.bytes(), 1),
    })
    await replica.waitFor(log.lastFrameNo)
    await expectSameBytes(source.primary, replica)
  })

  it('becomes what a newer snapshot holds when logs were pruned, in one step for its readers', async () => {
    const { source, store, write, snapshot, prune, replica } = await open()
    const failed = failing(store, 3)
    store.wake()
    await failed
    // While the store cannot be reached by it, much is written, deleted, vacuumed, and pruned.
    for (let n = 0; n < 3; n++) await write({ rows: 40 })
    await source.primary.run('DELETE FROM numbers WHERE n % 3 = 0')
    await source.primary.run('VACUUM')
    await write()
    await prune(await snapshot())
    const path = replica.path
    let isSplit = false
    const last = await replica.withConnection(async (connection) => {
      const seen = await connection.get('SELECT count(*) AS n FROM numbers')
      store.before = () => {}
      const log = await write()
      await replica.waitFor(log.lastFrameNo)
      const again = await connection.get('SELECT count(*) AS n FROM numbers')
      isSplit = seen?.n !== again?.n
      return log
    })
    expect(isSplit).toBe(false)
    expect(replica.path).toBe(path)
    expect(replica.lastFrameNo).toBe(last.lastFrameNo)
    await expectSameBytes(source.primary, replica)
    expect(await following(replica)).toMatchObject({ snapshotCount: 1, state: 'following' })
    // And goes on.
    await replica.waitFor((await write()).lastFrameNo)
    await expectSameBytes(source.primary, replica)
  })

  it('waits at a damaged log until a newer snapshot goes further', async () => {
    const { source, store, write, snapshot, replica } = await open()
    const before = replica.lastFrameNo
    const tried = deferred()
    let readCount = 0
    store.before = (call, object) => {
      if (call !== 'readLog' || object === undefined) return
      object.bytes[500]! ^= 1
      readCount += 1
      if (readCount === 3) tried.resolve()
    }
    await write()
    await tried.promise
    expect(replica.lastFrameNo).toBe(before)
    expect((await following(replica)).failureCount).toBeGreaterThan(0)
    store.before = () => {}
    await snapshot()
    await replica.waitFor(source.primary.lastFrameNo)
    await expectSameBytes(source.primary, replica)
  })

  it('applies nothing of another history, ends and stays readable', async () => {
    const { store, source, replica } = await open()
    const before = replica.lastFrameNo!
    const rows = await count(replica)
    const other = await openPrimary(numbers.replace('numbers', 'letters'))
    while ((other.primary.lastFrameNo ?? 0) < before) {
      await other.primary.run('INSERT INTO letters (text) VALUES (NULL)')
    }
    await other.save()
    await other.primary.run('INSERT INTO letters (text) VALUES (NULL)')
    await other.save()
    const foreign = other.logs.at(-1)!
    expect(foreign.startFrameNo).toBe(source.primary.lastFrameNo! + 1)
    const waiting = rejection(replica.waitFor(foreign.lastFrameNo))
    const object = store.put(stamped(await foreign.bytes(), 1))
    const error = await waiting
    expect(error).toMatchObject({ code: 'ERR_LINEAGE' })
    expect(error.message).toContain(object.id)
    await expectCode(replica.waitFor(before + 100), 'ERR_LINEAGE')
    await replica.waitFor(before)
    expect(await count(replica)).toBe(rows)
    expect(await following(replica)).toMatchObject({ state: 'ended', lastError: { code: 'ERR_LINEAGE' } })
  })

  it('finds itself on a fork when the newest primary wrote another log in the place of its last one', async () => {
    const { store, source, replica, write } = await open()
    const fork = closedAfterTest(
      await closedAfterTest(await Replica.open(source.blank, source.logs)).intoPrimary(),
    )
    const lost = await write({ transactions: 1 })
    await replica.waitFor(lost.lastFrameNo)
    await store.claimEpoch()
    for (let n = 0; n < 5; n++) await fork.run('INSERT INTO numbers VALUES (?, NULL)', [-n])
    store.logObjects.delete(lost.startFrameNo)
    const waiting = rejection(replica.waitFor(lost.lastFrameNo! + 1))
    await fork.checkpoint(async (log) => {
      store.put(stamped(await log.bytes(), 2))
    })
    // The store told it of a log that begins before its position: it learns of it when it looks, or with the next one.
    await fork.run('DELETE FROM numbers')
    await fork.checkpoint(async (log) => {
      store.put(stamped(await log.bytes(), 2))
    })
    expect(await waiting).toMatchObject({ code: 'ERR_LINEAGE' })
  })

  it('does not take the late log of a fenced primary for the pruned one that it missed', async () => {
    const { store, source, replica, write, snapshot, prune } = await open()
    const fork = closedAfterTest(
      await closedAfterTest(await Replica.open(source.blank, source.logs)).intoPrimary(),
    )
    await fork.run('INSERT INTO numbers VALUES (-7, NULL)')
    let late!: Log
    await fork.checkpoint((log) => {
      late = log
    })
    const failed = failing(store, 3)
    store.wake()
    await failed
    await store.claimEpoch()
    const missed = await write()
    expect(late.startFrameNo).toBe(missed.startFrameNo)
    await write()
    await prune(await snapshot())
    store.put(stamped(await late.bytes(), 1))
    let forkedRows: unknown = 0
    store.before = async (call) => {
      if (call === 'readSnapshot') forkedRows = await replica.get('SELECT n FROM numbers WHERE n = -7')
    }
    await replica.waitFor(source.primary.lastFrameNo)
    expect(forkedRows).toBeUndefined()
    expect((await following(replica)).snapshotCount).toBe(1)
    await expectSameBytes(source.primary, replica)
  })

  it('does not wait for a store that hangs when it is closed', async () => {
    const { store, write, replica } = await open()
    const asked = deferred()
    store.before = (call) => {
      if (call !== 'readLog') return
      asked.resolve()
      return new Promise(() => {})
    }
    await write()
    await asked.promise
    await replica.close()
  })

  it('becomes a primary that follows no more', async () => {
    const { source, write, replica } = await open()
    const primary = closedAfterTest(await replica.intoPrimary())
    await expectSameBytes(source.primary, primary)
    await write()
    await primary.run('INSERT INTO numbers VALUES (-1, NULL)')
  })
})

describe('a store that cannot be followed', () => {
  it('is refused when it is empty, damaged, or no store', async () => {
    const folder = join(temporaryFolder(), 'store')
    const store = closedAfterTest(new FileStore(folder))
    await expectCode(Replica.follow(store), 'ERR_NOT_FOUND')
    expect(existsSync(folder)).toBe(false)
    await expectCode(Replica.follow(new MemoryStore()), 'ERR_NOT_FOUND')
    // @ts-expect-error: JavaScript callers
    expect(await rejection(Replica.follow(folder))).toBeInstanceOf(TypeError)
    const { write } = await startHistory(store)
    // @ts-expect-error: JavaScript callers
    expect(await rejection(Replica.follow(store, { readrs: 2 }))).toBeInstanceOf(TypeError)
    const log = await write()
    const [name] = readdirSync(join(folder, 'logs')).filter(
      (file) => Number.parseInt(file, 10) === log.startFrameNo,
    )
    const path = join(folder, 'logs', name!)
    copyFileSync(path, `${folder}.kept`)
    rmSync(path)
    writeFileSync(path, 'nothing of ours')
    const error = await expectCode(Replica.follow(store), 'ERR_NOT_A_LOG')
    expect(error.message).toContain(path)
  })
})
