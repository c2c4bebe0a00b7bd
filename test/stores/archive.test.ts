// A primary that keeps its history in a store: when logs go there, what is made of failures, and what close() says.
import { execFile } from 'node:child_process'
import { tracingChannel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Log, MylibsqlError, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { blankStore, column, never, openOn } from '../support/archived.js'
import { ControlledStore, type StoreCall, type StoreMethod, storeError } from '../support/controlled-store.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { deferred, isSettled } from '../support/deferred.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

const table = 'CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO t (n) VALUES (?)', [n])
const onDemand = { intervalMs: never, fenceCheckMs: never }

/** Holds every call of a method before it takes place, and after, until the test lets it go on. */
function holding(store: ControlledStore, method: StoreMethod, moment: 'before' | 'after' = 'before') {
  const waiting: { go: () => void; call: StoreCall }[] = []
  const arrivals: (() => void)[] = []
  store.hooks[moment] = async (call) => {
    if (call.method !== method) return
    const gate = deferred()
    waiting.push({ go: gate.resolve, call })
    for (const arrive of arrivals.splice(0)) arrive()
    await gate.promise
  }
  return {
    waiting,
    /** The next call that is held, once it is. */
    async held(): Promise<{ go: () => void; call: StoreCall }> {
      if (waiting.length === 0) await new Promise<void>((resolve) => arrivals.push(resolve))
      return waiting.shift()!
    },
    release() {
      delete store.hooks[moment]
      for (const { go } of waiting.splice(0)) go()
    },
  }
}

describe('opening', () => {
  it('refuses a store without a history, and says how one begins', async () => {
    const store = new ControlledStore()
    const error = await expectCode(Primary.open({ store }), 'ERR_NOT_FOUND')
    expect(error.message).toContain(store.url)
    expect(error.message).toContain('putSnapshot')
    expect(store.calls).toEqual(['snapshots'])
  })

  it('gives what was stored, under the next epoch', async () => {
    const store = await blankStore()
    const first = await openOn(store)
    await first.run(table)
    await (await insert(first, 1)).durable()
    await first.close()
    const second = await openOn(store)
    expect(await column(second, 'SELECT n FROM t')).toEqual([1])
    expect((await second.stats()).archive).toMatchObject({ url: store.url, epoch: 2, lagFrames: 0, lagMs: 0 })
    await (await insert(second, 2)).durable()
    const replica = await second.intoReplica()
    closedAfterTest(replica)
    expect(await column(replica, 'SELECT n FROM t')).toEqual([1, 2])
    await expectSameBytes(replica, await openOn(store))
  })

  it('looks whether there is anything to open, claims its epoch, looks at the history and then at the epoch', async () => {
    const store = await blankStore()
    store.calls.length = 0
    const snapshots = ['snapshots', 'readSnapshot']
    await openOn(store)
    expect(store.calls).toEqual(['snapshots', 'claimEpoch', ...snapshots, 'logs', 'currentEpoch'])
  })

  it('finds what came between its look and its claim', async () => {
    const store = await blankStore()
    const older = await openOn(store.view(), { checkpoint: onDemand })
    const ack = await older.run(table)
    store.hooks.before = async ({ method }) => {
      if (method === 'claimEpoch') await older.checkpoint()
    }
    const younger = await openOn(store, { checkpoint: onDemand })
    expect(ack.isDurable).toBe(true)
    expect(younger.lastFrameNo).toBe(ack.frameNo)
  })

  it.each<[string, () => Promise<unknown>, string]>([
    [
      'a store',
      () => Primary.open({ store: {} as never }),
      'Option "store" of Primary.open must be a store (FileStore, NatsStore, S3Store, or anything that fulfils its contract), got an instance of Object',
    ],
    [
      'an option',
      () => Primary.open({ store: new ControlledStore(), chekpoint: {} } as never),
      'Unknown option "chekpoint" of Primary.open; did you mean "checkpoint"?',
    ],
    [
      'an option of checkpoint',
      () => Primary.open({ store: new ControlledStore(), checkpoint: { interval: 1 } as never }),
      'Unknown option "interval" of checkpoint; did you mean "intervalMs"?',
    ],
    [
      'intervalMs',
      () => Primary.open({ store: new ControlledStore(), checkpoint: { intervalMs: 0 } }),
      'Option "intervalMs" of checkpoint must be milliseconds from 1 to 2147483647, got number 0',
    ],
    [
      'a store',
      () => Primary.open(new ControlledStore() as never),
      'Primary.open takes a store as an option: Primary.open({ store })',
    ],
    [
      'what would be ignored',
      () => Primary.open({ store: new ControlledStore() } as never, [], { readers: 1 }),
      'Primary.open({ store }) takes nothing else: all options stand beside "store"',
    ],
    [
      'a store behind a snapshot',
      async () => {
        await using snapshot = await Snapshot.blank()
        await Primary.open(snapshot, [], { store: new ControlledStore() } as never)
      },
      'Primary.open(snapshot, logs, options) takes no "store". Primary.open({ store, ...options }) opens the newest state ' +
        'that the store holds; to begin its history with this snapshot, once: await store.putSnapshot(snapshot)',
    ],
    [
      'an option of archiving without a store',
      async () => {
        await using snapshot = await Snapshot.blank()
        await Primary.open(snapshot, [], { checkpoint: { intervalMs: 10 } } as never)
      },
      'Option "checkpoint" of Primary.open goes with a store: Primary.open({ store, checkpoint })',
    ],
    [
      'a first snapshot',
      async () => {
        await using snapshot = await Snapshot.blank()
        await Primary.open({ store: new ControlledStore(), snapshot: snapshot as never })
      },
      'Option "snapshot" of Primary.open must be a schedule { everyBytes, everyMs, timeoutMs } ' +
        '(a first snapshot: store.putSnapshot), got an instance of Snapshot',
    ],
    [
      'fenceCheckMs',
      () => Primary.open({ store: new ControlledStore(), checkpoint: { fenceCheckMs: 0 } }),
      'Option "fenceCheckMs" of checkpoint must be milliseconds from 1 to 2147483647, got number 0 (or Infinity)',
    ],
    [
      'everyBytes',
      () => Primary.open({ store: new ControlledStore(), snapshot: { everyBytes: 0 } }),
      'Option "everyBytes" of snapshot must be a positive integer, got number 0 (or Infinity)',
    ],
    [
      'readers',
      () => Primary.open({ store: new ControlledStore(), readers: 0 }),
      'Option "readers" of Primary.open must be a positive integer, got number 0',
    ],
  ])('refuses a wrong %s before anything is claimed', async (_name, open, message) => {
    const error = await rejection(open())
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })

  it('fences nobody for a working file that is in use', async () => {
    const store = await blankStore()
    const path = join(temporaryFolder(), 'working.db')
    const first = await openOn(store, { path })
    store.calls.length = 0
    const { message } = await expectCode(Primary.open({ store, path }), 'ERR_LOCKED')
    expect(message).toContain(path)
    expect(store.calls).not.toContain('claimEpoch')
    await (await first.run(table)).durable()
  })

  it('that fails leaves nothing where the working file was to be', async () => {
    const store = await blankStore()
    const first = await openOn(store)
    await first.run(table)
    await first.close()
    const folder = temporaryFolder()
    const path = join(folder, 'working.db')
    store.hooks.before = async ({ method }) => {
      if (method === 'readLog') throw storeError()
    }
    await expectCode(Primary.open({ store, path }), 'ERR_STORE')
    await expectCode(Replica.follow(store, { path }), 'ERR_STORE')
    expect(readdirSync(folder)).toEqual([])
    delete store.hooks.before
    await expectSameBytes(await openOn(store, { path }), closedAfterTest(await Replica.follow(store)))
  })

  it('gives up a store that does not answer', async () => {
    const store = await blankStore()
    const { waiting } = holding(store, 'claimEpoch')
    const error = await expectCode(openOn(store, { checkpoint: { timeoutMs: 30 } }), 'ERR_STORE')
    expect(error.message).toContain('did not give an epoch within 30 ms')
    expect(waiting[0]!.call.signal!.aborted).toBe(true)
  })
})

describe('logs', () => {
  it('go to the store by themselves, and durable() waits for that', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 10 } })
    const append = holding(store, 'append')
    const ack = await primary.run(table)
    const { go } = await append.held()
    expect(await isSettled(ack.durable())).toBe(false)
    expect((await primary.stats()).archive).toMatchObject({ lagFrames: ack.frameNo! + 1, appendCount: 0 })
    expect((await primary.stats()).archive!.lagMs).toBeGreaterThan(0)
    go()
    await ack.durable()
    expect(primary.savedFrameNo).toBe(ack.frameNo)
    expect((await primary.stats()).archive).toMatchObject({ lagFrames: 0, lagMs: 0, appendCount: 1 })
  })

  it('gather while one is under way: one append at a time, never one for each write', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 1 } })
    await primary.run(table)
    await primary.checkpoint()
    const append = holding(store, 'append')
    const before = store.logCount
    const acks = [await insert(primary, 0)]
    const first = await append.held()
    for (let n = 1; n <= 50; n++) acks.push(await insert(primary, n))
    expect(append.waiting).toEqual([])
    first.go()
    const second = await append.held()
    append.release()
    second.go()
    await Promise.all(acks.map((ack) => ack.durable()))
    expect(store.logCount - before).toBe(2)
  })

  it.each([
    ['frames', { frames: 5 }, 5],
    ['bytes', { bytes: 20_000 }, 5],
  ])('go when there are enough %s', async (_name, limit, frameCount) => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { ...onDemand, ...limit } })
    const first = primary.lastFrameNo ?? -1
    let ack = await primary.run(table)
    for (let n = 0; ack.frameNo! - first < frameCount; n++) {
      expect(store.logCount).toBe(0)
      ack = await insert(primary, n)
    }
    await ack.durable()
    expect(store.logCount).toBe(1)
  })

  it('go with every write for frames: 1: those of one moment in one log, and none for what changes nothing', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { ...onDemand, frames: 1 } })
    await (await primary.run(table)).durable()
    expect(store.logCount).toBe(1)
    for (let round = 1; round <= 3; round++) {
      const acks = await Promise.all([1, 2, 3, 4].map((n) => insert(primary, 10 * round + n)))
      await Promise.all(acks.map((ack) => ack.durable()))
      expect(store.logCount).toBe(1 + round)
      await (await primary.run('UPDATE t SET n = 0 WHERE n = 0')).durable()
      await expect(insert(primary, 11)).rejects.toThrow('UNIQUE')
      expect(store.logCount).toBe(1 + round)
    }
  })

  it('go at once with checkpoint(), which takes no saveLog; those who wait for the same share it', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand })
    expect(await primary.checkpoint()).toBeUndefined()
    const ack = await primary.run(table)
    expect(await isSettled(ack.durable())).toBe(false)
    const saved = await Promise.all([primary.checkpoint(), primary.checkpoint(), primary.checkpoint()])
    expect(saved).toEqual([ack.frameNo, ack.frameNo, ack.frameNo])
    expect(store.logCount).toBe(1)
    const error = await expectCode(
      primary.checkpoint(() => expect.fail('saveLog was called')),
      'ERR_REFUSED',
    )
    expect(error.message).toContain('without saveLog')
  })

  it('are what a subscriber cannot acknowledge in their place', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand })
    const frames = primary.captureFrames()
    const ack = await primary.run(table)
    const batch = await frames.next()
    frames.ackReplicated(batch!.nextFrameNo - 1)
    expect(ack.isDurable).toBe(false)
    await primary.checkpoint()
    expect(ack.isDurable).toBe(true)
  })

  it('of a connection that is lent go while it is, also when its callback fails', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 5 } })
    await (await primary.run(table)).durable()
    const append = holding(store, 'append')
    await primary.withConnection(async (connection) => {
      await connection.run('INSERT INTO t (n) VALUES (1)')
      const { go } = await append.held()
      go()
    })
    const work = async () => {
      await primary.withConnection(async (connection) => {
        await connection.run('INSERT INTO t (n) VALUES (2)')
        throw new Error('enough')
      })
    }
    await expect(work()).rejects.toThrow('enough')
    append.release()
    await primary.checkpoint()
    expect(await column(await openOn(store.view()), 'SELECT n FROM t')).toEqual([1, 2])
  })

  it('hold writers back while too much is not stored', async () => {
    const store = await blankStore()
    const options = { unsavedBytesMax: 50_000, checkpoint: { intervalMs: 1 } }
    const primary = await openOn(store, options)
    await (await primary.run(table)).durable()
    const append = holding(store, 'append')
    const writes = Promise.all(
      Array.from({ length: 40 }, async (_, n) => {
        await primary.run('INSERT INTO t VALUES (?, ?)', [n, 'x'.repeat(3000)])
      }),
    )
    const { go } = await append.held()
    expect(await isSettled(writes)).toBe(false)
    append.release()
    go()
    await writes
    await primary.checkpoint()
    expect((await primary.stats()).unsavedBytes).toBe(0)
  })

  it('of 10,000 writes/s are at most 11 objects/s at 100 ms', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 100 } })
    await (await primary.run(table)).durable()
    const [before, startMs] = [store.logCount, performance.now()]
    let count = 0
    while (performance.now() - startMs < 3000) {
      // 100 writes every 10 ms, or as many as this machine makes.
      const due = startMs + count / 10
      if (due > performance.now())
        await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
      await Promise.all(Array.from({ length: 100 }, () => insert(primary, ++count)))
    }
    await primary.checkpoint()
    const seconds = (performance.now() - startMs) / 1000
    const perSecond = (store.logCount - before) / seconds
    console.log(`objects: ${perSecond.toFixed(1)}/s at ${Math.round(count / seconds)} writes/s`)
    expect(perSecond).toBeLessThanOrEqual(11)
  })
})

describe('a store that fails', () => {
  it.each<[string, () => unknown]>([
    ['cannot be reached', () => storeError()],
    ['throws a mistake of its program', () => new TypeError('undefined is not a store')],
    ['throws what is no error', () => 'away'],
  ])('%s: the log is stored later, and stats() say why', async (_name, failure) => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 1 } })
    let failureCount = 3
    const stats: unknown[] = []
    store.hooks.before = async ({ method }) => {
      if (method !== 'append') return
      stats.push((await primary.stats()).archive)
      if (failureCount-- > 0) throw failure()
    }
    await (await primary.run(table)).durable()
    expect(stats).toHaveLength(4)
    expect(stats[3]).toMatchObject({ failureCount: 3, appendCount: 0, lastError: failure() })
    await primary.checkpoint()
    expect((await primary.stats()).archive).toMatchObject({ failureCount: 3, lastError: undefined })
    expect(store.logCount).toBe(1)
  })

  it('hangs: the attempt is given up, the next one is made, and what comes late does no harm', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 1, timeoutMs: 50 } })
    const append = holding(store, 'append')
    const ack = await primary.run(table)
    const late = await append.held()
    await once(late.call.signal!, 'abort')
    append.release()
    await ack.durable()
    late.go()
    await (await insert(primary, 1)).durable()
    expect((await primary.stats()).archive!.failureCount).toBeGreaterThanOrEqual(1)
    await expectSameBytes(primary, await openOn(store.view()))
  })

  it('loses the answer after it has stored the log: its own log is recognised', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 1 } })
    let isLost = false
    store.hooks.after = ({ method }) => {
      if (method !== 'append' || isLost) return
      isLost = true
      throw storeError('connection reset')
    }
    await (await primary.run(table)).durable()
    expect(isLost).toBe(true)
    expect(store.logCount).toBe(1)
    await (await insert(primary, 1)).durable()
    expect(store.logCount).toBe(2)
  })

  it('does not tell the epoch: the log is not stored again, and not acknowledged before', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: 1 } })
    let failureCount = 2
    const ack = await primary.run(table)
    store.hooks.before = ({ method }) => {
      if (method !== 'currentEpoch' || failureCount-- <= 0) return
      expect(ack.isDurable).toBe(false)
      throw storeError()
    }
    store.calls.length = 0
    await ack.durable()
    expect(store.calls.filter((name) => name === 'append')).toHaveLength(1)
  })

  it('is tried again while writes gather, which go in one log behind', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand })
    let isAway = true
    let tried = deferred()
    store.hooks.before = ({ method }) => {
      if (method !== 'append' || !isAway) return
      tried.resolve()
      throw storeError()
    }
    const acks = [await primary.run(table)]
    const stored = primary.checkpoint()
    await tried.promise
    for (let n = 0; n < 20; n++) acks.push(await insert(primary, n))
    tried = deferred()
    await tried.promise
    isAway = false
    expect(await stored).toBe(acks.at(-1)!.frameNo)
    expect(acks.every((ack) => ack.isDurable)).toBe(true)
    expect(store.logCount).toBe(2)
  })
})

describe('closing', () => {
  it('stores what is left', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand })
    const acks = [await primary.run(table), await insert(primary, 1)]
    await primary.close()
    expect(acks.every((ack) => ack.isDurable)).toBe(true)
    expect(await column(await openOn(store), 'SELECT n FROM t')).toEqual([1])
  })

  it.each([
    ['does not answer', undefined],
    ['fails', storeError()],
  ])('says what a store has not taken that %s', async (_name, failure) => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, closeTimeoutMs: 100 })
    await primary.run(table)
    await primary.checkpoint()
    const saved = primary.savedFrameNo!
    const ack = await insert(primary, 1)
    const durable = expectCode(ack.durable(), 'ERR_CLOSED')
    store.hooks.before = ({ method }) => {
      if (method !== 'append') return
      if (failure !== undefined) throw failure
      return new Promise(() => {})
    }
    const error = await expectCode(primary.close(), 'ERR_SAVE_PENDING')
    expect(error.message).toContain(
      `Frames ${saved + 1} to ${ack.frameNo} are not known to be in ${store.url}`,
    )
    expect(error.cause).toBe(failure)
    await durable
    const callCount = store.calls.length
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(store.calls).toHaveLength(callCount)
  })

  it('interrupts a write that does not end, and stores those before it', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, closeTimeoutMs: 200 })
    await primary.run(table)
    const ack = await insert(primary, 1)
    const endless =
      'WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c) INSERT INTO t (n) SELECT n FROM c'
    const given = [primary.run(endless), insert(primary, 1000)].map((call) => expectCode(call, 'ERR_CLOSED'))
    await primary.close()
    await Promise.all(given)
    expect(ack.isDurable).toBe(true)
    expect(await column(await openOn(store), 'SELECT n FROM t')).toEqual([1])
  })

  it('says that its thread did not answer, in a procedure without end', async () => {
    const store = await blankStore()
    const procedures = new URL('../programs/cancellation-procedures.mjs', import.meta.url)
    const primary = await openOn(store, { checkpoint: onDemand, closeTimeoutMs: 50, procedures })
    const ack = await primary.run(table)
    const looping = expectCode(
      (primary as Primary<typeof import('../programs/cancellation-procedures.mjs')>).call('loop'),
      'ERR_CLOSED',
    )
    const error = await expectCode(primary.close(), 'ERR_SAVE_PENDING')
    expect(error.message).toContain('the thread of the database did not answer')
    await looping
    await expectCode(ack.durable(), 'ERR_CLOSED')
    expect(await column(await openOn(store), 'SELECT count(*) FROM sqlite_schema')).toEqual([0])
  })

  it('ends the threads, and so the process, though the store was closed before', async () => {
    const script = `
      import { FileStore, Primary, Snapshot } from './dist/main/index.js'
      const store = new FileStore(process.argv[1])
      await store.putSnapshot(await Snapshot.blank())
      const primary = await Primary.open({ store, checkpoint: { intervalMs: 5 } })
      await (await primary.run('CREATE TABLE t (n)')).durable()
      await store.close()
      const ack = await primary.run('INSERT INTO t VALUES (1)')
      console.log(await ack.durable().catch(({ code }) => code))
      await primary.close()
      console.log('closed')`
    const args = ['--input-type=module', '-e', script, temporaryFolder()]
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
    expect(stdout).toBe('ERR_CLOSED\nclosed\n')
  })

  it('as a replica: what is left is stored before, and a store that is away leaves it a primary', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, closeTimeoutMs: 50 })
    const ack = await primary.run(table)
    store.hooks.before = ({ method }) => {
      if (method === 'append') throw storeError()
    }
    await expectCode(primary.intoReplica(), 'ERR_UNSAVED_WRITES')
    delete store.hooks.before
    await ack.durable()
    const replica = closedAfterTest(await primary.intoReplica())
    expect(ack.isDurable).toBe(true)
    await expectSameBytes(replica, await openOn(store))
  })
})

describe('snapshots', () => {
  it('go to the store as logs add up', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, snapshot: { everyBytes: 50_000 } })
    await primary.run(table)
    for (let n = 0; (await primary.stats()).archive!.snapshotCount < 2; n++) {
      await primary.run('INSERT INTO t VALUES (?, ?)', [n, 'x'.repeat(3000)])
      await primary.checkpoint()
    }
    await expect.poll(async () => (await primary.stats()).archive!.logBytes).toBeLessThan(50_000)
    const { archive } = await primary.stats()
    expect(archive!.lastSnapshotFrameNo).toBe((await store.snapshots()).at(-1)!.lastFrameNo)
    await primary.close()
    const second = await openOn(store)
    expect((await second.stats()).archive!.logBytes).toBeLessThan(50_000)
    const snapshots = await store.snapshots()
    const logs = await Promise.all((await store.logs()).map((log) => store.readLog(log)))
    for (const stored of snapshots) {
      const snapshot = closedAfterTest(await store.readSnapshot(stored))
      const replica = closedAfterTest(await Replica.open(snapshot, logs))
      await expectSameBytes(replica, second)
    }
  })

  it('hold nothing that is not stored as logs before', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, snapshot: { everyBytes: 1 } })
    await primary.run(table)
    const put = holding(store, 'putSnapshot')
    const stored = primary.checkpoint()
    const append = holding(store, 'append', 'after')
    const [first] = await Promise.all([append.held()])
    first.go()
    await stored
    // The snapshot is being made; this write may be in it.
    const ack = await insert(primary, 1)
    const next = await append.held()
    expect(put.waiting).toEqual([])
    append.release()
    next.go()
    const { go, call } = await put.held()
    expect(call.method).toBe('putSnapshot')
    expect(ack.isDurable).toBe(true)
    put.release()
    go()
    await expect.poll(async () => (await primary.stats()).archive!.snapshotCount).toBeGreaterThan(0)
  })

  it('that cannot be stored are told in stats() and tried again; logs go on', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: onDemand, snapshot: { everyBytes: 1 } })
    store.hooks.before = ({ method }) => {
      if (method === 'putSnapshot') throw storeError('no room for snapshots')
    }
    await primary.run(table)
    await primary.checkpoint()
    await expect
      .poll(async () => (await primary.stats()).archive!.lastSnapshotError)
      .toBeInstanceOf(MylibsqlError)
    expect((await primary.stats()).archive!.snapshotCount).toBe(0)
    delete store.hooks.before
    await insert(primary, 1)
    await primary.checkpoint()
    await expect
      .poll(async () => (await primary.stats()).archive)
      .toMatchObject({
        lastSnapshotError: undefined,
        lastSnapshotFrameNo: primary.savedFrameNo,
        lastError: undefined,
      })
  })
})

it('traces every attempt on mylibsql.archive', async () => {
  const events: [string, object][] = []
  const note = (event: string) => (message: object) => void events.push([event, { ...message }])
  const subscribers = {
    start: note('start'),
    end: () => {},
    asyncStart: () => {},
    asyncEnd: note('end'),
    error: note('error'),
  }
  const channel = tracingChannel('mylibsql.archive')
  const store = await blankStore()
  const primary = await openOn(store, { checkpoint: onDemand })
  let failureCount = 1
  store.hooks.before = ({ method }) => {
    if (method === 'append' && failureCount-- > 0) throw storeError()
  }
  channel.subscribe(subscribers)
  const { frameNo } = await primary.run(table)
  await primary.checkpoint()
  channel.unsubscribe(subscribers)
  expect(events.map(([name]) => name)).toEqual(['start', 'error', 'end', 'start', 'end'])
  expect(events[0]![1]).toMatchObject({
    operation: 'append',
    url: store.url,
    epoch: 1,
    path: primary.path,
    lastFrameNo: frameNo,
  })
  expect(events[1]![1]).toMatchObject({ error: { code: 'ERR_STORE' } })
})

it('has no archive in the stats of a primary without a store', async () => {
  const primary = closedAfterTest(await Primary.open(await Snapshot.blank()))
  expect((await primary.stats()).archive).toBeUndefined()
  const log: Log[] = []
  await primary.run(table)
  await primary.checkpoint((sealed) => void log.push(sealed))
  expect(log[0]!.epoch).toBe(0)
  expect((await rejection(primary.checkpoint())).message).toBe('saveLog must be a function, got undefined')
})
