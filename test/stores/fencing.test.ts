// Two primaries on one store: whichever way their calls interleave, only one of them is acknowledged.
import { join } from 'node:path'
import { Primary, type Replica } from 'mylibsql'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { blankStore, column, never, openOn } from '../support/archived.js'
import {
  type ControlledStore,
  type StoreCall,
  type StoreMethod,
  storeError,
} from '../support/controlled-store.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

const table = 'CREATE TABLE t (n INTEGER PRIMARY KEY)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO t (n) VALUES (?)', [n])
const numbers = (database: Primary | Replica) => column(database, 'SELECT n FROM t ORDER BY n')
const onDemand = { checkpoint: { intervalMs: never, fenceCheckMs: never } }

/** Holds the next call of a method until the test lets it go on. */
function hold(store: ControlledStore, method: StoreMethod, moment: 'before' | 'after') {
  const [arrived, released] = [deferred<StoreCall>(), deferred()]
  store.hooks[moment] = async (call) => {
    if (call.method !== method) return
    delete store.hooks[moment]
    arrived.resolve(call)
    await released.promise
  }
  return { arrived: arrived.promise, release: released.resolve }
}

/** A store with a table in its history, and a primary on it. */
async function openOld() {
  const store = await blankStore()
  const old = await openOn(store, onDemand)
  await old.run(table)
  await old.checkpoint()
  return { store, old }
}

/** What a primary that is opened now finds, and nobody else. */
async function inHistory(store: ControlledStore): Promise<unknown[]> {
  const primary = await Primary.open({ store: store.view() })
  const found = await numbers(primary)
  await primary.close()
  return found
}

describe('a primary that was paused while it opened', () => {
  it.each(['before', 'after'] as const)(
    'is fenced %s it has listed the logs of a newer one',
    async (moment) => {
      const { store, old } = await openOld()
      await old.close()
      const paused = store.view()
      const held = hold(paused, 'logs', moment)
      const opening = expectCode(Primary.open({ store: paused, ...onDemand }), 'ERR_FENCED')
      await held.arrived
      const young = await openOn(store.view(), onDemand)
      await insert(young, 1)
      await young.checkpoint()
      held.release()
      expect((await opening).message).toContain('The primary of epoch 3 has taken over')
      const ack = await insert(young, 2)
      await young.checkpoint()
      expect(ack.isDurable).toBe(true)
      expect(await inHistory(store)).toEqual([1, 2])
    },
  )
})

describe('a newer primary', () => {
  it('fences the older one: unsaved writes and later calls are ERR_FENCED, and nothing is stored any more', async () => {
    const { store, old } = await openOld()
    const saved = await insert(old, 1)
    await old.checkpoint()
    const unsaved = await insert(old, 2)
    const frames = old.captureFrames()
    const young = await openOn(store.view(), onDemand)
    await insert(young, 4)
    await young.checkpoint()
    const lost = expectCode(unsaved.durable(), 'ERR_FENCED')
    const error = await expectCode(old.checkpoint(), 'ERR_FENCED')
    expect(error.message).toContain(`epoch 2 has taken over ${store.url}`)
    await lost
    await saved.durable()
    await expectCode(insert(old, 3), 'ERR_FENCED')
    await expectCode(old.get('SELECT 1'), 'ERR_FENCED')
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    await expectCode(old.snapshot('never.db'), 'ERR_FENCED')
    await expectCode(frames.next(), 'ERR_FENCED')
    expect((await old.stats()).archive).toMatchObject({ epoch: 1, lastError: { code: 'ERR_FENCED' } })
    const callCount = store.calls.length
    await old.close()
    expect(store.calls).toHaveLength(callCount)
    expect(await inHistory(store)).toEqual([1, 4])
  })

  it('is seen before the older one stores anything when that was paused for long', async () => {
    const { store, old } = await openOld()
    await insert(old, 1)
    const young = await openOn(store.view(), onDemand)
    const { now } = performance
    vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 60_000)
    onTestFinished(() => void vi.restoreAllMocks())
    store.calls.length = 0
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    expect(store.calls).toEqual(['currentEpoch'])
    const ack = await insert(young, 2)
    await young.checkpoint()
    expect(ack.isDurable).toBe(true)
    expect(await inHistory(store)).toEqual([2])
  })

  it('is told of while the older one has nothing to store', async () => {
    const { store, old } = await openOld()
    const young = await openOn(store.view(), onDemand)
    expect(await old.checkpoint()).toBeUndefined()
    await (await insert(young, 1)).peek()
    await young.checkpoint()
    const ack = await insert(old, 2)
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    await expectCode(ack.durable(), 'ERR_FENCED')
    expect(await inHistory(store)).toEqual([1])
  })

  it('that comes between append and acknowledgement has the write, and the older one is not acknowledged', async () => {
    const { store, old } = await openOld()
    const ack = await insert(old, 1)
    const { arrived, release } = hold(store, 'append', 'after')
    const stored = expectCode(old.checkpoint(), 'ERR_FENCED')
    await arrived
    const young = await openOn(store.view(), onDemand)
    expect(await numbers(young)).toEqual([1])
    release()
    await stored
    await expectCode(ack.durable(), 'ERR_FENCED')
    const next = await insert(young, 2)
    await young.checkpoint()
    expect(next.isDurable).toBe(true)
    expect(await inHistory(store)).toEqual([1, 2])
  })

  it('that comes after the epoch was looked at begins behind the write, which is acknowledged', async () => {
    const { store, old } = await openOld()
    const ack = await insert(old, 1)
    const appended = hold(store, 'append', 'after')
    const stored = old.checkpoint()
    await appended.arrived
    // The look after the append: there is one before it too, when the last one was long ago.
    const { arrived, release } = hold(store, 'currentEpoch', 'after')
    appended.release()
    await arrived
    const young = await openOn(store.view(), onDemand)
    release()
    await stored
    expect(ack.isDurable).toBe(true)
    expect(await numbers(young)).toEqual([1])
  })

  it('that has its epoch but has not looked at the history finds what comes until then', async () => {
    const { store, old } = await openOld()
    const late = hold(store, 'append', 'before')
    const ack = await insert(old, 1)
    const stored = expectCode(old.checkpoint(), 'ERR_FENCED')
    await late.arrived
    const view = store.view()
    const { arrived, release } = hold(view, 'claimEpoch', 'after')
    const opening = openOn(view, onDemand)
    await arrived
    late.release()
    await stored
    await expectCode(ack.durable(), 'ERR_FENCED')
    release()
    const young = await opening
    expect(await numbers(young)).toEqual([1])
    await insert(young, 2)
    await young.checkpoint()
    expect(await inHistory(store)).toEqual([1, 2])
  })

  it('that has stored first refuses the late log', async () => {
    const { store, old } = await openOld()
    const ack = await insert(old, 1)
    const { arrived, release } = hold(store, 'append', 'before')
    const stored = expectCode(old.checkpoint(), 'ERR_FENCED')
    await arrived
    const young = await openOn(store.view(), onDemand)
    const winner = await insert(young, 2)
    await young.checkpoint()
    release()
    await stored
    await expectCode(ack.durable(), 'ERR_FENCED')
    expect(winner.isDurable).toBe(true)
    expect(await inHistory(store)).toEqual([2])
  })

  it("that finds an older one's late log where its own should be gives up its own, and is opened again", async () => {
    const { store, old } = await openOld()
    const late = await insert(old, 1)
    const { arrived, release } = hold(store, 'append', 'before')
    const stored = expectCode(old.checkpoint(), 'ERR_FENCED')
    await arrived
    const view = store.view()
    const young = await openOn(view, onDemand)
    release()
    await stored
    await expectCode(late.durable(), 'ERR_FENCED')
    const given = await insert(young, 2)
    const error = await expectCode(young.checkpoint(), 'ERR_FENCED')
    expect(error.message).toContain('open it again')
    await expectCode(given.durable(), 'ERR_FENCED')
    await young.close()
    const again = await openOn(view, onDemand)
    expect(await numbers(again)).toEqual([1])
    await insert(again, 3)
    await again.checkpoint()
    expect(await inHistory(store)).toEqual([1, 3])
  })
})

describe('a primary that has nothing to store', () => {
  const checkpoint = { intervalMs: never, fenceCheckMs: 10 }
  const looks = (store: ControlledStore) => store.calls.filter((call) => call === 'currentEpoch').length
  const eventually = (read: () => unknown) => expect.poll(read, { timeout: 30_000, interval: 5 })
  const archive = async (primary: Primary) => (await primary.stats()).archive!

  it('learns of a newer one by itself, and answers no reads any more', async () => {
    const store = await blankStore()
    const old = await openOn(store, { checkpoint })
    await (await old.run(table)).peek()
    await old.checkpoint()
    await eventually(() => looks(store)).toBeGreaterThan(3)
    expect(await numbers(old)).toEqual([])
    const unsaved = await insert(old, 1)
    await openOn(store.view(), onDemand)
    const error = await expectCode(unsaved.durable(), 'ERR_FENCED')
    expect(error.message).toContain(`epoch 2 has taken over ${store.url}`)
    await expectCode(numbers(old), 'ERR_FENCED')
    expect(await archive(old)).toMatchObject({ epoch: 1, lastError: { code: 'ERR_FENCED' } })
    const callCount = store.calls.length
    const replica = closedAfterTest(await old.intoReplica())
    expect(await numbers(replica)).toEqual([])
    expect(store.calls.slice(callCount)).not.toContain('append')
  })

  it('goes on while it cannot ask, and counts that', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint })
    await eventually(() => looks(store)).toBeGreaterThan(1)
    expect(await archive(primary)).toMatchObject({
      fenceCheckFailureCount: 0,
      lastFenceCheckError: undefined,
    })
    store.hooks.before = ({ method }) => {
      if (method === 'currentEpoch') throw storeError()
    }
    await eventually(async () => (await archive(primary)).fenceCheckFailureCount).toBeGreaterThan(2)
    const stats = await archive(primary)
    expect(stats).toMatchObject({ lastFenceCheckError: { code: 'ERR_STORE' }, failureCount: 0 })
    expect(stats.epochAgeMs).toBeGreaterThan(10)
    await primary.run(table)
    delete store.hooks.before
    await eventually(async () => (await archive(primary)).lastFenceCheckError).toBeUndefined()
    expect(await numbers(primary)).toEqual([])
  })

  it('gives up a store that does not answer, and asks again', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { ...checkpoint, timeoutMs: 20 } })
    const { arrived, release } = hold(store, 'currentEpoch', 'before')
    const { signal } = await arrived
    await eventually(async () => (await archive(primary)).fenceCheckFailureCount).toBe(1)
    expect(signal!.aborted).toBe(true)
    await eventually(async () => (await archive(primary)).lastFenceCheckError).toBeUndefined()
    release()
  })

  it('does not ask when it must not, nor after its end', async () => {
    const [silent, asked] = [await blankStore(), await blankStore()]
    await openOn(silent, { checkpoint: { ...checkpoint, fenceCheckMs: Number.POSITIVE_INFINITY } })
    const ended = await openOn(asked, { checkpoint })
    await eventually(() => looks(asked)).toBeGreaterThan(3)
    await ended.close()
    const [lookCount, other] = [looks(asked), await blankStore()]
    await openOn(other, { checkpoint })
    await eventually(() => looks(other)).toBeGreaterThan(5)
    // The one look of opening.
    expect([looks(silent), looks(asked)]).toEqual([1, lookCount])
  })

  it('does not ask while logs are stored all the time', async () => {
    const store = await blankStore()
    const primary = await openOn(store, { checkpoint: { intervalMs: never, fenceCheckMs: 60_000 } })
    await primary.run(table)
    await primary.checkpoint()
    expect((await archive(primary)).epochAgeMs).toBeLessThan(60_000)
    expect(store.calls.slice(store.calls.indexOf('append'))).toEqual(['append', 'currentEpoch'])
    // That look, and the one of opening; one more before the append when that was long ago.
    expect(looks(store)).toBeLessThanOrEqual(3)
  })
})

describe('a fenced primary', () => {
  it('becomes a replica of the winner: what it had not saved is gone', async () => {
    const { store, old } = await openOld()
    await insert(old, 1)
    await old.checkpoint()
    const young = await openOn(store.view(), onDemand)
    await insert(young, 2)
    await young.checkpoint()
    const path = old.path
    await insert(old, 3)
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    const replica = closedAfterTest(await old.intoReplica())
    expect(await numbers(replica)).toEqual([1, 2])
    await expectSameBytes(replica, young)
    expect(replica.path).not.toBe(path)
    await expectCode(insert(old, 4), 'ERR_FENCED')
  })

  it('keeps its working file, which is rebuilt', async () => {
    const store = await blankStore()
    const path = join(temporaryFolder(), 'work.db')
    const old = await openOn(store, { ...onDemand, path })
    await old.run(table)
    await old.checkpoint()
    const young = await openOn(store.view(), onDemand)
    await insert(young, 1)
    await young.checkpoint()
    await insert(old, 2)
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    const replica = closedAfterTest(await old.intoReplica())
    expect(replica.path).toBe(path)
    expect(await numbers(replica)).toEqual([1])
  })

  it('never stores a snapshot of what it had not saved', async () => {
    const store = await blankStore()
    store.calls.length = 0
    const old = await openOn(store, { ...onDemand, snapshot: { everyBytes: 1 } })
    await old.run(table)
    // Its snapshot waits for the log of the write that is in it.
    const appended = hold(store, 'append', 'after')
    const stored = old.checkpoint()
    await appended.arrived
    const late = hold(store, 'append', 'before')
    await insert(old, 1)
    appended.release()
    await stored
    await late.arrived
    const young = await openOn(store.view(), onDemand)
    await insert(young, 2)
    await young.checkpoint()
    late.release()
    await expectCode(old.checkpoint(), 'ERR_FENCED')
    await old.close()
    expect(store.calls).not.toContain('putSnapshot')
    expect(await inHistory(store)).toEqual([2])
  })

  it('closes, and whoever was waiting for close() to save is told', async () => {
    const { store, old } = await openOld()
    await openOn(store.view(), onDemand)
    const ack = await insert(old, 1)
    const lost = expectCode(ack.durable(), 'ERR_FENCED')
    await expectCode(old.close(), 'ERR_FENCED')
    await lost
    await old.close().catch(() => {})
    await expectCode(insert(old, 2), 'ERR_CLOSED')
  })
})
