import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { init, Log, Primary, type PrimaryOptions, Replica, Snapshot, type SqlParams } from 'mylibsql'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  closedAfterTest,
  expectReplicated,
  expectSameBytes,
  integrityCheck,
  openPrimary,
  pagesOf,
} from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

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

describe('the working file', () => {
  it('is kept at `path` as a plain database without a WAL', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary, save } = await openPrimary(users, { path })
    expect(primary.path).toBe(path)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    await save()
    const snapshot = await primary.snapshot(join(dirname(path), 'snapshot.db'))
    await primary.get('SELECT 1')
    await primary.close()
    expect(readdirSync(dirname(path)).filter((name) => name.startsWith('working.db-'))).toEqual([
      'working.db-mylibsql',
    ])
    expect(readFileSync(path).equals(await pagesOf(snapshot))).toBe(true)
    integrityCheck(path)
  })

  it('takes a file: URL, and the path of an earlier opening again', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const blank = await Snapshot.blank()
    const first = await Primary.open(blank, [], { path: pathToFileURL(path) })
    await first.run(users)
    await first.close()
    // Not saved, so it is not there any more: the file is rebuilt from the snapshot.
    const second = closedAfterTest(await Primary.open(blank, [], { path }))
    expect(second.lastFrameNo).toBeUndefined()
    expect(await second.all('SELECT * FROM sqlite_schema')).toEqual([])
  })

  it('is read by other programs while it is open', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary } = await openPrimary(users, { path })
    const other = new Database(path, { readonly: true })
    onTestFinished(() => void other.close())
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    expect(other.prepare('SELECT name FROM users').pluck().all()).toEqual(['Alice'])
  })

  it.each([
    ['another primary', (snapshot: Snapshot, path: string) => Primary.open(snapshot, [], { path })],
    ['a replica', (snapshot: Snapshot, path: string) => Replica.open(snapshot, [], { path })],
  ])('is locked against %s of this process', async (_name, open) => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary, blank } = await openPrimary(users, { path })
    const error = await expectCode(open(blank, path), 'ERR_LOCKED')
    expect(error.details).toEqual({ path })
    expect(error.message).toContain(path)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    await primary.close()
    await (await open(blank, path)).close()
  })

  it('is locked against another process', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const child = fork(fileURLToPath(new URL('support/open-primary.mjs', import.meta.url)), [path])
    onTestFinished(() => void child.kill('SIGKILL'))
    expect((await once(child, 'message'))[0]).toBe('open')
    const blank = await Snapshot.blank()
    await expectCode(Primary.open(blank, [], { path }), 'ERR_LOCKED')
    child.kill('SIGKILL')
    await once(child, 'exit')
    // What a killed process leaves behind is a working file, and free.
    await (await Primary.open(blank, [], { path })).close()
  })

  it.each(['database', 'text'])('never takes the place of a %s of somebody else', async (kind) => {
    const path = join(temporaryFolder(), 'mine')
    if (kind === 'database') new Database(path).exec(users).close()
    else writeFileSync(path, 'my text')
    const before = readFileSync(path)
    const error = await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_PATH_EXISTS')
    expect(error.details).toEqual({ path })
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(readdirSync(dirname(path))).toEqual(['mine'])
  })

  it('is temporary without `path`, and gone after close', async () => {
    const { primary } = await openPrimary(users)
    expect(existsSync(primary.path)).toBe(true)
    await primary.get('SELECT 1')
    await primary.close()
    const name = primary.path.slice(dirname(primary.path).length + 1)
    expect(readdirSync(dirname(primary.path)).filter((file) => file.startsWith(name))).toEqual([])
  })

  it('in a folder that is not there is ERR_IO', async () => {
    const path = join(temporaryFolder(), 'nowhere', 'working.db')
    const error = await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_IO')
    expect((error.cause as { code?: string }).code).toBe('ENOENT')
  })
})

describe('snapshot', () => {
  it('is the database as of the last commit, saved or not, and goes on as a history', async () => {
    const folder = temporaryFolder()
    const { primary, save, logs } = await openPrimary(users)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    const snapshot = await primary.snapshot(join(folder, 'snapshot.db'))
    expect(snapshot.lastFrameNo).toBe(primary.lastFrameNo)
    await primary.run("INSERT INTO users (name) VALUES ('Bob')")
    await save()
    const other = closedAfterTest(await Primary.open(snapshot, logs))
    expect(other.lastFrameNo).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, other)
  })

  it('takes no part of a transaction that is open', async () => {
    const folder = temporaryFolder()
    const { primary } = await openPrimary(users)
    await primary.transaction(async (connection) => {
      await connection.run("INSERT INTO users (name) VALUES ('Alice')")
      const snapshot = await primary.snapshot(join(folder, 'snapshot.db'))
      expect((await pagesOf(snapshot)).includes('Alice')).toBe(false)
      expect(snapshot.lastFrameNo).toBe(primary.lastFrameNo)
    })
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

describe('arguments', () => {
  let primary: Primary
  beforeAll(async () => {
    primary = await Primary.open(await Snapshot.blank())
    await primary.run('CREATE TABLE v (a, b)')
  })
  afterAll(() => primary.close())

  const notBindable: [unknown, string][] = [
    [true, 'boolean true'],
    [undefined, 'undefined'],
    [() => {}, 'function (anonymous)'],
    [Symbol('s'), 'symbol Symbol(s)'],
    [new Date(0), 'an instance of Date'],
    [{}, 'an instance of Object'],
    [[1], 'an instance of Array'],
    [new ArrayBuffer(1), 'an instance of ArrayBuffer'],
  ]

  it.each(notBindable)('names a parameter that cannot be bound: %s', async (value, got) => {
    const must = `must be null, a number, a bigint, a string or a Uint8Array, got ${got}`
    const positional = [1, value] as unknown as SqlParams
    const named = { a: 1, b: value } as unknown as SqlParams
    const expectMessage = async (promise: Promise<unknown>, message: string) => {
      const error = await rejection(promise)
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toBe(message)
    }
    await expectMessage(primary.run('INSERT INTO v VALUES (?, ?)', positional), `params[1] ${must}`)
    await expectMessage(primary.run('INSERT INTO v VALUES (:a, :b)', named), `params.b ${must}`)
    await expectMessage(primary.get('SELECT ?, ?', positional), `params[1] ${must}`)
    await expectMessage(primary.all('SELECT ?, ?', positional), `params[1] ${must}`)
    await expectMessage(
      primary.batch([{ sql: 'SELECT 1' }, { sql: 'SELECT ?, ?', params: positional }]),
      `statements[1].params[1] ${must}`,
    )
    await expectMessage(
      primary.withConnection((connection) => connection.run('SELECT ?, ?', positional)),
      `params[1] ${must}`,
    )
    expect(() => primary.iterate('SELECT ?, ?', positional)).toThrow(`params[1] ${must}`)
    // Nothing of it reached the worker.
    expect(await primary.get('SELECT count(*) AS n FROM v')).toEqual({ n: 0 })
  })

  it('names a hole among the parameters', async () => {
    // biome-ignore lint/suspicious/noSparseArray: what is tested
    const error = await rejection(primary.run('SELECT ?, ?, ?', [1, , true] as unknown as SqlParams))
    expect(error.message).toContain('params[1] must be')
  })

  it.each([
    ['a string', 'x', "string 'x'"],
    ['a Map', new Map([['a', 1]]), 'an instance of Map'],
    ['a Date', new Date(0), 'an instance of Date'],
    ['a blob', new Uint8Array(2), 'an instance of Uint8Array'],
    ['null', null, 'null'],
  ])('%s is no list of parameters', async (_name, params, got) => {
    const error = await rejection(primary.run('SELECT 1', params as unknown as SqlParams))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(`params must be an array, or an object of named parameters, got ${got}`)
  })

  it('tells of too many, too few and unknown parameters what better-sqlite3 tells', async () => {
    const [few, many, unknown] = [
      await rejection(primary.run('SELECT ?, ?', [1])),
      await rejection(primary.run('SELECT ?', [1, 2])),
      await rejection(primary.run('SELECT :a', { b: 1 })),
    ]
    expect([few, many, unknown].map((error) => error.constructor)).toEqual([
      RangeError,
      RangeError,
      RangeError,
    ])
    expect(unknown?.message).toBe('Missing named parameter "a"')
  })

  it.each<[string, (primary: Primary) => unknown, string]>([
    ['run', (p) => p.run(7 as never), 'sql must be a string of SQL, got number 7'],
    ['get', (p) => p.get(null as never), 'sql must be a string of SQL, got null'],
    ['all', (p) => p.all({} as never), 'sql must be a string of SQL, got an instance of Object'],
    ['iterate', (p) => p.iterate(undefined as never), 'sql must be a string of SQL, got undefined'],
    ['batch', (p) => p.batch('x' as never), "statements must be an array of { sql, params }, got string 'x'"],
    [
      'batch',
      (p) => p.batch(['x'] as never),
      "statements[0] must be an object { sql, params }, got string 'x'",
    ],
    [
      'batch',
      (p) => p.batch([{ sql: 1 }] as never),
      'statements[0].sql must be a string of SQL, got number 1',
    ],
    ['withConnection', (p) => p.withConnection(1 as never), 'work must be a function, got number 1'],
    ['transaction', (p) => p.transaction(undefined as never), 'work must be a function, got undefined'],
    ['checkpoint', (p) => p.checkpoint('x' as never), "saveLog must be a function, got string 'x'"],
    ['snapshot', (p) => p.snapshot(1 as never), 'path must be a path (string or file: URL), got number 1'],
    [
      'captureFrames',
      (p) => p.captureFrames({ credits: 1 } as never),
      'Unknown option "credits" of captureFrames; did you mean "credit"?',
    ],
    [
      'captureFrames',
      (p) => p.captureFrames({ credit: 'x' as never }),
      `Option "credit" of captureFrames must be one of 'taken', 'acknowledged', got string 'x'`,
    ],
  ])('%s refuses a wrong argument', async (_name, call, message) => {
    const error = await rejection((async () => call(primary))())
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })

  it.each<[string, unknown[], string]>([
    ['a snapshot', [{}], 'snapshot must be a Snapshot, got an instance of Object'],
    ['logs', ['snapshot', 'x'], "logs must be an array of logs, got string 'x'"],
    ['a log', ['snapshot', [1]], 'logs[0] must be a Log, got number 1'],
    ['options', ['snapshot', [], null], 'The options of Primary.open must be an object, got null'],
    [
      'an option',
      ['snapshot', [], { unsavedByteMax: 1 }],
      'Unknown option "unsavedByteMax" of Primary.open; did you mean "unsavedBytesMax"?',
    ],
    [
      'path',
      ['snapshot', [], { path: 1 }],
      'Option "path" of Primary.open must be a path (string or file: URL), got number 1',
    ],
    [
      'readers',
      ['snapshot', [], { readers: 0 }],
      'Option "readers" of Primary.open must be a positive integer, got number 0',
    ],
    [
      'busyTimeoutMs',
      ['snapshot', [], { busyTimeoutMs: 1.5 }],
      'Option "busyTimeoutMs" of Primary.open must be milliseconds from 1 to 2147483647, got number 1.5',
    ],
    [
      'safeIntegers',
      ['snapshot', [], { safeIntegers: 1 }],
      'Option "safeIntegers" of Primary.open must be a boolean, got number 1',
    ],
    [
      'procedures',
      ['snapshot', [], { procedures: './p.js' }],
      `Option "procedures" of Primary.open must be a URL: new URL('./procedures.js', import.meta.url), got string './p.js'`,
    ],
  ])('open refuses a wrong %s', async (_name, args, message) => {
    const [first, ...rest] = args
    const snapshot = first === 'snapshot' ? await Snapshot.blank() : first
    const error = await rejection(Primary.open(...([snapshot, ...rest] as Parameters<typeof Primary.open>)))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })

  it.each(['busyTimeoutMs', 'idleTimeoutMs', 'closeTimeoutMs'])(
    '%s has the range of a timer',
    async (name) => {
      const blank = await Snapshot.blank()
      const options = (ms: number) => ({ [name]: ms }) as PrimaryOptions
      await (await Primary.open(blank, [], options(2 ** 31 - 1))).close()
      const error = await rejection(Primary.open(blank, [], options(2 ** 31)))
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toContain(`Option "${name}" of Primary.open must be`)
    },
  )
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
