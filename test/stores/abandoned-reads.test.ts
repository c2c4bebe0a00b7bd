// What comes from a store when nobody waits for it any more, or turns out to be of no use, leaves no file behind.
import { existsSync, readdirSync, truncateSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FileStore, init, type Log, Primary, prune, restore, type Snapshot } from 'mylibsql'
import { beforeAll, describe, expect, it } from 'vitest'
import { ControlledStore } from '../support/controlled-store.js'
import { closedAfterTest } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

let snapshot: Snapshot
let temporaryFiles: () => string[]

beforeAll(async () => {
  const made = await init('CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(3000000))')
  await made.log.close()
  snapshot = made.snapshot
  temporaryFiles = () => readdirSync(dirname(snapshot.path)).sort()
})

it('a snapshot of a FileStore', async () => {
  const store = closedAfterTest(new FileStore(temporaryFolder()))
  const stored = await store.putSnapshot(snapshot)
  const before = temporaryFiles()
  const controller = new AbortController()
  // The last bytes were read: nothing that heeds the signal is left to do.
  const onProgress = (byteCount: number) => {
    if (byteCount === stored.byteLength) controller.abort(new Error('enough'))
  }
  const reading = store.readSnapshot(stored, { signal: controller.signal, onProgress })
  expect((await rejection(reading)).message).toBe('enough')
  await expect.poll(temporaryFiles).toEqual(before)
})

it('a snapshot that a store hands over after restore() was given up', async () => {
  const store = closedAfterTest(new ControlledStore())
  await store.putSnapshot(snapshot)
  const controller = new AbortController()
  const { promise: held, resolve: goOn } = deferred()
  let came: Snapshot | undefined
  const readSnapshot = store.readSnapshot.bind(store)
  store.readSnapshot = async (...parameters) => {
    came = await readSnapshot(...parameters)
    controller.abort(new Error('enough'))
    await held
    return came
  }
  const target = join(temporaryFolder(), 'restored.db')
  const restored = rejection(restore(store, target, { signal: controller.signal }))
  await expect.poll(() => controller.signal.aborted).toBe(true)
  expect(existsSync(came!.path)).toBe(true)
  goOn()
  expect((await restored).message).toBe('enough')
  await expect.poll(() => existsSync(came!.path)).toBe(false)
})

describe('a log whose temporary file is cut short when it has been read', () => {
  /** A log of two transactions and one behind it; `cutShort`: which read of a log. */
  async function open(cutShort: number) {
    const store = closedAfterTest(new FileStore(temporaryFolder(), { compression: 'deflate' }))
    await store.putSnapshot(snapshot)
    const epoch = await store.claimEpoch('test')
    const primary = await Primary.open(snapshot)
    const write = 'INSERT INTO t VALUES (randomblob(3000000))'
    const { frameNo } = await primary.run(write)
    const middle = closedAfterTest(await primary.snapshot(join(temporaryFolder(), 'middle.db')))
    for (let count = 0; count < 2; count++) {
      await primary.run(write)
      await primary.checkpoint(async (log) => {
        await store.append(log, epoch)
        await log.close()
      })
    }
    await primary.close()
    const readLog = store.readLog.bind(store)
    let readCount = 0
    store.readLog = async (...parameters) => {
      const log = await readLog(...parameters)
      readCount += 1
      if (readCount === cutShort) truncateSync(pathOf(log), 2_000_000)
      return log
    }
    const wasCut = () => readCount >= cutShort
    return { store, middle, frameNo: frameNo!, before: temporaryFiles(), wasCut }
  }
  const pathOf = (log: Log) => (log as unknown as { file: { location: { path: string } } }).file.location.path

  it('and is to be restored in part', async () => {
    const { store, frameNo, before } = await open(1)
    await expectCode(
      restore(store, join(temporaryFolder(), 'restored.db'), { at: frameNo + 3 }),
      'ERR_CORRUPT',
    )
    expect(temporaryFiles()).toEqual(before)
  })

  it('and is to be given a boundary', async () => {
    const { store, middle, before, wasCut } = await open(2)
    await store.putSnapshot(middle)
    expect((await prune(store, { keepMs: 0, keepSnapshots: 1 })).logCount).toBe(0)
    expect(wasCut()).toBe(true)
    expect(temporaryFiles()).toEqual(before)
  })
})
