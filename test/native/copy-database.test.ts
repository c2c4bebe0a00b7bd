import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  beginReading,
  native,
  type Opened,
  openDatabase,
  randomFrom,
  temporaryDirectory,
  thrownBy,
} from './addon.js'

function openTarget(directory: string, name = 'copy.db'): number {
  const fd = openSync(join(directory, name), 'w+')
  onTestFinished(() => closeSync(fd))
  return fd
}

/**
 * Database file and WAL as they stand, recovered and folded by SQLite: what a copy has to equal. Reading them
 * here drops this process's locks on the database file; no other process is there to mind.
 */
function foldedCopy(directory: string, { path }: Opened): Buffer {
  const other = join(directory, 'expected.db')
  copyFileSync(path, other)
  if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${other}-wal`)
  const db = new Database(other)
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
  return readFileSync(other)
}

describe.each([512, 4096, 65536])('copyDatabase, pages of %d bytes', (pageSize) => {
  test('nothing, part and all of the WAL folded, after growth and VACUUM', async () => {
    const directory = temporaryDirectory()
    const opened = openDatabase(join(directory, 'source.db'), { pageSize })
    const { db, wal } = opened
    const fd = openTarget(directory)
    const expectCopy = async () => {
      const expected = foldedCopy(directory, opened)
      const copy = await wal.copyDatabase(fd)
      const bytes = readFileSync(join(directory, 'copy.db')).subarray(0, copy.pageCount * copy.pageSize)
      expect(copy.pageSize).toBe(pageSize)
      expect(bytes.equals(expected)).toBe(true)
      expect(copy.checksum).toBe(native.crc64(expected))
    }
    await expectCopy() // never written
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
    const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.1500c', 'x'))")
    const grow = db.transaction(() => {
      for (let i = 0; i < 300; i++) insert.run()
    })
    grow()
    await expectCopy() // nothing folded
    const reading = beginReading(opened)
    db.exec('UPDATE t SET text = id WHERE id % 5 = 0')
    wal.foldSync('passive')
    await expectCopy() // a part folded
    reading.end()
    wal.foldSync('passive')
    await expectCopy() // all folded
    db.exec('DELETE FROM t WHERE id > 20; VACUUM')
    await expectCopy() // shrunk, and not folded
    wal.foldSync('passive')
    await expectCopy()
    wal.foldSync('truncate')
    await expectCopy() // an empty WAL
    grow()
    await expectCopy()
  })
})

test('is the database of one moment while it is written and folded', async () => {
  const directory = temporaryDirectory()
  const opened = openDatabase(join(directory, 'source.db'))
  const { db, wal } = opened
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.2000c', 'x'))")
  const remove = db.prepare('DELETE FROM t WHERE id = ?')
  db.transaction(() => {
    for (let i = 0; i < 4000; i++) insert.run()
  })()
  const random = randomFrom(7)
  let overlapCount = 0
  for (let round = 0; round < 12; round++) {
    if (round % 3 === 1) wal.foldSync('passive')
    for (let i = 0; i < round % 4; i++) insert.run()
    const expected = foldedCopy(directory, opened)
    const fd = openTarget(directory, `copy-${round}.db`)
    let isCopying = true
    const copying = wal.copyDatabase(fd).finally(() => (isCopying = false))
    const folding = wal.fold()
    do {
      insert.run()
      remove.run(Math.floor(random() * 4000))
      overlapCount++
      await new Promise(setImmediate)
    } while (isCopying)
    const copy = await copying
    await folding
    expect(fstatSync(fd).size).toBe(copy.pageCount * copy.pageSize)
    const bytes = readFileSync(join(directory, `copy-${round}.db`))
    expect(bytes.equals(expected), `round ${round}`).toBe(true)
    expect(copy.checksum).toBe(native.crc64(bytes))
    const copied = new Database(join(directory, `copy-${round}.db`), { readonly: true })
    expect(copied.pragma('integrity_check', { simple: true })).toBe('ok')
    copied.close()
  }
  expect(overlapCount).toBeGreaterThan(12)
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
})

test('a target that cannot be written rejects with the call and errno', async () => {
  const directory = temporaryDirectory()
  const { db, wal } = openDatabase(join(directory, 'source.db'))
  db.exec('CREATE TABLE t (a)')
  writeFileSync(join(directory, 'target'), '')
  const fd = openSync(join(directory, 'target'), 'r')
  await expect(wal.copyDatabase(fd)).rejects.toMatchObject({ code: 'ERR_IO', syscall: 'pwrite', errno: 9 })
  expect(thrownBy(() => wal.copyFramesSync(fd, 0, 1, 1, 0, 0n))).toMatchObject({ code: 'ERR_IO' })
  closeSync(fd)
})
