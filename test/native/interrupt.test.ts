import { on } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { loadAddon, native, openDatabase, Pair, temporaryDirectory, thrownBy } from './addon.js'

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))

function start(script: string, workerData: object): Worker {
  const worker = new Worker(new URL(script, import.meta.url), { workerData: { packageRoot, ...workerData } })
  onTestFinished(() => void worker.terminate())
  return worker
}

/** Messages of a worker one by one, none lost. */
function messagesOf(worker: Worker): () => Promise<unknown> {
  const messages = on(worker, 'message')
  return async () => (await messages.next()).value[0]
}

test('a query without end, on another thread', async () => {
  const rounds = 3
  const next = messagesOf(start('./endless-query.mjs', { mode: 'run', rounds }))
  const { id } = (await next()) as { id: number }
  for (let round = 0; round < rounds; round++) {
    let isRunning = true
    const ended = next().finally(() => (isRunning = false))
    while (isRunning) {
      native.interrupt(id) // again, because the query may not have begun
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(await ended).toEqual({ code: 'SQLITE_INTERRUPT' })
  }
  // The connection goes on, and closes.
  expect(await next()).toEqual({ sum: 2 })
  expect(native.interrupt(id)).toBe(false)
})

test('connections that close meanwhile', async () => {
  const rounds = 300
  // The number of the connection; of each interrupter how often it met one, and one that was gone.
  const ids = new SharedArrayBuffer(5 * 4)
  const shared = new Int32Array(ids)
  const interrupters = [1, 3].map((countsAt) => messagesOf(start('./interrupter.mjs', { ids, countsAt })))
  const closing = { mode: 'close', rounds, roundsMax: 100 * rounds, ids }
  const next = messagesOf(start('./endless-query.mjs', closing))
  const { codes } = (await next()) as { codes: string[] }
  Atomics.store(shared, 0, -1)
  expect(codes.length).toBeGreaterThanOrEqual(rounds)
  expect(codes.filter((code) => code !== 'SQLITE_INTERRUPT')).toEqual([])
  for (const ended of interrupters) expect(await ended()).toBe('ended')
  expect([...shared.subarray(1)].map((count) => count > 0)).toEqual([true, true, true, true])
})

test('of a call that was given up: only of the connection that runs it, and only while it does', async () => {
  const next = messagesOf(start('./endless-query.mjs', { mode: 'run', rounds: 1 }))
  const { id } = (await next()) as { id: number }
  const [running, interrupted] = [3, 4]
  const words = new Uint32Array(new SharedArrayBuffer(4 * 4))
  words.set([running, id], 2)
  expect(native.interruptCall(words, 2)).toBe(false)
  words[2] = interrupted
  native.endCall(words, 2)
  expect(native.interruptCall(words, 2)).toBe(false)
  words[3] = id
  let isRunning = true
  const ended = next().finally(() => (isRunning = false))
  while (isRunning) {
    expect(native.interruptCall(words, 2)).toBe(true)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  expect(await ended).toEqual({ code: 'SQLITE_INTERRUPT' })
  for (const call of [native.interruptCall, native.endCall]) {
    const error = thrownBy(() => call(words, 3))
    expect(error.message).toContain('words')
  }
})

test('every connection has a number of its own, and it is gone when the connection is closed', () => {
  const directory = temporaryDirectory()
  const first = openDatabase(join(directory, 'first.db'))
  const firstId = native.connectionId()
  const second = openDatabase(join(directory, 'second.db'))
  const secondId = native.connectionId()
  expect(firstId).toBeGreaterThan(0)
  expect(secondId).toBeGreaterThan(firstId)
  loadAddon(first.db)
  expect(native.connectionId()).toBe(firstId)

  expect(native.interrupt(firstId)).toBe(true)
  first.db.close()
  expect(native.interrupt(firstId)).toBe(false)
  expect(native.connectionId()).toBe(0)
  expect(native.interrupt(secondId)).toBe(true)
  second.db.close()
  expect(native.interrupt(secondId)).toBe(false)
  expect(native.interrupt(0)).toBe(false)
  expect(native.interrupt(0xffff_ffff)).toBe(false)
  expect(thrownBy(() => native.interrupt(-1))).toBeInstanceOf(TypeError)
})

test('between two statements an interrupt has no effect, unless it is to be noticed', () => {
  const { db, wal } = openDatabase(join(temporaryDirectory(), 'idle.db'))
  const id = native.connectionId()
  const one = db.prepare('SELECT 1').pluck()
  native.interrupt(id)
  expect(one.get()).toBe(1)

  wal.noticeInterrupts(true)
  expect(one.get()).toBe(1) // not the one from before
  native.interrupt(id)
  expect(thrownBy(() => one.get()).code).toBe('SQLITE_INTERRUPT')
  expect(one.get()).toBe(1)

  native.interrupt(id)
  wal.noticeInterrupts(false)
  expect(one.get()).toBe(1)
  wal.noticeInterrupts(true)
  native.interrupt(id)
  wal.close()
  expect(one.get()).toBe(1)
})

test('frames are injected while the connection is interrupted all the time', async () => {
  const pair = new Pair(temporaryDirectory())
  const { primary, replica } = pair
  primary.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  pair.ship()
  const ids = new SharedArrayBuffer(3 * 4)
  const shared = new Int32Array(ids)
  loadAddon(replica.db)
  Atomics.store(shared, 0, native.connectionId())
  const ended = messagesOf(start('./interrupter.mjs', { ids, countsAt: 1 }))
  const insert = primary.db.prepare("INSERT INTO t (text) VALUES (printf('%.1000c', 'x'))")
  let interruptedCount = 0
  // The other thread may take its time to begin.
  for (let round = 0; round < 4000 || interruptedCount === 0; round++) {
    if (round % 50 === 0) await new Promise(setImmediate)
    insert.run()
    const { bytes, run } = pair.readRun()
    for (;;) {
      const before = replica.wal.position().frameCount
      try {
        expect(replica.wal.inject({ bytes }, run).badIndex).toBe(-1)
        break
      } catch (error) {
        // All or nothing: one that failed can be repeated.
        expect(error).toMatchObject({ code: 'SQLITE_INTERRUPT', sqlite: true })
        expect(replica.wal.position().frameCount).toBe(before)
        expect(replica.db.inTransaction).toBe(false)
        interruptedCount++
      }
    }
  }
  Atomics.store(shared, 0, -1)
  expect(await ended()).toBe('ended')
  expect(shared[1]).toBeGreaterThan(0)
  expect(interruptedCount).toBeGreaterThan(0)
  pair.expectSame()
})
