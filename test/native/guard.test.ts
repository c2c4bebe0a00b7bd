import { existsSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { openDatabase, temporaryDirectory, thrownBy } from './addon.js'

function openWithAttached() {
  const directory = temporaryDirectory()
  const opened = openDatabase(join(directory, 'main.db'))
  opened.db.exec('CREATE TABLE t (a, b)')
  new Database(join(directory, 'other.db')).exec('CREATE TABLE u (a); CREATE INDEX u_a ON u (a)').close()
  opened.db.exec(`ATTACH '${join(directory, 'other.db')}' AS other`)
  return { ...opened, directory }
}

describe('the guard refuses', () => {
  test.each([
    ['PRAGMA journal_mode = DELETE', 'PRAGMA journal_mode = DELETE'],
    ['PRAGMA main.journal_mode(memory)', 'journal_mode'],
    ['PRAGMA other.journal_mode = OFF', 'journal_mode'],
    ['PRAGMA wal_autocheckpoint = 100', 'wal_autocheckpoint'],
    ['PRAGMA wal_checkpoint', 'wal_checkpoint'],
    ['PRAGMA wal_checkpoint(TRUNCATE)', 'wal_checkpoint'],
    ['pragma Main.WAL_CHECKPOINT(full)', 'wal_checkpoint'],
    ['PRAGMA page_size = 8192', 'page_size'],
    ['PRAGMA locking_mode = EXCLUSIVE', 'locking_mode'],
    ['INSERT INTO other.u VALUES (1)', 'INSERT into other.'],
    ['UPDATE other.u SET a = 2', 'UPDATE of other.u'],
    ['DELETE FROM other.u', 'DELETE from other.u'],
    ['CREATE TABLE other.v (a)', 'other.'],
    ['CREATE INDEX other.i ON u (a)', 'other.'],
    ['DROP TABLE other.u', 'other.'],
    ['ALTER TABLE other.u RENAME TO w', 'other.'],
    ['REINDEX other.u', 'REINDEX of other.'],
    ['ANALYZE other', 'other.'],
    ['PRAGMA other.user_version = 1', 'PRAGMA other.user_version'],
    [
      'CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO u VALUES (new.a); END; INSERT INTO t VALUES (1, 2)',
      'other.',
    ],
  ])('%s', (sql, named) => {
    const { db, wal } = openWithAttached()
    const error = thrownBy(() => db.exec(sql))
    expect(error.code).toBe('SQLITE_AUTH')
    const refusal = wal.takeRefusal()
    expect(refusal).toContain(named)
    expect(refusal).toContain(' is refused: ')
    expect(wal.takeRefusal()).toBeUndefined()
  })
})

describe('the guard lets pass', () => {
  test.each([
    'PRAGMA journal_mode',
    'PRAGMA journal_mode = WAL',
    'PRAGMA wal_autocheckpoint',
    'PRAGMA page_size',
    'PRAGMA locking_mode',
    'PRAGMA user_version = 7',
    'PRAGMA temp.user_version = 7',
    'PRAGMA other.user_version',
    'PRAGMA synchronous = NORMAL',
    'SELECT * FROM other.u',
    'INSERT INTO t SELECT a, a FROM other.u',
    'CREATE TEMP TABLE s AS SELECT * FROM t',
    'CREATE TABLE w (a); INSERT INTO w VALUES (1); ALTER TABLE w ADD b; DROP TABLE w',
    'CREATE VIRTUAL TABLE f USING fts5 (text); INSERT INTO f VALUES (1); DROP TABLE f',
    'ANALYZE main; REINDEX t',
    'DETACH other',
    'VACUUM',
  ])('%s', (sql) => {
    const { db, wal } = openWithAttached()
    db.exec(sql)
    expect(wal.takeRefusal()).toBeUndefined()
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  })

  test('VACUUM INTO a file', () => {
    const { db, directory } = openWithAttached()
    db.exec("INSERT INTO t VALUES (1, 'one')")
    db.exec(`VACUUM INTO '${join(directory, 'into.db')}'`)
    expect(existsSync(join(directory, 'into.db'))).toBe(true)
    const into = new Database(join(directory, 'into.db'))
    expect(into.prepare('SELECT b FROM t').pluck().get()).toBe('one')
    into.close()
  })
})

test('without the guard nothing is refused', () => {
  const { db } = openDatabase(join(temporaryDirectory(), 'main.db'), { guard: false })
  db.pragma('journal_mode = DELETE')
  expect(db.pragma('journal_mode', { simple: true })).toBe('delete')
})

test('the hook counts frames, and SQLite does not checkpoint by itself', () => {
  const { db, wal } = openDatabase(join(temporaryDirectory(), 'main.db'))
  expect(wal.hookFrameCount).toBe(0)
  db.exec('CREATE TABLE t (a)')
  const insert = db.prepare("INSERT INTO t VALUES (printf('%.4000c', 'x'))")
  for (let i = 0; i < 1100; i++) insert.run()
  const { frameCount, foldedCount } = wal.position()
  expect(wal.hookFrameCount).toBe(frameCount)
  expect(frameCount).toBeGreaterThan(1100)
  expect(foldedCount).toBe(0)
})

describe('a held transaction', () => {
  test.each(['COMMIT', 'END', 'ROLLBACK', 'BEGIN', 'INSERT INTO t VALUES (2, 2); COMMIT; BEGIN'])(
    'cannot be ended: %s',
    (sql) => {
      const { db, wal } = openDatabase(join(temporaryDirectory(), 'main.db'))
      db.exec('CREATE TABLE t (a, b); BEGIN; INSERT INTO t VALUES (1, 1)')
      wal.holdTransaction(true)
      expect(thrownBy(() => db.exec(sql)).code).toBe('SQLITE_AUTH')
      expect(wal.takeRefusal()).toContain(' is refused: ')
      expect(db.inTransaction).toBe(true)
      db.exec('SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s')
      wal.holdTransaction(false)
      db.exec('COMMIT')
      expect(db.prepare('SELECT a FROM t WHERE a = 1').pluck().all()).toEqual([1])
    },
  )

  test('tells whether a savepoint was prepared in it', () => {
    const { db, wal } = openDatabase(join(temporaryDirectory(), 'main.db'))
    db.exec('BEGIN')
    const hold = (work: () => void) => {
      wal.holdTransaction(true)
      work()
      return wal.holdTransaction(false)
    }
    expect(hold(() => db.exec('CREATE TABLE t (a)'))).toBe(false)
    expect(hold(() => db.exec('SAVEPOINT s'))).toBe(true)
    expect(hold(() => db.exec('RELEASE s'))).toBe(true)
    db.exec('SAVEPOINT s')
    expect(hold(() => {})).toBe(false)
    expect(hold(() => db.exec('ROLLBACK TO s'))).toBe(true)
  })

  test("has better-sqlite3's own transactions inside it, which are savepoints", () => {
    const { db, wal } = openDatabase(join(temporaryDirectory(), 'main.db'))
    db.exec('CREATE TABLE t (a)')
    const insert = db.prepare('INSERT INTO t VALUES (?)')
    const insertAll = db.transaction((values: number[], isFailing = false) => {
      for (const value of values) insert.run(value)
      if (isFailing) throw new RangeError('given up')
    })
    const nested = db.transaction(() => {
      insertAll([1, 2])
      expect(() => insertAll([3, 4], true)).toThrow(RangeError)
      insertAll([5])
    })
    db.exec('BEGIN')
    insert.run(0)
    wal.holdTransaction(true)
    nested()
    expect(() => insertAll([6], true)).toThrow(RangeError)
    // Outside of a transaction it would be a BEGIN of its own.
    wal.holdTransaction(false)
    db.exec('COMMIT')
    wal.holdTransaction(true)
    expect(thrownBy(() => nested()).code).toMatch(/^SQLITE_(AUTH|CONSTRAINT_COMMITHOOK)$/)
    wal.holdTransaction(false)
    expect(db.inTransaction).toBe(false)
    expect(db.prepare('SELECT a FROM t').pluck().all()).toEqual([0, 1, 2, 5])
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  })

  test('is not committed by a statement that was prepared before, nor by one in autocommit', () => {
    const { db, wal } = openDatabase(join(temporaryDirectory(), 'main.db'))
    db.exec('CREATE TABLE t (a, b)')
    const commit = db.prepare('COMMIT')
    db.exec('BEGIN; INSERT INTO t VALUES (1, 1)')
    wal.holdTransaction(true)
    expect(thrownBy(() => commit.run()).code).toBe('SQLITE_CONSTRAINT_COMMITHOOK')
    expect(db.inTransaction).toBe(false)
    expect(thrownBy(() => db.exec('INSERT INTO t VALUES (2, 2)')).code).toBe('SQLITE_CONSTRAINT_COMMITHOOK')
    wal.holdTransaction(false)
    db.exec('INSERT INTO t VALUES (3, 3)')
    expect(db.prepare('SELECT a FROM t').pluck().all()).toEqual([3])
  })
})
