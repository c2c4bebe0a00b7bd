import { closeSync, copyFileSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { beginReading, native, Pair, randomFrom, runOf, temporaryDirectory, thrownBy } from './addon.js'

/** Commits transactions until the primary's WAL has grown by at least `frameCount` frames. */
function commitFrames(pair: Pair, frameCount: number, rowsPerTransaction = 100): void {
  const { db, wal } = pair.primary
  db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT)')
  const insert = db.prepare('INSERT INTO t (text) VALUES (?)')
  const text = 'x'.repeat(pair.pageSize)
  const commit = db.transaction(() => {
    for (let row = 0; row < rowsPerTransaction; row++) insert.run(text)
  })
  const start = wal.position().frameCount
  while (wal.position().frameCount - start < frameCount) commit()
}

/** Opens a copy of database and WAL without the wal-index: SQLite recovers from the WAL's own checksums. */
function recover(pair: Pair, directory: string): Database.Database {
  const path = join(directory, 'recovered.db')
  copyFileSync(pair.replica.path, path)
  copyFileSync(`${pair.replica.path}-wal`, `${path}-wal`)
  return new Database(path)
}

describe.each([512, 4096, 65536])('inject, pages of %d bytes', (pageSize) => {
  test('row by row, recovered from the WAL, and byte for byte', () => {
    const directory = temporaryDirectory()
    const pair = new Pair(directory, { pageSize })
    for (let round = 0; round < 20; round++) {
      commitFrames(pair, 1, 3)
      expect(pair.ship()).toBeGreaterThan(0)
    }
    const recovered = recover(pair, directory)
    expect(recovered.prepare('SELECT count(*), sum(length(text)) FROM t').raw().get()).toEqual(
      pair.primary.db.prepare('SELECT count(*), sum(length(text)) FROM t').raw().get(),
    )
    expect(recovered.pragma('integrity_check', { simple: true })).toBe('ok')
    recovered.close()
    pair.expectSame()
  })

  test('a primary that grows, is emptied and vacuumed', () => {
    const pair = new Pair(temporaryDirectory(), { pageSize })
    commitFrames(pair, 200)
    pair.ship()
    pair.primary.db.exec('DELETE FROM t WHERE id % 3 > 0')
    pair.ship()
    const before = pair.replica.wal.position().pageCount
    pair.primary.db.exec('VACUUM')
    pair.ship()
    expect(pair.replica.wal.position().pageCount).toBeLessThan(before)
    pair.expectSame()
    commitFrames(pair, 50)
    pair.ship()
    pair.expectSame()
  })

  test('auto_vacuum', () => {
    const pair = new Pair(temporaryDirectory(), { pageSize, setup: 'PRAGMA auto_vacuum = FULL' })
    commitFrames(pair, 100)
    pair.ship()
    pair.primary.db.exec('DELETE FROM t WHERE id % 2')
    pair.ship()
    pair.primary.db.exec('DELETE FROM t')
    pair.ship()
    expect(pair.primary.db.pragma('auto_vacuum', { simple: true })).toBe(1)
    pair.expectSame()
  })
})

describe('inject and the wal-index', () => {
  // 4062 frames have their place in the first block of the wal-index, 4096 in each following one.
  test.each([4062, 4063, 8158, 8159, 12_300])('over %d frames in one WAL, one by one', (frameCount) => {
    const pair = new Pair(temporaryDirectory(), { pageSize: 512 })
    commitFrames(pair, frameCount - 60, 20)
    pair.ship()
    while (pair.replica.wal.position().frameCount < frameCount + 60) {
      commitFrames(pair, 1, 1)
      pair.ship()
    }
    expect(pair.replica.db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(
      pair.primary.db.prepare('SELECT count(*) FROM t').pluck().get(),
    )
    pair.expectSame()
  })

  test('13,000 frames at once', () => {
    const directory = temporaryDirectory()
    const pair = new Pair(directory)
    commitFrames(pair, 13_000, 1000)
    pair.ship()
    expect(pair.replica.wal.position().frameCount).toBeGreaterThan(13_000)
    const recovered = recover(pair, directory)
    expect(recovered.pragma('integrity_check', { simple: true })).toBe('ok')
    recovered.close()
    pair.expectSame()
  })

  test('the replica writes after frames were injected, then becomes the source', () => {
    const pair = new Pair(temporaryDirectory())
    commitFrames(pair, 30)
    pair.ship()
    pair.replica.db.exec("INSERT INTO t (text) VALUES ('of the replica')")
    expect(pair.replica.db.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(pair.replica.wal.hookFrameCount).toBe(pair.replica.wal.position().frameCount)
  })

  test('mixes with PASSIVE, TRUNCATE and restarted WALs in any order', () => {
    const seed = Number(process.env.MYLIBSQL_TEST_SEED ?? Date.now() & 0xffff)
    const random = randomFrom(seed)
    const pair = new Pair(temporaryDirectory(), { pageSize: 1024 })
    commitFrames(pair, 1)
    pair.ship()
    for (let step = 0; step < 150; step++) {
      const side = random() < 0.5 ? pair.primary : pair.replica
      const choice = random()
      if (choice < 0.55) commitFrames(pair, 1, 1 + Math.floor(random() * 40))
      else if (choice < 0.65) pair.primary.db.exec('DELETE FROM t WHERE id % 7 = 0')
      else if (choice < 0.67) pair.primary.db.exec('VACUUM')
      else if (choice < 0.85) side.wal.foldSync('passive')
      else if (choice < 0.95) side.wal.foldSync('truncate')
      else beginReading(pair.replica).end()
      // The primary's WAL must not be reset before its frames are read.
      const shipped = pair.ship()
      const rows = (db: Database.Database) => db.prepare('SELECT count(*), total(id) FROM t').raw().get()
      if (shipped > 0)
        expect(rows(pair.replica.db), `seed ${seed} step ${step}`).toEqual(rows(pair.primary.db))
    }
    pair.expectSame()
  })

  test('a WAL folded completely is restarted when nobody reads from it', () => {
    const pair = new Pair(temporaryDirectory())
    commitFrames(pair, 40)
    pair.ship()
    const before = pair.replica.wal.position()
    pair.replica.wal.foldSync('passive')
    commitFrames(pair, 1, 1)
    const frameCount = pair.ship()
    const after = pair.replica.wal.position()
    expect(after).toMatchObject({ frameCount, foldedCount: 0 })
    expect(after.salt1).not.toBe(before.salt1)
    pair.expectSame()
  })

  test('a WAL that somebody reads from is not restarted', () => {
    const pair = new Pair(temporaryDirectory())
    commitFrames(pair, 40)
    pair.ship()
    const reading = beginReading(pair.replica)
    const before = pair.replica.wal.position()
    expect(pair.replica.wal.foldSync('passive').foldedCount).toBe(before.frameCount)
    commitFrames(pair, 1, 1)
    const frameCount = pair.ship()
    const after = pair.replica.wal.position()
    expect(after).toMatchObject({ frameCount: before.frameCount + frameCount, salt1: before.salt1 })
    reading.end()
    pair.expectSame()
  })

  test('its own open read keeps its snapshot', () => {
    const pair = new Pair(temporaryDirectory())
    commitFrames(pair, 40)
    pair.ship()
    pair.replica.wal.foldSync('passive')
    const ids = pair.replica.db.prepare('SELECT id FROM t ORDER BY id').pluck().iterate()
    const rowCount = pair.primary.db.prepare('SELECT count(*) FROM t').pluck().get()
    ids.next()
    commitFrames(pair, 40)
    // better-sqlite3 allows no other call while it iterates, but inject goes past it.
    pair.ship()
    let seen = 1
    for (const _ of ids) seen++
    expect(seen).toBe(rowCount)
    pair.expectSame()
  })

  test('refuses frames of another page size', () => {
    const pair = new Pair(temporaryDirectory())
    const bytes = new Uint8Array(24 + 1024)
    const run = runOf(bytes, 1024, 0, 0n)
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, run)).code).toBe('ERR_PAGE_SIZE')
    commitFrames(pair, 1)
    pair.ship()
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, run)).code).toBe('ERR_PAGE_SIZE')
    pair.expectSame()
  })

  test.each(['bytes', 'file'])('frames of version 2, from %s, which stay as they are', (kind) => {
    const directory = temporaryDirectory()
    const pair = new Pair(directory)
    commitFrames(pair, 300)
    const { bytes, run } = pair.readRun()
    const path = join(directory, 'records')
    const fd = openSync(path, 'w+')
    const v2 = { ...run, version: 2, fileStartChecksum: 77n } as const
    native.rewriteFrames({ bytes }, v2, 2, fd, 100, 0n)
    const rewritten = readFileSync(path)
    const records = new Uint8Array(rewritten.subarray(100))
    const source = kind === 'file' ? { fd, byteOffset: 100 } : { bytes: records }
    expect(pair.replica.wal.inject(source, { ...v2, fileStartChecksum: 78n })).toMatchObject({
      badIndex: 0,
      reason: 'checksum',
    })
    // What comes back is the chain of version 3.
    expect(pair.replica.wal.inject(source, v2)).toMatchObject({ badIndex: -1, endChecksum: pair.checksum })
    expect(readFileSync(path).equals(rewritten)).toBe(true)
    expect(rewritten.subarray(100).equals(records)).toBe(true)
    closeSync(fd)
    pair.expectSame()
  })
})
