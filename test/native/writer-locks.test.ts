import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { beginReading, loadAddon, type Opened, openDatabase, temporaryDirectory, thrownBy } from './addon.js'

function openWithRows(): Opened & { insert(): void } {
  const opened = openDatabase(join(temporaryDirectory(), 'database'))
  opened.db.exec('CREATE TABLE t (text)')
  const statement = opened.db.prepare("INSERT INTO t VALUES (printf('%.3000c', 'x'))")
  for (let i = 0; i < 20; i++) statement.run()
  return { ...opened, insert: () => void statement.run() }
}

function openOther({ path }: Opened): Database.Database {
  const other = new Database(path, { timeout: 0 })
  onTestFinished(() => void other.close())
  return other
}

/** Folds the WAL, as anybody may, and writes: whether SQLite has started it over. */
function restarts({ wal, insert }: ReturnType<typeof openWithRows>, fold: () => unknown): boolean {
  const { salt1, frameCount } = wal.position()
  fold()
  expect(wal.position().foldedCount).toBe(frameCount)
  insert()
  const after = wal.position()
  if (after.salt1 === salt1) expect(after).toMatchObject({ foldedCount: frameCount })
  return after.salt1 !== salt1
}

test('SQLite starts a WAL over when all of it is folded, unless that has frames that are nowhere else', () => {
  const opened = openWithRows()
  const { wal } = opened
  const other = openOther(opened)
  const fold = () => wal.foldSync('passive')
  const foldElsewhere = () => other.pragma('wal_checkpoint(TRUNCATE)')
  expect(restarts(opened, fold)).toBe(true)
  wal.allowRestartAt(0, wal.position().salt1)
  expect(restarts(opened, fold)).toBe(false)
  expect(restarts(opened, foldElsewhere)).toBe(false)
  wal.allowRestartAt(wal.position().frameCount - 1, wal.position().salt1)
  expect(restarts(opened, fold)).toBe(false)
  wal.allowRestartAt(wal.position().frameCount, wal.position().salt1)
  expect(restarts(opened, foldElsewhere)).toBe(true)
  // What has been written since is not anywhere else either.
  expect(restarts(opened, fold)).toBe(false)
  wal.allowRestartAt(undefined)
  expect(restarts(opened, fold)).toBe(true)
  expect(restarts(opened, fold)).toBe(true)
  expect(opened.db.pragma('integrity_check', { simple: true })).toBe('ok')
})

test('a commit that the WAL hook is not told of counts too', () => {
  const opened = openWithRows()
  const { db, wal, insert } = opened
  const { frameCount, salt1 } = wal.position()
  wal.allowRestartAt(frameCount, salt1)
  // The statement is reset at its first row, which commits.
  db.prepare("INSERT INTO t VALUES ('x') RETURNING text").get()
  expect(wal.position().frameCount).toBeGreaterThan(wal.hookFrameCount)
  wal.foldSync('passive')
  insert()
  expect(wal.position().salt1).toBe(salt1)
})

test('cannot be put there in the midst of a transaction', () => {
  const { db, insert } = openWithRows()
  db.exec('BEGIN IMMEDIATE')
  expect(thrownBy(() => loadAddon(db))).toMatchObject({ code: 'SQLITE_MISUSE' })
  insert()
  db.exec('COMMIT')
  loadAddon(db)
  insert()
  expect(db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(22)
})

test('nobody else can write from the first transaction on', () => {
  const opened = openDatabase(join(temporaryDirectory(), 'database'), { setup: 'CREATE TABLE t (text)' })
  const other = openOther(opened)
  const write = "INSERT INTO t VALUES ('from elsewhere')"
  other.exec(write)
  opened.db.exec("INSERT INTO t VALUES ('ours')")
  const locked = { code: 'SQLITE_BUSY' }
  expect(thrownBy(() => other.exec(write))).toMatchObject(locked)
  opened.db.exec("BEGIN; INSERT INTO t VALUES ('ours')")
  expect(thrownBy(() => other.exec(write))).toMatchObject(locked)
  opened.db.exec('ROLLBACK')
  expect(thrownBy(() => other.exec(write))).toMatchObject(locked)
  expect(other.prepare('SELECT count(*) FROM t').pluck().get()).toBe(2)
  // Which needs the lock for itself.
  opened.wal.foldSync('truncate')
  other.exec(write)
  opened.db.exec("INSERT INTO t VALUES ('ours')")
  expect(thrownBy(() => other.exec(write))).toMatchObject(locked)
  opened.db.close()
  other.exec(write)
  expect(other.prepare('SELECT count(*) FROM t').pluck().get()).toBe(5)
})

test('waits for who writes when its first transaction begins, and can be closed in the midst of one', () => {
  const opened = openDatabase(join(temporaryDirectory(), 'database'), { setup: 'CREATE TABLE t (text)' })
  const other = openOther(opened)
  other.exec('BEGIN IMMEDIATE')
  opened.db.pragma('busy_timeout = 10')
  expect(thrownBy(() => opened.db.exec('BEGIN IMMEDIATE'))).toMatchObject({ code: 'SQLITE_BUSY' })
  other.exec('ROLLBACK')
  opened.db.exec("BEGIN IMMEDIATE; INSERT INTO t VALUES ('not committed')")
  opened.db.close()
  other.exec("INSERT INTO t VALUES ('from elsewhere')")
  expect(other.prepare('SELECT text FROM t').pluck().all()).toEqual(['from elsewhere'])
})

test('nothing is folded beyond what somebody reads', async () => {
  const opened = openWithRows()
  const { wal, insert } = opened
  const { frameCount } = wal.position()
  const reading = beginReading(opened)
  insert()
  expect(await wal.fold()).toEqual({ frameCount: wal.position().frameCount, foldedCount: frameCount })
  expect(thrownBy(() => wal.foldSync('truncate'))).toMatchObject({ code: 'SQLITE_BUSY', sqlite: true })
  reading.end()
  expect((await wal.fold()).foldedCount).toBe(wal.position().frameCount)
  expect(wal.foldSync('truncate')).toEqual({ frameCount: 0, foldedCount: 0 })
})

test('frames of before a reset are not read', () => {
  const { wal, insert } = openWithRows()
  const { frameCount } = wal.position()
  expect(thrownBy(() => wal.readFrames(undefined, 1, frameCount + 1, 0, 0n)).code).toBe('ERR_WAL_RESET')
  wal.foldSync('passive')
  insert()
  expect(wal.position().frameCount).toBeLessThan(frameCount)
  expect(thrownBy(() => wal.readFrames(undefined, 1, frameCount, 0, 0n)).code).toBe('ERR_WAL_RESET')
})
