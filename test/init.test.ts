import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { type Connection, init, Log, Primary, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, pagesOf } from './support/database.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const schema = `
  CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
  CREATE INDEX users_name ON users (name);
  INSERT INTO users (name) VALUES ('Alice'), ('Bob');`

/** Names that come into the folder of temporary files from now on. What earlier tests left may go meanwhile. */
function watchTemporaryFiles(snapshot: Snapshot): () => string[] {
  const folder = dirname(snapshot.path)
  const before = readdirSync(folder)
  return () => readdirSync(folder).filter((name) => !before.includes(name))
}

/** Rows of a database file, as any program reads it. */
function read(path: string, sql: string): unknown[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

it('makes a database from a script: a snapshot and the log of all frames', async () => {
  const { snapshot, log } = await init(schema)
  expect(read(snapshot.path, 'SELECT * FROM users')).toEqual([
    { id: 1, name: 'Alice' },
    { id: 2, name: 'Bob' },
  ])
  expect(log.startFrameNo).toBe(0)
  expect(log.frameCount).toBeGreaterThan(0)
  expect(snapshot.lastFrameNo).toBe(log.lastFrameNo)
  expect(snapshot.checksum).toBe(log.endChecksum)
  expect(log.startChecksum).toBe(0n)
  await log.verify()
})

it('makes a database with an async function on a connection', async () => {
  const { snapshot } = await init(async (connection) => {
    await connection.exec('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)')
    await connection.transaction(async () => {
      for (const name of ['Alice', 'Bob']) await connection.run('INSERT INTO users (name) VALUES (?)', [name])
    })
    expect(await connection.get('SELECT count(*) AS n FROM users')).toEqual({ n: 2 })
  })
  expect(read(snapshot.path, 'SELECT name FROM users')).toEqual([{ name: 'Alice' }, { name: 'Bob' }])
})

describe.each([512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])('pages of %i bytes', (pageSize) => {
  it('the log applied to the blank database gives the bytes of the snapshot', async () => {
    const { snapshot, log } = await init(schema, { pageSize })
    expect(snapshot.pageSize).toBe(pageSize)
    expect(log.pageSize).toBe(pageSize)
    const replayed = await (await Snapshot.blank({ pageSize })).append([log])
    expect((await pagesOf(replayed)).equals(await pagesOf(snapshot))).toBe(true)
    expect(replayed.lastFrameNo).toBe(snapshot.lastFrameNo)
    expect(replayed.checksum).toBe(snapshot.checksum)
    expect(read(snapshot.path, 'PRAGMA page_size')).toEqual([{ page_size: pageSize }])
  })
})

it('what it makes is kept, and opens again', async () => {
  const folder = temporaryFolder()
  const { snapshot, log } = await init(schema)
  await snapshot.moveTo(join(folder, '0.db'))
  await log.copyTo(join(folder, '0.log'))
  const fromSnapshot = closedAfterTest(await Primary.open(await Snapshot.open(join(folder, '0.db'))))
  const fromLog = closedAfterTest(
    await Primary.open(await Snapshot.blank(), [await Log.open(join(folder, '0.log'))]),
  )
  // The snapshot includes the log: given both, the log is passed over.
  const fromBoth = closedAfterTest(
    await Primary.open(await Snapshot.open(join(folder, '0.db')), [await Log.open(join(folder, '0.log'))]),
  )
  expect(fromSnapshot.lastFrameNo).toBe(snapshot.lastFrameNo)
  expect(fromLog.lastFrameNo).toBe(snapshot.lastFrameNo)
  expect(fromBoth.lastFrameNo).toBe(snapshot.lastFrameNo)
  await expectSameBytes(fromSnapshot, fromLog)
  await expectSameBytes(fromSnapshot, fromBoth)
})

it.each([
  ['an empty script', ''],
  ['a script of comments', '-- nothing\n/* here */ ;'],
  ['a function that does nothing', async () => {}],
])('%s gives the blank database and an empty log', async (_name, script) => {
  const { snapshot, log } = await init(script)
  expect(snapshot.lastFrameNo).toBeUndefined()
  expect(snapshot.checksum).toBe(0n)
  expect(log).toMatchObject({ isEmpty: true, startFrameNo: 0, nextFrameNo: 0 })
  expect((await pagesOf(snapshot)).equals(await pagesOf(await Snapshot.blank()))).toBe(true)
  const primary = closedAfterTest(await Primary.open(snapshot, [log]))
  expect((await primary.run('CREATE TABLE t (a)')).frameNo).toBe(1)
})

it('keeps user_version, application_id and what else the script sets', async () => {
  const { snapshot } = await init(
    'PRAGMA user_version = 42; PRAGMA application_id = 7; PRAGMA auto_vacuum = FULL',
  )
  const value = (name: string) => Object.values(read(snapshot.path, `PRAGMA ${name}`)[0] as object)[0]
  expect([value('user_version'), value('application_id'), value('journal_mode')]).toEqual([42, 7, 'wal'])
})

describe('a script that fails', () => {
  it('is rejected with the error of SQLite', async () => {
    const error = await expectSqlite(init(`${schema} INSERT INTO nowhere VALUES (1)`), 'SQLITE_ERROR')
    expect(error.message).toBe('no such table: nowhere')
  })

  it('is rejected with what the function throws', async () => {
    const thrown = new Error('no')
    expect(await rejection(init(() => Promise.reject(thrown)))).toBe(thrown)
  })

  it('may not leave a transaction open', async () => {
    await expectCode(init('BEGIN; CREATE TABLE t (a)'), 'ERR_TRANSACTION_OPEN')
    await expectCode(
      init(async (connection) => connection.exec('BEGIN; CREATE TABLE t (a)')),
      'ERR_TRANSACTION_OPEN',
    )
  })

  it('may not do what would break replication', async () => {
    const error = await expectCode(init('PRAGMA journal_mode = DELETE'), 'ERR_REFUSED')
    expect(error.message).toContain('WAL')
    await expectCode(
      init(async (connection) => connection.exec('PRAGMA page_size = 1024')),
      'ERR_REFUSED',
    )
  })

  it('leaves no file behind', async () => {
    const added = watchTemporaryFiles(await Snapshot.blank())
    await expectSqlite(init('CREATE TABLE t (a); nonsense'), 'SQLITE_ERROR')
    await rejection(init(() => Promise.reject(new Error('no'))))
    await expectCode(init('BEGIN; CREATE TABLE t (a)'), 'ERR_TRANSACTION_OPEN')
    expect(added()).toEqual([])
  })
})

it('leaves a file for the snapshot, which goes with it; a small log is in memory', async () => {
  const added = watchTemporaryFiles(await Snapshot.blank())
  const { snapshot, log } = await init(schema)
  expect(added()).toEqual([basename(snapshot.path)])
  await snapshot.close()
  await log.close()
  expect(added()).toEqual([])
})

it('the connection ends with the function', async () => {
  let kept: Connection | undefined
  await init(async (connection) => {
    kept = connection
  })
  await expectCode(kept!.run('SELECT 1'), 'ERR_CLOSED')
})

it('the snapshot is a plain database for any tool', async () => {
  const { snapshot } = await init(schema)
  const bytes = await readFile(snapshot.path)
  expect(bytes.subarray(0, 16).toString('latin1')).toBe('SQLite format 3\0')
})

it.each([
  [[undefined], 'script must be a string of SQL or an async function, got undefined'],
  [[7], 'script must be a string of SQL or an async function, got number 7'],
  [
    ['', { pageSize: 1000 }],
    'Option "pageSize" of init must be a power of two from 512 to 65536, got number 1000',
  ],
  [
    ['', { pageSize: '4096' }],
    `Option "pageSize" of init must be a power of two from 512 to 65536, got string '4096'`,
  ],
  [['', { pagesize: 4096 }], 'Unknown option "pagesize" of init; did you mean "pageSize"?'],
  [['', 4096], 'The options of init must be an object, got number 4096'],
])('refuses arguments %j', async (args, message) => {
  const error = await rejection(init(...(args as Parameters<typeof init>)))
  expect(error).toBeInstanceOf(TypeError)
  expect(error.message).toBe(message)
})
