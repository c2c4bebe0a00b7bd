import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

type Module = typeof import('./support/procedures.mjs')

const procedures = new URL('./support/procedures.mjs', import.meta.url)
const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY)'

/** Every way for a statement to reach the connection that writes. */
const ways: [string, (primary: Primary<Module>, sql: string) => Promise<unknown>][] = [
  ['run', (primary, sql) => primary.run(sql)],
  ['run with a comment', (primary, sql) => primary.run(`/* a comment */ -- and\n${sql}`)],
  ['withConnection run', (primary, sql) => primary.withConnection((connection) => connection.run(sql))],
  ['withConnection all', (primary, sql) => primary.withConnection((connection) => connection.all(sql))],
  [
    'withConnection exec',
    (primary, sql) => primary.withConnection((connection) => connection.exec(`SELECT 1; ${sql}`)),
  ],
  [
    'transaction exec',
    (primary, sql) => primary.transaction((connection) => connection.exec(`SELECT 1; ${sql}`)),
  ],
  ['a procedure', (primary, sql) => primary.call('run', sql)],
]

const refused = [
  'PRAGMA journal_mode = DELETE',
  'PRAGMA journal_mode = OFF',
  'pragma MAIN.Journal_Mode(memory)',
  'PRAGMA wal_autocheckpoint = 1',
  'PRAGMA wal_checkpoint(TRUNCATE)',
  'PRAGMA wal_checkpoint',
  'PRAGMA page_size = 1024',
  'PRAGMA locking_mode = EXCLUSIVE',
]

describe.each(ways)('%s', (_name, execute) => {
  it('refuses pragmas that would break replication, with the reason', async () => {
    const source = await openPrimary<Module>(numbers, { procedures })
    const { primary } = source
    for (const sql of refused) {
      const error = await expectCode(execute(primary, sql), 'ERR_REFUSED')
      expect(error.message).toMatch(/ is refused: /)
      expect((error.cause as { code?: string }).code).toBe('SQLITE_AUTH')
    }
    await primary.run('INSERT INTO numbers VALUES (1)')
    expect(await primary.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 1 })
    await expectReplicated(source)
  })
})

it('a refusal is that of its own caller only', async () => {
  const source = await openPrimary(numbers)
  const { primary } = source
  const [before, pragma, after] = await Promise.allSettled([
    primary.run('INSERT INTO numbers VALUES (1)'),
    primary.run('PRAGMA journal_mode = DELETE'),
    primary.run('INSERT INTO numbers VALUES (2)'),
  ])
  expect([before.status, pragma.status, after.status]).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  await expectReplicated(source)
})

it.each([
  'BEGIN',
  'begin immediate',
  'COMMIT',
  'END',
  'ROLLBACK',
  'SAVEPOINT s',
  'RELEASE s',
  '/* x */ ; COMMIT',
])('run refuses %s', async (sql) => {
  const source = await openPrimary(numbers)
  const { primary } = source
  const results = await Promise.allSettled([
    primary.run('INSERT INTO numbers VALUES (1)'),
    primary.run(sql),
    primary.run('INSERT INTO numbers VALUES (2)'),
  ])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  const error = await expectCode(primary.run(sql), 'ERR_REFUSED')
  expect(error.message).toContain('transaction()')
  expect(await primary.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 2 })
  await expectReplicated(source)
})

describe('an attached database', () => {
  async function openAttached() {
    const source = await openPrimary<Module>(numbers, { procedures })
    const path = join(temporaryFolder(), 'other.db')
    new Database(path).exec('CREATE TABLE others (a); INSERT INTO others VALUES (7)').close()
    await source.primary.run('ATTACH ? AS other', [path])
    return { source, path }
  }

  it('is read, and joined', async () => {
    const { source } = await openAttached()
    const { primary } = source
    await primary.run('INSERT INTO numbers SELECT a FROM other.others')
    expect((await primary.run('SELECT a FROM other.others, numbers WHERE n = a')).peek().rows).toEqual([
      { a: 7 },
    ])
    await primary.run('DETACH other')
    await expectReplicated(source)
  })

  it.each([
    'INSERT INTO others VALUES (1)',
    'UPDATE other.others SET a = 1',
    'DELETE FROM others',
    'CREATE TABLE other.t (a)',
    'DROP TABLE other.others',
  ])('is not written to: %s', async (sql) => {
    const { source, path } = await openAttached()
    for (const [, execute] of ways.slice(2)) {
      const error = await expectCode(execute(source.primary, sql), 'ERR_REFUSED')
      expect(error.message).toContain('attached')
    }
    await expectCode(source.primary.run(sql), 'ERR_REFUSED')
    expect(new Database(path, { readonly: true }).prepare('SELECT a FROM others').pluck().all()).toEqual([7])
    await expectReplicated(source)
  })
})

it('what replication does not mind is allowed', async () => {
  const source = await openPrimary(numbers)
  const { primary } = source
  for (const sql of [
    'PRAGMA journal_mode',
    'PRAGMA journal_mode = WAL',
    'PRAGMA page_size',
    'PRAGMA user_version = 7',
    'PRAGMA application_id = 8',
    'PRAGMA foreign_keys = OFF',
    'PRAGMA cache_size = 100',
    'PRAGMA integrity_check',
    'PRAGMA optimize',
    'CREATE TEMP TABLE scratch (a)',
    'INSERT INTO scratch VALUES (1)',
    'REINDEX',
    'VACUUM',
  ]) {
    await primary.run(sql)
  }
  expect(await primary.get('PRAGMA user_version')).toEqual({ user_version: 7 })
  await expectReplicated(source)
})
