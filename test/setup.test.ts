// What the application does with each connection before it is used: option `setup`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { FileStore, MylibsqlError, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, openPrimary, openReplica } from './support/database.js'
import { expectCode, expectSqlite } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

/** A module of this source, in a folder of its own. */
function moduleOf(source: string): URL {
  const path = join(temporaryFolder(), 'setup.mjs')
  writeFileSync(path, source)
  return pathToFileURL(path)
}

const length = `
  connection.function('half', { deterministic: true }, (x) => x / 2)
  connection.aggregate('longest', { start: 0, step: (max, text) => Math.max(max, text.length) })`
const sumOf = `connection.table('upto', {
    columns: ['n'], parameters: ['last'], *rows(last) { for (let n = 1; n <= last; n++) yield [n] } })`
const functions = `export default function (connection) {${length}
  ${sumOf}
}`

describe('functions', () => {
  it('are known to writes, queries, transactions and procedures, and in what a schema computes', async () => {
    const procedures = moduleOf(`export const halfOf = (connection, x) =>
      connection.prepare('SELECT half(?) AS x').get(x).x`)
    const source = await openPrimary<{ halfOf: (connection: never, x: number) => number }>('', {
      setup: moduleOf(functions),
      procedures,
    })
    const { primary } = source
    await primary.run('CREATE TABLE t (a, b AS (half(a)) STORED, c TEXT CHECK (half(4) = 2))')
    await primary.run('CREATE INDEX halves ON t (half(a))')
    await primary.batch([{ sql: 'INSERT INTO t (a, c) SELECT half(n), ? FROM upto(3)', params: ['xyz'] }])
    const rows = [1, 2, 3].map((n) => ({ a: n / 2, b: n / 4 }))
    expect(await primary.all('SELECT a, b FROM t ORDER BY half(a)')).toEqual(rows)
    expect(await primary.get('SELECT longest(c) AS length FROM t')).toEqual({ length: 3 })
    const iterated = []
    for await (const { n } of primary.iterate<{ n: number }>('SELECT half(n) AS n FROM upto(2)'))
      iterated.push(n)
    expect(iterated).toEqual([0.5, 1])
    expect((await primary.call('halfOf', 3)).peek()).toBe(1.5)
    const inTransaction = await primary.transaction((connection) => connection.get('SELECT half(8) AS x'))
    expect(inTransaction.peek()).toEqual({ x: 4 })
    expect(await primary.readTransaction((connection) => connection.get('SELECT half(6) AS x'))).toEqual({
      x: 3,
    })

    await source.save()
    const replica = await openReplica(source, { setup: moduleOf(functions) })
    expect(await replica.all('SELECT a, b FROM t WHERE half(a) = 0.5')).toEqual([rows[1]])
    // Applying logs takes none of them: pages are replicated. Queries need them.
    const plain = await openReplica(source)
    const folder = temporaryFolder()
    const [expected, ...others] = await Promise.all(
      [primary, replica, plain].map(async (database, index) => {
        const { path, pageCount, pageSize } = await database.snapshot(join(folder, `${index}.db`))
        return readFileSync(path).subarray(0, pageCount * pageSize)
      }),
    )
    for (const other of others) expect(other.equals(expected!)).toBe(true)
    expect(await replica.get('PRAGMA integrity_check')).toEqual({ integrity_check: 'ok' })
    const error = await expectSqlite(plain.all('SELECT half(a) FROM t'), 'SQLITE_ERROR')
    expect(error.message).toBe('no such function: half')
  })

  it('stay through changes of role', async () => {
    const source = await openPrimary('CREATE TABLE t (a)', { setup: moduleOf(functions) })
    const again = await (await source.primary.intoReplica()).intoPrimary()
    closedAfterTest(again)
    expect((await again.run('INSERT INTO t VALUES (half(3)) RETURNING a')).peek().rows).toEqual([{ a: 1.5 }])
    expect(await again.all('SELECT half(a) AS a FROM t')).toEqual([{ a: 0.75 }])
  })

  it('are those of the primary that a replica of a store becomes', async () => {
    const store = new FileStore(temporaryFolder())
    await store.putSnapshot(await Snapshot.blank())
    const setup = moduleOf(functions)
    const primary = closedAfterTest(await Primary.open({ store, setup }))
    const ack = await primary.run('CREATE TABLE t AS SELECT half(1) AS a')
    const replica = closedAfterTest(await Replica.follow(store, { setup }))
    await replica.waitFor(ack.frameNo)
    expect(await replica.all('SELECT half(a) AS a FROM t')).toEqual([{ a: 0.25 }])
    const next = closedAfterTest(await replica.promote())
    await next.run('INSERT INTO t VALUES (half(5))')
    expect(await next.all('SELECT half(a) AS a FROM t')).toEqual([{ a: 0.25 }, { a: 1.25 }])
  })

  it('that throw fail the statement alone, and leave nothing', async () => {
    const setup = moduleOf(
      `export default (connection) => connection.function('fail', (text) => { throw new RangeError(text) })`,
    )
    const { primary } = await openPrimary('CREATE TABLE t (a)', { setup })
    const outcomes = await Promise.allSettled([
      primary.run('INSERT INTO t VALUES (1)'),
      primary.run('INSERT INTO t SELECT fail(?)', ['written']),
      primary.run('INSERT INTO t VALUES (3)'),
    ])
    expect(outcomes[1]).toMatchObject({
      status: 'rejected',
      reason: { name: 'RangeError', message: 'written' },
    })
    const read = { name: 'RangeError', message: 'read', sql: 'SELECT fail(?) FROM t' }
    await expect(primary.all(read.sql, ['read'])).rejects.toMatchObject(read)
    expect(await primary.all('SELECT a FROM t')).toEqual([{ a: 1 }, { a: 3 }])
  })

  it('that do not return do not keep a database from being closed', async () => {
    const setup = moduleOf(
      `export default (connection) => connection.function('forever', () => { for (;;); })`,
    )
    const { primary } = await openPrimary('', { setup, closeTimeoutMs: 100, readers: 2 })
    const reads = [primary.get('SELECT forever()'), primary.iterate('SELECT forever()').next()]
    const settled = Promise.allSettled(reads)
    // Until both threads are in it.
    await new Promise((resolve) => setTimeout(resolve, 300))
    await primary.close()
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_CLOSED' } })
    }
  })
})

it('pragmas are those of all connections; integers are as the option has them', async () => {
  const setup = moduleOf(`
    export default function (connection) {
      connection.pragma('case_sensitive_like = 1')
      connection.pragma('cache_size = -1234')
      connection.defaultSafeIntegers(true)
    }`)
  const { primary } = await openPrimary('CREATE TABLE t (a)', { setup })
  await primary.run('INSERT INTO t VALUES (7)')
  expect(await primary.all(`SELECT a, 'A' LIKE 'a' AS same FROM t`)).toEqual([{ a: 7, same: 0 }])
  expect(await primary.get('PRAGMA cache_size')).toEqual({ cache_size: -1234 })
  expect((await primary.run('PRAGMA cache_size')).peek().rows).toEqual([{ cache_size: -1234 }])
  expect((await primary.transaction((connection) => connection.get('SELECT a FROM t'))).peek()).toEqual({
    a: 7,
  })
})

describe('a module', () => {
  it.each([
    ['is not there', undefined, 'Cannot import the setup of connections from'],
    ['cannot be read', 'export default function (', 'Cannot import the setup of connections from'],
    ['has no default export', 'export function setUp() {}', 'has no function as its default export'],
    ['has another default export', 'export default 7', 'has no function as its default export'],
    ['throws', 'export default () => { throw new RangeError("no luck") }', 'threw: no luck'],
    ['throws a value', 'export default () => { throw "no luck" }', 'threw: no luck'],
    ['is asynchronous', 'export default async () => { throw new Error("later") }', 'returned a promise'],
    [
      'begins a transaction',
      'export default (connection) => connection.exec("BEGIN")',
      'left a transaction open',
    ],
    [
      'iterates by halves',
      'export default (connection) => { for (const _ of connection.prepare("SELECT 1 UNION SELECT 2").iterate()) return }',
      undefined,
    ],
    [
      'leaves an iteration open',
      'export default (connection) => { connection.prepare("SELECT 1 UNION SELECT 2").iterate().next() }',
      'left an iteration open',
    ],
    ['closes it', 'export default (connection) => connection.close()', 'must not be closed'],
    ['changes the journal', 'export default (c) => c.pragma("journal_mode = DELETE")', 'journal_mode'],
    ['folds by itself', 'export default (c) => c.pragma("wal_autocheckpoint = 1")', 'wal_autocheckpoint'],
    [
      'writes',
      'export default (c) => { if (!c.readonly) c.exec("CREATE TABLE t (a)") }',
      'wrote to the database',
    ],
    ['has a temporary table', 'export default (c) => c.exec("CREATE TEMP TABLE t (a)")', undefined],
  ])('that %s', async (_name, source, message) => {
    const path = join(temporaryFolder(), 'working.db')
    const setup = source === undefined ? new URL('file:///no-such-module.mjs') : moduleOf(source)
    const blank = await Snapshot.blank()
    for (const open of [Primary.open, Replica.open]) {
      const opening = open(blank, [], { path, setup }) as Promise<Primary | Replica>
      if (message === undefined) await (await opening).close()
      else expect((await expectCode(opening, 'ERR_SETUP')).message).toContain(message)
      // Nothing is left of it.
      await (await Primary.open(blank, [], { path })).close()
    }
  })

  it('that fails for readers fails queries, and nothing else', async () => {
    const setup = moduleOf(`export default (c) => { if (c.readonly) throw new RangeError('not here') }`)
    const { primary } = await openPrimary('CREATE TABLE t (a)', { setup })
    await primary.run('INSERT INTO t VALUES (1)')
    const reads = await Promise.allSettled([
      primary.all('SELECT a FROM t'),
      primary.iterate('SELECT a FROM t').next(),
      primary.readTransaction((connection) => connection.all('SELECT a FROM t')),
    ])
    for (const read of reads) {
      const reason = { code: 'ERR_SETUP', cause: { name: 'RangeError', message: 'not here' } }
      expect(read).toMatchObject({ status: 'rejected', reason })
    }
    expect((await primary.run('DELETE FROM t')).peek().changes).toBe(1)
  })

  it('that never is loaded: a primary is not opened, and is closed where it is so for readers', async () => {
    const blank = await Snapshot.blank()
    const opening = Primary.open(blank, [], { setup: moduleOf('await new Promise(() => {})') })
    // The thread of the primary is the first to load it.
    const folder = temporaryFolder()
    const loaded = JSON.stringify(join(folder, 'loaded'))
    const second = `import { existsSync, writeFileSync } from 'node:fs'
      if (existsSync(${loaded})) await new Promise(() => {})
      writeFileSync(${loaded}, '')
      export default () => {}`
    const primary = await Primary.open(blank, [], { setup: moduleOf(second), readers: 2 })
    const reading = primary.get('SELECT 1').catch((error: unknown) => error)
    await primary.close()
    expect(await reading).toMatchObject({ code: 'ERR_CLOSED' })
    const error = await expectCode(opening, 'ERR_SETUP')
    expect(error.message).toContain('it has not been loaded in 10000 ms')
  })

  it('must be given by its URL', async () => {
    const opening = Primary.open(await Snapshot.blank(), [], { setup: './setup.js' as unknown as URL })
    await expect(opening).rejects.toThrow(TypeError)
    expect(new MylibsqlError('ERR_SETUP', '').code).toBe('ERR_SETUP')
  })
})
