import { existsSync } from 'node:fs'
import { init, Log, Primary, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

const users = 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)'

describe('run', () => {
  it('gives changes and the last rowid', async () => {
    const source = await openPrimary(users)
    const { primary } = source
    const first = await primary.run("INSERT INTO users (name) VALUES ('Alice'), ('Bob')")
    expect(first.peek()).toEqual({ changes: 2, lastInsertRowid: 2 })
    expect((await primary.run("UPDATE users SET name = 'x'")).peek().changes).toBe(2)
    expect((await primary.run('DELETE FROM users WHERE id = 9')).peek().changes).toBe(0)
    await expectReplicated(source)
  })

  it('gives the rows of a statement that returns some', async () => {
    const { primary } = await openPrimary(users)
    const inserted = await primary.run('INSERT INTO users (name) VALUES (?), (?) RETURNING id, name', [
      'a',
      'b',
    ])
    const rows = [
      { id: 1, name: 'a' },
      { id: 2, name: 'b' },
    ]
    expect(inserted.peek()).toEqual({ changes: 2, lastInsertRowid: 2, rows })
    expect((await primary.run('SELECT * FROM users')).peek()).toMatchObject({ changes: 0, rows })
    expect((await primary.run('DELETE FROM users WHERE id = 9 RETURNING id')).peek()).toMatchObject({
      changes: 0,
      rows: [],
    })
  })

  it('binds positional and named parameters of every type', async () => {
    const source = await openPrimary('CREATE TABLE v (a, b, c, d, e, f)')
    const { primary } = source
    const values = [null, 1, 1.5, 'text ä\u0000z', 2n ** 60n, Uint8Array.of(0, 1, 255)] as const
    await primary.run('INSERT INTO v VALUES (?, ?, ?, ?, ?, ?)', values)
    const [a, b, c, d, e, f] = values
    await primary.run('INSERT INTO v VALUES (:a, @b, $c, :d, @e, $f)', { a, b, c, d, e, f })
    const rows = (await primary.all(
      'SELECT a, b, c, d, typeof(e) AS e, f, e = 1 << 60 AS same FROM v',
    )) as object[]
    expect(rows).toHaveLength(2)
    for (const row of rows) {
      expect(row).toEqual({
        a: null,
        b: 1,
        c: 1.5,
        d: 'text ä\u0000z',
        e: 'integer',
        f: Uint8Array.of(0, 1, 255),
        same: 1,
      })
    }
    await expectReplicated(source)
  })

  it('takes parameters as they are when it is called', async () => {
    const { primary } = await openPrimary('CREATE TABLE v (a, b)')
    const buffer = Uint8Array.from({ length: 1000 }, (_, index) => index & 255)
    const view = buffer.subarray(3, 6)
    const positional: [number, Uint8Array] = [1, view]
    const named = { a: 2, b: view }
    const statements = [{ sql: 'INSERT INTO v VALUES (?, ?)', params: [3, view] as [number, Uint8Array] }]
    const acks = [
      primary.run('INSERT INTO v VALUES (?, ?)', positional),
      primary.run('INSERT INTO v VALUES (:a, :b)', named),
      primary.batch(statements),
    ]
    buffer.fill(0)
    positional[0] = 9
    named.a = 9
    statements[0]!.params[0] = 9
    statements[0]!.sql = 'DELETE FROM v'
    await Promise.all(acks)
    const blob = Uint8Array.of(3, 4, 5)
    expect(await primary.all('SELECT * FROM v ORDER BY a')).toEqual([1, 2, 3].map((a) => ({ a, b: blob })))
  })

  it('gives bigints with safeIntegers', async () => {
    const { primary } = await openPrimary(users, { safeIntegers: true })
    const ack = await primary.run('INSERT INTO users (id) VALUES (?) RETURNING id', [2n ** 62n])
    expect(ack.peek()).toEqual({ changes: 1, lastInsertRowid: 2n ** 62n, rows: [{ id: 2n ** 62n }] })
    expect(await primary.get('SELECT id FROM users')).toEqual({ id: 2n ** 62n })
    const { lastInsertRowid } = (await primary.run("INSERT INTO users (id, name) VALUES (5, 'x')")).peek()
    expect(lastInsertRowid).toBe(5n)
    const inSession = await primary.withConnection((connection) =>
      connection.get('SELECT max(id) AS id FROM users'),
    )
    expect(inSession.peek()).toEqual({ id: 2n ** 62n })
  })

  it('refuses an integer that SQLite cannot hold, and goes on', async () => {
    const { primary } = await openPrimary(users)
    const refused = primary.run('INSERT INTO users (id) VALUES (?)', [2n ** 64n])
    expect(await rejection(refused)).toBeInstanceOf(RangeError)
    await primary.run('INSERT INTO users (id) VALUES (1)')
    expect(await primary.all('SELECT id FROM users')).toEqual([{ id: 1 }])
  })

  it('knows more texts than it keeps numbers and prepared statements for', async () => {
    const source = await openPrimary('CREATE TABLE numbers (n INTEGER)')
    const { primary } = source
    const count = 2500
    const inserts = Array.from({ length: count }, (_, n) => primary.run(`INSERT INTO numbers VALUES (${n})`))
    await Promise.all(inserts)
    // Texts of before and after the numbering began anew, mixed, in groups of different sizes.
    for (const size of [1, 3, 700]) {
      const updates = Array.from({ length: size }, (_, index) => [
        primary.run('UPDATE numbers SET n = n + ?', [1]),
        primary.batch([
          { sql: `UPDATE numbers SET n = n + ${index + 1}` },
          { sql: `UPDATE numbers SET n = n - ${index + 1}` },
        ]),
      ])
      await Promise.all(updates.flat())
    }
    const sum = (count * (count - 1)) / 2 + count * (1 + 3 + 700)
    expect(await primary.get('SELECT count(*) AS n, sum(n) AS sum FROM numbers')).toEqual({ n: count, sum })
    await expectReplicated(source)
  })
})

describe('batch', () => {
  it('runs all statements, and gives the result of each', async () => {
    const { primary } = await openPrimary(users)
    const ack = await primary.batch([
      { sql: 'INSERT INTO users (name) VALUES (?)', params: ['a'] },
      { sql: 'INSERT INTO users (name) VALUES (:name) RETURNING name', params: { name: 'b' } },
      { sql: 'SELECT count(*) AS n FROM users' },
    ])
    expect(ack.peek()).toEqual([
      { changes: 1, lastInsertRowid: 1 },
      { changes: 1, lastInsertRowid: 2, rows: [{ name: 'b' }] },
      { changes: 0, lastInsertRowid: 2, rows: [{ n: 2 }] },
    ])
  })

  it('runs none when one fails', async () => {
    const source = await openPrimary(users)
    const { primary } = source
    const statements = [
      { sql: "INSERT INTO users (name) VALUES ('a')" },
      { sql: 'INSERT INTO users (id) VALUES (1)' },
    ]
    await expectSqlite(primary.batch(statements), 'SQLITE_CONSTRAINT_PRIMARYKEY')
    expect(await primary.all('SELECT * FROM users')).toEqual([])
    await expectReplicated(source)
  })

  it('may be empty', async () => {
    const { primary } = await openPrimary()
    expect((await primary.batch([])).peek()).toEqual([])
  })
})

it('names its page size, its last and its saved frame', async () => {
  const { primary, save } = await openPrimary('', { pageSize: 1024 })
  expect([primary.pageSize, primary.lastFrameNo, primary.savedFrameNo]).toEqual([1024, undefined, undefined])
  const { frameNo } = await primary.run(users)
  expect(frameNo).toBe(1)
  expect([primary.lastFrameNo, primary.savedFrameNo]).toEqual([1, undefined])
  await save()
  expect([primary.lastFrameNo, primary.savedFrameNo]).toEqual([1, 1])
  expect(await primary.stats()).toMatchObject({
    lastFrameNo: 1,
    savedFrameNo: 1,
    pageSize: 1024,
    unsavedBytes: 0,
    transactionCount: 1,
    requestCount: 1,
    pendingRequestCount: 0,
    walError: undefined,
  })
})

it('gives ERR_CLOSED for every method after close', async () => {
  const { primary } = await openPrimary(users)
  await primary.close()
  const calls: (() => unknown)[] = [
    () => primary.run('SELECT 1'),
    () => primary.batch([]),
    () => (primary as unknown as Primary<{ f(): void }>).call('f'),
    () => primary.withConnection(async () => {}),
    () => primary.transaction(async () => {}),
    () => primary.get('SELECT 1'),
    () => primary.all('SELECT 1'),
    () => primary.iterate('SELECT 1'),
    () => primary.captureFrames(),
    () => primary.checkpoint(() => {}),
    () => primary.snapshot('x.db'),
    () => primary.intoReplica(),
    () => primary.stats(),
  ]
  for (const call of calls) await expectCode((async () => call())(), 'ERR_CLOSED')
})

describe('close', () => {
  it('executes what was asked for before', async () => {
    const { primary } = await openPrimary(users)
    const frames = primary.captureFrames()
    const acks = Array.from({ length: 100 }, () => primary.run("INSERT INTO users (name) VALUES ('x')"))
    const closed = primary.close()
    const executed = await Promise.all(acks)
    expect(executed.map((ack) => ack.peek().lastInsertRowid)).toEqual(acks.map((_, index) => index + 1))
    await closed
    await expectCode(executed[0]!.durable(), 'ERR_CLOSED')
    expect(await frames.next()).toBeUndefined()
  })

  it('waits for a transaction that is under way', async () => {
    const { primary } = await openPrimary(users)
    const begun = deferred()
    const goOn = deferred()
    const executed = primary.transaction(async (connection) => {
      await connection.run("INSERT INTO users (name) VALUES ('x')")
      begun.resolve()
      await goOn.promise
      return (await connection.get('SELECT count(*) AS n FROM users'))?.n
    })
    await begun.promise
    const closed = primary.close()
    await expectCode(primary.run('SELECT 1'), 'ERR_CLOSED')
    goOn.resolve()
    expect((await executed).peek()).toBe(1)
    await closed
  })

  it('does not wait for the callback that calls it', async () => {
    const { primary } = await openPrimary(users)
    const held = primary.withConnection(async (connection) => {
      await primary.close()
      await connection.run('SELECT 1')
    })
    await expectCode(held, 'ERR_CLOSED')
  })

  it('ends a callback that does not end in time', async () => {
    const { primary } = await openPrimary(users, { closeTimeoutMs: 200 })
    const held = primary.withConnection(() => new Promise<void>(() => {}))
    const queued = primary.run("INSERT INTO users (name) VALUES ('x')")
    held.catch(() => {})
    queued.catch(() => {})
    await primary.close()
    await expectCode(held, 'ERR_CLOSED')
    await expectCode(queued, 'ERR_CLOSED')
  })

  it('interrupts statements that do not end in time', async () => {
    const { primary } = await openPrimary(users, { closeTimeoutMs: 200 })
    const forever = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c'
    const calls = [
      primary.run(forever),
      primary.batch([{ sql: forever }, { sql: forever }]),
      primary.run('SELECT 1'),
    ]
    for (const call of calls) call.catch(() => {})
    await primary.close()
    for (const call of calls) await expectCode(call, 'ERR_CLOSED')
    expect(existsSync(primary.path)).toBe(false)
  })

  it('a second time does nothing, also with await using', async () => {
    const { primary } = await openPrimary(users)
    await Promise.all([primary.close(), primary.close(), primary[Symbol.asyncDispose]()])
    await primary.close()
  })
})

describe('open', () => {
  it('refuses logs that do not follow the snapshot', async () => {
    const { log } = await init(`${users}; INSERT INTO users VALUES (1, 'Alice')`)
    const other = await init('CREATE TABLE others (a)')
    const late = await Log.from(await log.bytes())
    await late.truncate(2)
    const open = (logs: Log[], pageSize = 4096) =>
      Snapshot.blank({ pageSize }).then((blank) => Primary.open(blank, logs))
    await expectCode(open([late]), 'ERR_LOG_GAP')
    await expectCode(open([log], 1024), 'ERR_PAGE_SIZE')
    await expectCode(Primary.open(other.snapshot, [late]), 'ERR_LINEAGE')
  })

  it('refuses a snapshot and a log that are closed', async () => {
    const closed = await Snapshot.blank()
    await closed.close()
    await expectCode(Primary.open(closed), 'ERR_CLOSED')
    const { log } = await init(users)
    await log.close()
    await expectCode(Primary.open(await Snapshot.blank(), [log]), 'ERR_CLOSED')
  })
})
