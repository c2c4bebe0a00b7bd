// What comes from a store when nobody waits for it any more leaves no file behind.
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FileStore, init, restore, type Snapshot } from 'mylibsql'
import { beforeAll, expect, it } from 'vitest'
import { ControlledStore } from '../support/controlled-store.js'
import { closedAfterTest } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'

let snapshot: Snapshot
let temporaryFiles: () => string[]

beforeAll(async () => {
  ;({ snapshot } = await init('CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(3000000))'))
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
