/** Databases of every kind, imported, then written to and replicated like any other. */
import { readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { contentsOf, contentsOfOpen } from './support/contents.js'
import { closedAfterTest, expectSameBytes, openPrimary } from './support/database.js'
import { expectCode, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const rows = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i'
const table = `CREATE TABLE t (id INTEGER PRIMARY KEY, text); INSERT INTO t ${rows}, 'row ' || i FROM n;`

/** Statements that make a database. */
const kinds: Record<string, string> = {
  'with one page': 'PRAGMA user_version = 0; CREATE TABLE t (id); DROP TABLE t; VACUUM',
  'in UTF-16': `PRAGMA encoding = 'UTF-16le'; ${table}`,
  'that vacuums itself': `PRAGMA auto_vacuum = FULL; ${table} DELETE FROM t WHERE id % 2`,
  'that is vacuumed by and by': `PRAGMA auto_vacuum = INCREMENTAL; ${table} DELETE FROM t WHERE id < 400`,
  'with free pages': `${table} CREATE TABLE big AS SELECT zeroblob(300000) AS bytes; DROP TABLE big`,
  'with numbers of its own': `PRAGMA user_version = 77; PRAGMA application_id = 1234; ${table}`,
  'with an index of texts': `CREATE VIRTUAL TABLE t USING fts5 (id, text); INSERT INTO t ${rows}, 'row ' || i FROM n`,
  'with an index of places': `CREATE VIRTUAL TABLE t USING rtree (id, left, right); INSERT INTO t ${rows}, i, i + 1 FROM n`,
  'of strict tables without rowids': `CREATE TABLE t (id INTEGER, text TEXT, PRIMARY KEY (text, id)) STRICT, WITHOUT ROWID; INSERT INTO t ${rows}, 'x' FROM n`,
  'with triggers, views and computed columns': `
    CREATE TABLE t (id INTEGER PRIMARY KEY, text, twice AS (id * 2) STORED, thrice AS (id * 3));
    CREATE TABLE log (id, what);
    CREATE TRIGGER noted AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.id, 'new'); END;
    CREATE VIEW seen AS SELECT t.id, log.what FROM t JOIN log USING (id);
    CREATE INDEX partial ON t (text) WHERE id > 100;
    INSERT INTO t (id, text) ${rows}, 'row ' || i FROM n`,
  'with pages of 1024 bytes, in WAL mode': `PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; ${table}`,
  'with a sequence and statistics': `CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, text); INSERT INTO t (text) ${rows} FROM n; DELETE FROM t WHERE id > 490; ANALYZE`,
}

describe.each(Object.entries(kinds))('a database %s', (_, statements) => {
  it('is imported, written to and replicated', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'source.db')
    const source = new Database(path)
    source.exec(statements)
    const contents = contentsOf(source)
    source.close()

    const snapshot = closedAfterTest(await Snapshot.fromDatabase(path, join(folder, 'base.db')))
    const primary = closedAfterTest(await Primary.open(snapshot))
    const replica = closedAfterTest(await Replica.open(snapshot))
    expect(await contentsOfOpen(primary)).toEqual(contents)
    await primary.batch([
      { sql: 'CREATE TABLE added (id INTEGER PRIMARY KEY, bytes)' },
      { sql: 'INSERT INTO added (bytes) VALUES (zeroblob(50000)), (NULL)' },
    ])
    const hasTable = await primary.get("SELECT 1 FROM sqlite_schema WHERE name = 't'")
    if (hasTable !== undefined) await primary.run('DELETE FROM t WHERE id > 250')
    await primary.run('PRAGMA incremental_vacuum')
    await primary.checkpoint((log) => replica.replicate(log))
    await primary.run('VACUUM')
    await primary.checkpoint((log) => replica.replicate(log))
    await expectSameBytes(primary, replica)
    expect(await contentsOfOpen(replica)).toEqual(await contentsOfOpen(primary))
  })
})

it('an empty file is a database without a page, which becomes a blank one', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'empty.db')
  writeFileSync(path, '')
  const snapshot = closedAfterTest(await Snapshot.fromDatabase(path))
  const primary = closedAfterTest(await Primary.open(snapshot))
  await primary.run('CREATE TABLE t (id)')
  const replica = closedAfterTest(await Replica.open(snapshot))
  await primary.checkpoint((log) => replica.replicate(log))
  await expectSameBytes(primary, replica)
})

it('the working file of a primary can be imported while it is written to, and neither notices', async () => {
  const source = await openPrimary('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)')
  const { primary } = source
  await primary.run('INSERT INTO t (bytes) VALUES (zeroblob(100000))')
  let isWriting = true
  const writes = (async () => {
    while (isWriting) await primary.run('INSERT INTO t (bytes) VALUES (zeroblob(5000))')
  })()
  const snapshot = closedAfterTest(await Snapshot.fromDatabase(primary.path))
  isWriting = false
  await writes
  const fork = closedAfterTest(await Primary.open(snapshot))
  await fork.run('DELETE FROM t')
  const replica = closedAfterTest(await Replica.open(source.blank, source.logs))
  await primary.checkpoint((log) => replica.replicate(log))
  await expectSameBytes(primary, replica)
})

it('an import that fails leaves nothing behind', async () => {
  const folder = temporaryFolder()
  const [path, target] = [join(folder, 'source.db'), join(folder, 'base.db')]
  const source = new Database(path)
  source.exec(table)
  source.close()
  writeFileSync(target, 'something else')
  const onProgress = () => {
    throw new Error('enough')
  }
  await expectCode(Snapshot.fromDatabase(join(folder, 'none.db'), target), 'ERR_IO')
  await expectCode(Snapshot.fromDatabase(path, join(folder, 'no', 'folder.db')), 'ERR_IO')
  expect(readdirSync(folder).sort()).toEqual(['base.db', 'source.db'])
  const temporary = dirname((await Snapshot.blank()).path)
  const before = readdirSync(temporary)
  expect(await rejection(Snapshot.fromDatabase(path, undefined, { onProgress }))).toEqual(new Error('enough'))
  // What earlier tests left may go meanwhile.
  expect(readdirSync(temporary).filter((name) => !before.includes(name))).toEqual([])
})
