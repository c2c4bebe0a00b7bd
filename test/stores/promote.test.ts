// Failover: a replica that follows a store takes it over, and what the primary before was acknowledged is all there.
import { Primary, Replica, Snapshot } from 'mylibsql'
import { expect, it } from 'vitest'
import { blankStore, column, never, openOn } from '../support/archived.js'
import { storeError } from '../support/controlled-store.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { expectCode, rejection } from '../support/errors.js'

type Procedures = typeof import('../support/procedures.mjs')

const table = 'CREATE TABLE t (n INTEGER PRIMARY KEY)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO t (n) VALUES (?)', [n])
const numbers = (database: Primary | Replica) => column(database, 'SELECT n FROM t ORDER BY n')
const onDemand = { checkpoint: { intervalMs: never, fenceCheckMs: never } }

/** A primary, and a replica on another connection that follows its store. */
async function openPair() {
  const store = await blankStore()
  const primary = await openOn(store, onDemand)
  await primary.run(table)
  await primary.checkpoint()
  const view = closedAfterTest(store.view())
  const replica = closedAfterTest(await Replica.follow(view, { readers: 1 }))
  return { store, primary, view, replica }
}

it('takes over: acknowledged writes are there, unacknowledged ones are ERR_FENCED', async () => {
  const { store, primary, replica } = await openPair()
  await insert(primary, 1)
  await primary.checkpoint()
  const unsaved = await insert(primary, 2)
  const promoted = closedAfterTest(
    await replica.promote({ checkpoint: { intervalMs: 1, fenceCheckMs: never } }),
  )
  expect(await numbers(promoted)).toEqual([1])
  expect((await promoted.stats()).archive).toMatchObject({ url: store.url, epoch: 2 })
  await (await insert(promoted, 3)).durable()
  await expectCode(primary.checkpoint(), 'ERR_FENCED')
  await expectCode(unsaved.durable(), 'ERR_FENCED')
  await expectCode(replica.get('SELECT 1'), 'ERR_CLOSED')

  const loser = closedAfterTest(await primary.intoReplica())
  expect(await numbers(loser)).toEqual([1, 3])
  await expectSameBytes(loser, promoted)
  const ack = await insert(promoted, 4)
  await ack.durable()
  await loser.waitFor(ack.frameNo)
  await expectSameBytes(loser, promoted)

  const again = closedAfterTest(await loser.promote())
  expect(await numbers(again)).toEqual([1, 3, 4])
  expect((await again.stats()).archive).toMatchObject({ epoch: 3 })
})

it('has the procedures and limits that it was opened with, also after another took it over', async () => {
  const { primary, view } = await openPair()
  const procedures = new URL('../support/procedures.mjs', import.meta.url)
  const options = { procedures, unsavedBytesMax: 1 }
  const replica = closedAfterTest(await Replica.follow<Procedures>(view, options))
  const promoted = closedAfterTest(
    await replica.promote({ checkpoint: { intervalMs: 1, fenceCheckMs: never } }),
  )
  await (await promoted.call('run', 'INSERT INTO t VALUES (1)')).durable()
  await insert(primary, 7)
  await expectCode(primary.checkpoint(), 'ERR_FENCED')

  const other = closedAfterTest(await primary.intoReplica())
  const winner = closedAfterTest(await other.promote(onDemand))
  await insert(winner, 6)
  await winner.checkpoint()
  await insert(promoted, 8)
  await expectCode(promoted.checkpoint(), 'ERR_FENCED')
  const again = closedAfterTest(await (await promoted.intoReplica()).promote(onDemand))
  await again.call('run', 'INSERT INTO t VALUES (2)')
  await again.checkpoint()
  await insert(winner, 9)
  await expectCode(winner.checkpoint(), 'ERR_FENCED')
  expect(await numbers(again)).toEqual([1, 2, 6])
  await insert(again, 5)
  const held = rejection(again.run('INSERT INTO t VALUES (3)', [], { timeoutMs: 50 }))
  expect(await held).toMatchObject({ code: 'ERR_TIMEOUT' })
  await again.checkpoint()
  await insert(again, 4)
  expect(await numbers(again)).toEqual([1, 2, 4, 5, 6])
})

it('says that procedures cannot be imported when the replica is opened', async () => {
  const { view } = await openPair()
  const procedures = new URL('../support/missing.mjs', import.meta.url)
  await expectCode(Replica.follow(view, { procedures }), 'ERR_PROCEDURE')
})

it('applies what comes between its claim and its first look', async () => {
  const { primary, view, replica } = await openPair()
  const [claimed, goOn] = [deferred(), deferred()]
  view.hooks.after = async ({ method }) => {
    if (method !== 'claimEpoch') return
    claimed.resolve()
    await goOn.promise
  }
  const promoting = replica.promote(onDemand)
  await claimed.promise
  const ack = await insert(primary, 1)
  await expectCode(primary.checkpoint(), 'ERR_FENCED')
  expect(ack.isDurable).toBe(false)
  goOn.resolve()
  const promoted = closedAfterTest(await promoting)
  // It was not acknowledged, and is in the history all the same when it was stored in time.
  expect(await numbers(promoted)).toEqual((await numbersIn(view)) as number[])
  await insert(promoted, 2)
  await promoted.checkpoint()
  expect(await numbersIn(view)).toEqual(await numbers(promoted))
})

it('goes on following when the store fails meanwhile, and can be promoted later', async () => {
  const { primary, view, replica } = await openPair()
  let isAway = true
  view.hooks.before = ({ method }) => {
    if (method === 'logs' && isAway) throw storeError()
  }
  await expectCode(replica.promote(), 'ERR_STORE')
  isAway = false
  const successor = closedAfterTest(await Primary.open({ store: view.view(), ...onDemand }))
  const ack = await insert(successor, 1)
  await successor.checkpoint()
  await replica.waitFor(ack.frameNo)
  await expectCode(
    insert(primary, 2).then(() => primary.checkpoint()),
    'ERR_FENCED',
  )
  const promoted = closedAfterTest(await replica.promote())
  expect(await numbers(promoted)).toEqual([1])
})

it('is one promotion however often it is asked for at once', async () => {
  const { store, replica } = await openPair()
  const both = await Promise.all([replica.promote(), replica.promote()])
  closedAfterTest(both[0])
  expect(both[0]).toBe(both[1])
  expect(store.holders).toHaveLength(2)
  await expectCode(replica.promote(), 'ERR_CLOSED')
})

it('is refused to a replica that follows no store, and with wrong options', async () => {
  const alone = closedAfterTest(await Replica.open(await Snapshot.blank()))
  const error = await expectCode(alone.promote(), 'ERR_REFUSED')
  expect(error.message).toContain('Replica.follow')
  const { store, replica } = await openPair()
  const wrong = await rejection(replica.promote({ checkpoints: {} } as never))
  expect(wrong.message).toBe('Unknown option "checkpoints" of promote; did you mean "checkpoint"?')
  expect(store.holders).toHaveLength(1)
})

/** What a primary that is opened now would find, read without an epoch of its own. */
async function numbersIn(store: Parameters<typeof Replica.follow>[0]): Promise<unknown[]> {
  const replica = await Replica.follow(store)
  const found = await numbers(replica)
  await replica.close()
  return found
}
