// What a primary does to its store by itself: merging, pruning, snapshots by time.
import { type ArchivedPrimaryOptions, FileStore, Primary, Replica, Snapshot } from 'mylibsql'
import { expect, it, vi } from 'vitest'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

const waiting = { timeout: 20_000, interval: 20 }

async function open(
  options: Omit<ArchivedPrimaryOptions, 'store'>,
  folder = temporaryFolder(),
): Promise<{ store: FileStore; primary: Primary }> {
  const store = closedAfterTest(new FileStore(folder))
  if ((await store.snapshots()).length === 0) await store.putSnapshot(await Snapshot.blank())
  const primary = closedAfterTest(await Primary.open({ store, checkpoint: { intervalMs: 5 }, ...options }))
  await primary.run('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT)')
  return { store, primary }
}

async function write(primary: Primary, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const ack = await primary.run('INSERT OR REPLACE INTO t VALUES (?, ?)', [index % 3, 'x'.repeat(500)])
    await ack.durable()
  }
}

async function expectFollowed(store: FileStore, primary: Primary): Promise<void> {
  const replica = closedAfterTest(await Replica.follow(store))
  await replica.waitFor(primary.lastFrameNo!)
  await expectSameBytes(replica, primary)
}

it('merges logs, while they are written and followed', async () => {
  const { store, primary } = await open({ compaction: { everyMs: 20, keepMs: 0, spanMs: 1000 } })
  const replica = closedAfterTest(await Replica.follow(store))
  await write(primary, 60)
  // Until some are merged: those of a span, once it is over.
  while ((await store.logs()).length === (await primary.stats()).archive!.appendCount) await write(primary, 1)
  await vi.waitFor(async () => {
    const { archive } = await primary.stats()
    expect(archive!.lastMaintenanceError).toBe(undefined)
    expect(archive!.appendCount).toBeGreaterThan(50)
    expect((await store.logs()).length).toBeLessThan(archive!.appendCount / 2)
  }, waiting)
  await write(primary, 3)
  await replica.waitFor(primary.lastFrameNo!)
  await expectSameBytes(replica, primary)
  await expectFollowed(store, primary)
})

it('prunes, and stores snapshots by time: only when something was written', async () => {
  const { store, primary } = await open({
    snapshot: { everyMs: 30 },
    retention: { everyMs: 20, keepMs: 0, keepSnapshots: 1 },
  })
  for (let round = 0; round < 3; round++) {
    await write(primary, 3)
    await vi.waitFor(async () => {
      const { archive } = await primary.stats()
      expect(archive!.lastSnapshotFrameNo).toBe(primary.lastFrameNo)
    }, waiting)
  }
  const isPruned = async () => {
    expect(await store.snapshots()).toHaveLength(1)
    expect(await store.logs()).toHaveLength(1)
    // Otherwise there is one more snapshot: of a log that was stored while the last one was made.
    expect((await primary.stats()).archive!.logBytes).toBe(0)
  }
  await vi.waitFor(isPruned, waiting)
  const { snapshotCount, pruneCount } = (await primary.stats()).archive!
  await vi.waitFor(async () => {
    expect((await primary.stats()).archive!.pruneCount).toBeGreaterThan(pruneCount + 5)
  }, waiting)
  expect((await primary.stats()).archive!.snapshotCount).toBe(snapshotCount)
  await expectFollowed(store, primary)
})

it('tells failures, and archives on; stops with the primary', async () => {
  const { store, primary } = await open({ compaction: { everyMs: 10, keepMs: 0, spanMs: 1000 } })
  const failure = new Error('no')
  store.replaceLog = () => Promise.reject(failure)
  await write(primary, 20)
  await vi.waitFor(async () => {
    await write(primary, 1)
    expect((await primary.stats()).archive!.lastMaintenanceError).toBe(failure)
  }, waiting)
  Reflect.deleteProperty(store, 'replaceLog')
  await vi.waitFor(async () => {
    await write(primary, 1)
    expect((await primary.stats()).archive!.lastMaintenanceError).toBe(undefined)
  }, waiting)
  await primary.close()
  const listed = vi.spyOn(store, 'logs')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(listed).not.toHaveBeenCalled()
  await store.snapshots()
})

it('does not end when the primary is fenced, and does nothing unless it is told to', async () => {
  const folder = temporaryFolder()
  const { primary, store } = await open({ compaction: { everyMs: 10, keepMs: 0, spanMs: 20 } }, folder)
  await write(primary, 5)
  const { primary: newer } = await open({}, folder)
  await write(newer, 5)
  await expect(primary.run('DELETE FROM t').then((ack) => ack.durable())).rejects.toMatchObject({
    code: 'ERR_FENCED',
  })
  // What the fenced one had asked the store for may still be done: the logs behind are none of it.
  const before = newer.lastFrameNo!
  await write(newer, 5)
  const behind = (await store.logs()).filter(({ startFrameNo }) => startFrameNo > before)
  expect(behind).toHaveLength(5)
  const { compactCount, pruneCount, lastMaintenanceError } = (await newer.stats()).archive!
  expect({ compactCount, pruneCount, lastMaintenanceError }).toEqual({
    compactCount: 0,
    pruneCount: 0,
    lastMaintenanceError: undefined,
  })
  await expectFollowed(store, newer)
})

it('refuses options that it does not know', async () => {
  const store = new FileStore(temporaryFolder())
  const options = [
    { compaction: { spanMs: 0 } },
    { retention: { keepSnapshots: 0 } },
    { retention: {} },
    { retention: { everyMs: 1000 } },
    { compaction: { signal: 1 } },
  ]
  for (const wrong of options)
    expect(await rejection(Primary.open({ store, ...(wrong as object) }))).toBeInstanceOf(TypeError)
})
