import { type Ack, Primary, type RunResult } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { withDamagedTable } from './support/damaged.js'
import { closedAfterTest, expectReplicated, openPrimary } from './support/database.js'
import { expectCode, expectSqlite } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
const all = async (primary: Primary) =>
  (await primary.all('SELECT n FROM numbers ORDER BY n')).map(({ n }) => n)
const codes = (results: PromiseSettledResult<unknown>[]) =>
  results.map((result) => (result.status === 'fulfilled' ? 'ok' : (result.reason as { code: string }).code))

it('requests of one tick share few transactions and commit in order', async () => {
  const source = await openPrimary(numbers)
  const { primary } = source
  const before = (await primary.stats()).transactionCount
  const acks = await Promise.all(Array.from({ length: 200 }, (_, n) => insert(primary, n + 1)))
  expect(acks.map((ack) => ack.peek().lastInsertRowid)).toEqual(acks.map((_, index) => index + 1))
  const frames = acks.map(({ frameNo }) => frameNo!)
  expect(frames).toEqual([...frames].sort((a, b) => a - b))
  expect((await primary.stats()).transactionCount - before).toBeLessThan(50)
  await expectReplicated(source)
})

describe('a request that fails', () => {
  it('rolls back alone, and only its caller hears of it', async () => {
    const source = await openPrimary(`${numbers}; CREATE TABLE strict (n INTEGER NOT NULL) STRICT`)
    const { primary } = source
    const results = await Promise.allSettled([
      insert(primary, 1),
      insert(primary, 1),
      primary.run('INSERT INTO nowhere VALUES (1)'),
      insert(primary, 2),
      primary.batch([
        { sql: 'INSERT INTO numbers (n) VALUES (3)' },
        { sql: 'INSERT INTO numbers (n) VALUES (1)' },
      ]),
      primary.run('INSERT INTO strict VALUES (?)', ['text']),
      primary.run('INSERT INTO numbers (n) VALUES (?)', []),
      primary.run('COMMIT'),
      primary.run('INSERT INTO numbers (n) SELECT 9 UNION ALL SELECT 8 UNION ALL SELECT 9'),
      insert(primary, 4),
      primary.run('SELECT 1; SELECT 2'),
    ])
    expect(codes(results)).toEqual([
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'SQLITE_ERROR',
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'SQLITE_CONSTRAINT_DATATYPE',
      undefined,
      'ERR_REFUSED',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'ok',
      undefined,
    ])
    expect(await all(primary)).toEqual([1, 2, 4])
    await expectReplicated(source)
  })

  it.each([
    ['INSERT OR FAIL', 'INSERT OR FAIL INTO numbers (n) VALUES (10), (11), (1), (12)'],
    ['UPDATE OR FAIL', 'UPDATE OR FAIL numbers SET n = CASE n WHEN 2 THEN 20 ELSE 1 END WHERE n > 1'],
    ['RAISE(FAIL)', 'INSERT INTO checked VALUES (10), (11), (-1), (12)'],
  ])('leaves nothing behind, also by %s, which SQLite does not back out', async (_name, sql) => {
    const source = await openPrimary(`${numbers}; CREATE TABLE checked (n INTEGER);
      CREATE TRIGGER no BEFORE INSERT ON checked WHEN new.n < 0 BEGIN SELECT RAISE(FAIL, 'negative'); END;
      INSERT INTO numbers (n) VALUES (1), (2), (3)`)
    const { primary } = source
    const alone = await Promise.allSettled([primary.run(sql)])
    const together = await Promise.allSettled([insert(primary, 4), primary.run(sql), insert(primary, 5)])
    expect([...alone, ...together].map(({ status }) => status)).toEqual([
      'rejected',
      'fulfilled',
      'rejected',
      'fulfilled',
    ])
    expect(await all(primary)).toEqual([1, 2, 3, 4, 5])
    expect(await primary.all('SELECT n FROM checked')).toEqual([])
    await expectReplicated(source)
  })

  it('by rolling back the whole transaction does not lose its neighbours', async () => {
    const source = await openPrimary(`${numbers}; CREATE TABLE checked (n INTEGER);
      CREATE TRIGGER no BEFORE INSERT ON checked WHEN new.n < 0 BEGIN SELECT RAISE(ROLLBACK, 'negative'); END;`)
    const { primary } = source
    const results = await Promise.allSettled([
      insert(primary, 1),
      primary.run('INSERT INTO checked VALUES (-1)'),
      insert(primary, 2),
      primary.run('INSERT OR ROLLBACK INTO numbers (n) VALUES (2)'),
      primary.batch([
        { sql: 'INSERT INTO numbers (n) VALUES (9)' },
        { sql: 'INSERT OR ROLLBACK INTO numbers (n) VALUES (1)' },
      ]),
      insert(primary, 3),
    ])
    expect(codes(results)).toEqual([
      'ok',
      'SQLITE_CONSTRAINT_TRIGGER',
      'ok',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      'ok',
    ])
    expect(await all(primary)).toEqual([1, 2, 3])
    await expectReplicated(source)
  })

  it('in thousands, each rolling back the whole transaction', async () => {
    const source = await openPrimary(`${numbers}; INSERT INTO numbers (n) VALUES (0)`)
    const { primary } = source
    const results = await Promise.allSettled(
      Array.from({ length: 12_000 }, (_, n) =>
        n % 3000 === 0
          ? insert(primary, n + 1)
          : primary.run('INSERT OR ROLLBACK INTO numbers (n) VALUES (0)'),
      ),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(4)
    expect(await all(primary)).toEqual([0, 1, 3001, 6001, 9001])
    await expectReplicated(source)
  })

  it('by a deferred foreign key fails alone', async () => {
    const source = await openPrimary(`${numbers};
      CREATE TABLE refs (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)`)
    const { primary } = source
    const results = await Promise.allSettled([
      insert(primary, 1),
      primary.run('INSERT INTO refs VALUES (77)'),
      primary.run('INSERT INTO refs VALUES (1)'),
      primary.batch([{ sql: 'INSERT INTO refs VALUES (2)' }, { sql: 'INSERT INTO numbers (n) VALUES (2)' }]),
      insert(primary, 3),
    ])
    expect(codes(results)).toEqual(['ok', 'SQLITE_CONSTRAINT_FOREIGNKEY', 'ok', 'ok', 'ok'])
    await expectSqlite(primary.run('INSERT INTO refs VALUES (77)'), 'SQLITE_CONSTRAINT_FOREIGNKEY')
    expect(await primary.all('SELECT n FROM refs ORDER BY n')).toEqual([{ n: 1 }, { n: 2 }])
    expect(await all(primary)).toEqual([1, 2, 3])
    await expectReplicated(source)
  })

  it('by what is damaged in the database fails alone', async () => {
    const primary = closedAfterTest(await Primary.open(await withDamagedTable(numbers)))
    const damaged = () => primary.run('INSERT INTO damaged (n) VALUES (1)')
    const results = await Promise.allSettled([
      insert(primary, 1),
      damaged(),
      insert(primary, 2),
      primary.batch([
        { sql: 'INSERT INTO numbers (n) VALUES (9)' },
        { sql: 'INSERT INTO damaged (n) VALUES (1)' },
      ]),
      damaged(),
      insert(primary, 3),
    ])
    expect(codes(results)).toEqual(['ok', 'SQLITE_CORRUPT', 'ok', 'SQLITE_CORRUPT', 'SQLITE_CORRUPT', 'ok'])
    await expectSqlite(damaged(), 'SQLITE_CORRUPT')
    await insert(primary, 4)
    expect(await all(primary)).toEqual([1, 2, 3, 4])
  })
})

describe('what cannot share a transaction', () => {
  it('runs between groups, and the order is kept', async () => {
    const source = await openPrimary('CREATE TABLE entries (id INTEGER PRIMARY KEY, version INTEGER)')
    const { primary } = source
    const entry = () =>
      primary.run('INSERT INTO entries (version) SELECT user_version FROM pragma_user_version')
    const results = await Promise.allSettled([
      entry(),
      primary.run('PRAGMA user_version = 1'),
      entry(),
      primary.run('VACUUM'),
      entry(),
      primary.run('-- a comment\n/* and another */ PRAGMA user_version = 2'),
      entry(),
      primary.run('ANALYZE'),
      entry(),
    ])
    expect(codes(results)).toEqual(results.map(() => 'ok'))
    const versions = (await primary.all('SELECT version FROM entries ORDER BY id')).map(
      ({ version }) => version,
    )
    expect(versions).toEqual([0, 1, 1, 2, 2])
    await expectReplicated(source)
  })

  it('is refused in a batch', async () => {
    const source = await openPrimary(numbers)
    for (const sql of [
      'VACUUM',
      'PRAGMA user_version = 1',
      'BEGIN',
      'COMMIT',
      'SAVEPOINT s',
      'ATTACH ":memory:" AS m',
    ]) {
      const batch = source.primary.batch([{ sql: 'INSERT INTO numbers (n) VALUES (1)' }, { sql }])
      await expectCode(batch, 'ERR_REFUSED')
    }
    expect(await all(source.primary)).toEqual([])
    await expectReplicated(source)
  })

  it('may fail, alone', async () => {
    const { primary } = await openPrimary(numbers)
    const results = await Promise.allSettled([
      insert(primary, 1),
      primary.run("VACUUM INTO '/nowhere/at/all.db'"),
      insert(primary, 2),
    ])
    expect(codes(results)).toEqual(['ok', 'SQLITE_CANTOPEN', 'ok'])
    expect(await all(primary)).toEqual([1, 2])
  })
})

it('writes of many callers who each wait for the one before', async () => {
  const source = await openPrimary('CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER)')
  const { primary } = source
  await primary.batch(
    Array.from({ length: 20 }, (_, id) => ({ sql: `INSERT INTO counters VALUES (${id}, 0)` })),
  )
  const caller = async (id: number) => {
    let ack: Ack<RunResult> | undefined
    for (let n = 0; n < 25; n++) {
      ack = await primary.run('UPDATE counters SET n = n + 1 WHERE id = ? RETURNING n', [id])
      expect(ack.peek().rows).toEqual([{ n: n + 1 }])
    }
    return ack!.frameNo!
  }
  await Promise.all(Array.from({ length: 20 }, (_, id) => caller(id)))
  expect(await primary.get('SELECT min(n) AS min, max(n) AS max FROM counters')).toEqual({ min: 25, max: 25 })
  await expectReplicated(source)
})
