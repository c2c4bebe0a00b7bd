// Transactions larger than the page cache, in a folder where system calls fail: see test/programs/faults.c. Each line of the
// input is a life of a database in which some fail, and is answered with what went wrong that should not have.
import { copyFileSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const { packageRoot, folder } = JSON.parse(process.argv[2])
const require = createRequire(import.meta.url)
const native = require('node-gyp-build')(packageRoot)
const Database = require('better-sqlite3')
const rowCount = 50

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

/** What is expected of the rows: a statement is done or not. */
class Model {
  committed = new Map()
  open = new Map()

  begin() {
    this.open = new Map(this.committed)
  }

  update(n, first, last) {
    for (let id = first; id <= last; id++) this.open.set(id, n)
  }
}

function contentsOf(db) {
  return JSON.stringify(db.prepare('SELECT id, n, length(bytes) FROM t ORDER BY id').raw().all())
}

function live({ n, errno, count }, problems) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const path = join(folder, 'database')
  const db = new Database(path)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = OFF')
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, bytes BLOB NOT NULL)')
  const insert = db.prepare('INSERT INTO t VALUES (?, 0, zeroblob(3000))')
  const model = new Model()
  const insertMany = db.transaction((first, last) => {
    for (let id = first; id <= last; id++) insert.run(id)
  })
  insertMany(1, rowCount)
  for (let id = 1; id <= rowCount; id++) model.committed.set(id, 0)
  db.loadExtension(require('node-gyp-build').path(packageRoot), 'sqlite3_mylibsql_init')
  const wal = native.attach({ guard: true })
  db.pragma('cache_size = 8')
  const update = db.prepare('UPDATE t SET n = ? WHERE id BETWEEN ? AND ?')
  const errors = []
  const attempt = (action) => {
    try {
      action()
      return true
    } catch (error) {
      if (!/^SQLITE_(FULL|IOERR|READONLY)|^ERR_IO/.test(error.code)) problems.push(`failed with ${error}`)
      errors.push(error.code)
      return false
    }
  }
  order(`arm/w/${n}/${errno}/${count}`)
  for (let transaction = 1; transaction <= 3; transaction++) {
    if (transaction === 3) attempt(() => wal.foldSync('passive'))
    db.exec('BEGIN IMMEDIATE')
    model.begin()
    for (let statement = 1; statement <= 4 && db.inTransaction; statement++) {
      // All rows; then some that have left the page cache, and wait to be written.
      const value = 10 * transaction + statement
      const [first, last] = statement % 2 === 1 ? [1, rowCount] : [rowCount - 10 * transaction, rowCount - 8]
      if (attempt(() => update.run(value, first, last))) model.update(value, first, last)
    }
    if (db.inTransaction && transaction !== 2) {
      if (attempt(() => db.exec('COMMIT'))) model.committed = model.open
    }
    if (db.inTransaction) db.exec('ROLLBACK')
  }
  order('off')
  const expected = JSON.stringify([...model.committed].map(([id, value]) => [id, value, 3000]))
  const crashed = join(folder, 'crashed')
  copyFileSync(path, crashed)
  copyFileSync(`${path}-wal`, `${crashed}-wal`)
  const others = { 'another connection': new Database(path), 'after a crash': new Database(crashed) }
  for (const [name, other] of Object.entries({ itself: db, ...others })) {
    if (contentsOf(other) !== expected) problems.push(`${name} has other rows`)
    const integrity = other.pragma('integrity_check', { simple: true })
    if (integrity !== 'ok') problems.push(`${name}: ${integrity}`)
  }
  for (const other of Object.values(others)) other.close()
  // It goes on: the WAL is started over, and the frames of a transaction for which there is room in the cache are appended.
  wal.foldSync('passive')
  db.pragma('cache_size = 1000')
  order(`arm/w/1000000/${errno}/1`)
  insertMany(rowCount + 1, 4 * rowCount)
  const writeCount = readFileSync(process.env.FAULTS_TRACE, 'latin1').split('-wal\n').length - 1
  order('off')
  db.close()
  return { errors, problems, writeCount, frameCount: 3 * rowCount }
}

for await (const line of createInterface({ input: process.stdin })) {
  const problems = []
  try {
    console.log(JSON.stringify(live(JSON.parse(line), problems)))
  } catch (error) {
    console.log(JSON.stringify({ problems: [...problems, `${error.stack}`] }))
  }
}
