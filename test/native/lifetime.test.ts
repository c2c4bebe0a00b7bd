import { execFileSync } from 'node:child_process'
import { existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { loadAddon, native, type Opened, openDatabase, runOf, temporaryDirectory, thrownBy } from './addon.js'

const script = new URL('./job-worker.mjs', import.meta.url)
const packageRoot = fileURLToPath(new URL('../..', import.meta.url))

function openWithRows(directory: string): Opened {
  const opened = openDatabase(join(directory, 'life.db'))
  opened.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  const insert = opened.db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
  opened.db.transaction(() => {
    for (let i = 0; i < 5000; i++) insert.run()
  })()
  return opened
}

function expectIntact(path: string): void {
  const db = new Database(path)
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  expect(Number(db.prepare('SELECT count(*) FROM t').pluck().get()) % 1000).toBe(0)
  db.close()
}

describe.each(['connection', 'handle'] as const)('after the %s was closed', (closed) => {
  test('every method throws ERR_CLOSED', () => {
    const { db, wal } = openWithRows(temporaryDirectory())
    expect(wal.isOpen).toBe(true)
    if (closed === 'connection') db.close()
    else wal.close()
    expect(wal.isOpen).toBe(false)
    const calls = [
      () => wal.position(),
      () => wal.readFrames(undefined, 1, 1, 0, 0n),
      () => wal.copyFramesSync(1, 0, 1, 1, 0, 0n),
      () => wal.copyFrames(1, 0, 1, 1, 0, 0n),
      () => wal.inject({ bytes: new Uint8Array(4120) }, runOf(new Uint8Array(4120), 4096, 0, 0n)),
      () => wal.allowRestartAt(0),
      () => wal.fold(),
      () => wal.foldSync('passive'),
      () => wal.copyDatabase(1),
      () => wal.interrupt(),
      () => wal.setCheckpointOnClose(true),
      () => native.attach({ guard: true }),
    ]
    for (const call of calls) expect(thrownBy(call).code, String(call)).toBe('ERR_CLOSED')
    expect(wal.takeRefusal()).toBeUndefined()
    expect(wal.hookFrameCount).toBeGreaterThan(0)
    wal.close()
  })

  test('jobs in flight reject with ERR_CLOSED or end, and the connection closes', async () => {
    const directory = temporaryDirectory()
    const { db, wal, path } = openWithRows(directory)
    const { frameCount } = wal.position()
    const fd = openSync(join(directory, 'copy'), 'w+')
    // More than libuv has threads, so that some have not begun.
    const jobs = [
      wal.fold(),
      ...Array.from({ length: 8 }, () => wal.copyDatabase(fd)),
      wal.copyFrames(fd, 0, 1, frameCount, 0, 0n),
    ]
    if (closed === 'connection') db.close()
    else wal.close()
    for (const outcome of await Promise.allSettled(jobs)) {
      if (outcome.status === 'rejected') expect(outcome.reason.code).toBe('ERR_CLOSED')
    }
    db.close()
    expectIntact(path)
  })
})

test('the WAL stays when the connection closes, unless it is asked to be folded', () => {
  const { db, wal, path } = openWithRows(temporaryDirectory())
  wal.foldSync('passive')
  db.close()
  expect(existsSync(`${path}-wal`)).toBe(true)

  const again = new Database(path)
  const other = loadAddon(again)
  other.foldSync('passive')
  other.setCheckpointOnClose(true)
  again.close() // our own connections close before it, so it is the last one
  expect(existsSync(`${path}-wal`)).toBe(false)
  expect(readFileSync(path).readUInt32BE(28)).toBe(readFileSync(path).byteLength / 4096)
  expectIntact(path)
})

test('several connections on one thread keep apart, and loading twice gives the same one', () => {
  const directory = temporaryDirectory()
  const first = openDatabase(join(directory, 'first.db'))
  const second = openDatabase(join(directory, 'second.db'))
  first.db.exec('CREATE TABLE t (a)')
  expect(first.wal.position().frameCount).toBeGreaterThan(0)
  expect(second.wal.position().frameCount).toBe(0)
  const again = loadAddon(first.db)
  expect(again.position()).toEqual(first.wal.position())
  expect(again.hookFrameCount).toBe(first.wal.hookFrameCount)
  first.db.close()
  expect(again.isOpen).toBe(false)
  expect(second.wal.isOpen).toBe(true)
})

test('a database that is not in WAL mode says so', () => {
  const db = new Database(join(temporaryDirectory(), 'plain.db'))
  const wal = loadAddon(db)
  expect(thrownBy(() => wal.position()).message).toContain('not in WAL mode')
  db.close()
  const memory = new Database(':memory:')
  expect(thrownBy(() => loadAddon(memory).position()).message).toContain('not in WAL mode')
  memory.close()
})

test('only one fold at a time', async () => {
  const { wal } = openWithRows(temporaryDirectory())
  const fold = wal.fold()
  expect(thrownBy(() => wal.fold()).code).toBe('ERR_BUSY')
  expect(thrownBy(() => wal.foldSync('passive')).code).toBe('ERR_BUSY')
  await fold
  wal.foldSync('truncate')
})

test('a statement that is interrupted between its steps ends with SQLITE_INTERRUPT', () => {
  const { db, wal } = openWithRows(temporaryDirectory())
  const rows = db.prepare('SELECT id FROM t').iterate()
  rows.next()
  wal.interrupt()
  expect(thrownBy(() => rows.next()).code).toBe('SQLITE_INTERRUPT')
})

describe.each(['none', 'jobs', 'none addon-first', 'jobs addon-first'])('%s in flight', (job) => {
  test('a terminated worker ends, and its database is whole', async () => {
    const path = join(temporaryDirectory(), 'worker.db')
    for (let round = 0; round < 4; round++) {
      const worker = new Worker(script, { workerData: { packageRoot, path, job } })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      expect(await worker.terminate()).toBe(1)
    }
    expectIntact(path)
  })

  test('a process that exits ends cleanly', () => {
    const path = join(temporaryDirectory(), 'process.db')
    const argument = JSON.stringify({ packageRoot, path, job })
    for (let round = 0; round < 2; round++) execFileSync(process.execPath, [fileURLToPath(script), argument])
    expectIntact(path)
  })
})
