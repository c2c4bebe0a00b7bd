import type { Connection, Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { deferred, isSettled } from './support/deferred.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const all = async (primary: Primary) =>
  (await primary.all('SELECT n FROM numbers ORDER BY n')).map(({ n }) => n)
const insert = 'INSERT INTO numbers (n) VALUES (?)'

describe('withConnection', () => {
  it('has run, get, all and exec', async () => {
    const source = await openPrimary(numbers)
    const ack = await source.primary.withConnection(async (connection) => {
      const run = await connection.run('INSERT INTO numbers VALUES (:n, :text)', { n: 1, text: 'a' })
      expect(run).toEqual({ changes: 1, lastInsertRowid: 1 })
      const returning = await connection.run(`${insert} RETURNING n, text`, [2])
      expect(returning).toEqual({ changes: 1, lastInsertRowid: 2, rows: [{ n: 2, text: null }] })
      await connection.exec("INSERT INTO numbers VALUES (3, 'c'); UPDATE numbers SET text = 'x' WHERE n = 2;")
      expect(await connection.get('SELECT * FROM numbers WHERE n = ?', [2])).toEqual({ n: 2, text: 'x' })
      expect(await connection.get('SELECT * FROM numbers WHERE n = 9')).toBeUndefined()
      return connection.all('SELECT n FROM numbers')
    })
    expect(ack.peek()).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
    expect(ack.frameNo).toBe(source.primary.lastFrameNo)
    await expectReplicated(source)
  })

  it('commits each statement by itself, which readers see at once', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const failing = primary.withConnection(async (connection) => {
      await connection.run(insert, [1])
      expect(await all(primary)).toEqual([1])
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await all(primary)).toEqual([1])
    await expectReplicated(source)
  })

  it('goes on after a statement that fails', async () => {
    const { primary } = await openPrimary(numbers)
    await primary.withConnection(async (connection) => {
      await connection.run(insert, [1])
      await expectSqlite(connection.run(insert, [1]), 'SQLITE_CONSTRAINT_PRIMARYKEY')
      await expectSqlite(connection.all('nonsense'), 'SQLITE_ERROR')
      await expectSqlite(connection.exec('INSERT INTO numbers (n) VALUES (2); nonsense'), 'SQLITE_ERROR')
      await connection.run(insert, [3])
    })
    expect(await all(primary)).toEqual([1, 2, 3])
  })

  it('lets the caller control transactions', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.withConnection(async (connection) => {
      await connection.exec('BEGIN')
      await connection.run(insert, [1])
      expect(await all(primary)).toEqual([])
      await connection.exec('ROLLBACK')
      await connection.run('BEGIN IMMEDIATE')
      await connection.run(insert, [2])
      await connection.run('SAVEPOINT one')
      await connection.run(insert, [3])
      await connection.run('ROLLBACK TO one')
      await connection.run('COMMIT')
    })
    expect(await all(primary)).toEqual([2])
    await expectReplicated(source)
  })

  it('rolls back a transaction that is left open, and says so', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const left = primary.withConnection(async (connection) => {
      await connection.run(insert, [1])
      await connection.exec('BEGIN')
      await connection.run(insert, [2])
    })
    const error = await expectCode(left, 'ERR_TRANSACTION_OPEN')
    expect(error.message).toContain('rolled back')
    expect(await all(primary)).toEqual([1])
    await primary.run(insert, [3])
    expect(await all(primary)).toEqual([1, 3])
    await expectReplicated(source)
  })

  it('when it throws, its error is what counts, and an open transaction is rolled back', async () => {
    const source = await openPrimary(numbers)
    const thrown = new TypeError('mine')
    const failing = source.primary.withConnection(async (connection) => {
      await connection.exec('BEGIN; INSERT INTO numbers (n) VALUES (1)')
      throw thrown
    })
    expect(await rejection(failing)).toBe(thrown)
    expect(await all(source.primary)).toEqual([])
    await expectReplicated(source)
  })

  it('is exclusive: others write before it or after it, in the order of the calls', async () => {
    const source = await openPrimary('CREATE TABLE entries (id INTEGER PRIMARY KEY, by TEXT)')
    const { primary } = source
    const write = (by: string) => primary.run('INSERT INTO entries (by) VALUES (?)', [by])
    const session = (by: string) =>
      primary.withConnection(async (connection) => {
        await connection.run('INSERT INTO entries (by) VALUES (?)', [by])
        await primary.get('SELECT 1')
        await connection.run('INSERT INTO entries (by) VALUES (?)', [by])
      })
    await Promise.all([
      write('a'),
      session('b'),
      write('c'),
      write('d'),
      session('e'),
      session('f'),
      write('g'),
    ])
    const order = (await primary.all('SELECT by FROM entries ORDER BY id')).map(({ by }) => by).join('')
    expect(order).toBe('abbcdeeffg')
    await expectReplicated(source)
  })

  it('runs statements in the order in which they are asked for, also when nobody waits', async () => {
    const { primary } = await openPrimary(numbers)
    await primary.withConnection(async (connection) => {
      const results = await Promise.all([
        connection.run(insert, [1]),
        connection.all('SELECT n FROM numbers'),
        connection.run(insert, [2]),
        connection.get('SELECT count(*) AS n FROM numbers'),
      ])
      expect(results.slice(1, 2)).toEqual([[{ n: 1 }]])
      expect(results[3]).toEqual({ n: 2 })
    })
  })

  it('its connection works only inside the callback', async () => {
    const { primary } = await openPrimary(numbers)
    let kept: Connection | undefined
    await primary.withConnection(async (connection) => {
      kept = connection
    })
    const calls = [
      () => kept!.run('SELECT 1'),
      () => kept!.get('SELECT 1'),
      () => kept!.all('SELECT 1'),
      () => kept!.exec('SELECT 1'),
      () => kept!.transaction(async () => {}),
    ]
    for (const call of calls) {
      const error = await expectCode(call(), 'ERR_CLOSED')
      expect(error.message).toContain('inside its callback')
    }
    await primary.run(insert, [1])
  })

  it('may be synchronous, and gives what it gives', async () => {
    const { primary } = await openPrimary()
    const thrown = new Error('at once')
    const throwing = () => {
      throw thrown
    }
    expect(await rejection(primary.withConnection(throwing))).toBe(thrown)
    expect((await primary.withConnection((() => 7) as unknown as () => Promise<number>)).peek()).toBe(7)
  })
})

describe('re-entrant', () => {
  it.each<[string, (primary: Primary) => Promise<unknown>]>([
    ['run', (primary) => primary.run('SELECT 1')],
    ['batch', (primary) => primary.batch([])],
    ['call', (primary) => (primary as unknown as Primary<{ f(): void }>).call('f')],
    ['withConnection', (primary) => primary.withConnection(async () => {})],
    ['transaction', (primary) => primary.transaction(async () => {})],
  ])('primary.%s inside a callback is ERR_REENTRANT, and the callback goes on', async (name, call) => {
    const { primary } = await openPrimary(numbers)
    for (const lend of ['withConnection', 'transaction'] as const) {
      const ack = await primary[lend](async () => {
        const error = await expectCode(call(primary), 'ERR_REENTRANT')
        expect(error.message).toContain(`primary.${name}()`)
        // Readers have threads of their own.
        return primary.get('SELECT 1 AS one')
      })
      expect(ack.peek()).toEqual({ one: 1 })
    }
  })

  it('is not what another caller does meanwhile, nor another primary', async () => {
    const [{ primary }, other] = [await openPrimary(numbers), await openPrimary(numbers)]
    const [begun, goOn] = [deferred(), deferred()]
    const session = primary.withConnection(async () => {
      begun.resolve()
      await other.primary.run(insert, [1])
      await goOn.promise
    })
    await begun.promise
    const write = primary.run(insert, [1])
    expect(await isSettled(write)).toBe(false)
    goOn.resolve()
    await Promise.all([session, write])
  })

  it('is not what the callback left running when it ended', async () => {
    const { primary } = await openPrimary(numbers)
    const goOn = deferred()
    let later: Promise<unknown> | undefined
    await primary.withConnection(async () => {
      later = goOn.promise.then(() => primary.run(insert, [1]))
    })
    goOn.resolve()
    await later
    expect(await all(primary)).toEqual([1])
  })
})

describe('a connection that is idle', () => {
  it('for idleTimeoutMs is taken back and rolled back; later requests go on', async () => {
    const source = await openPrimary(numbers, { idleTimeoutMs: 2000 })
    const { primary } = source
    const goOn = deferred()
    const statement = deferred<Error>()
    const session = primary.withConnection(async (connection) => {
      await connection.run(insert, [1])
      await connection.exec('BEGIN; INSERT INTO numbers (n) VALUES (2)')
      await goOn.promise
      statement.resolve(await rejection(connection.run(insert, [3])))
    })
    const behind = primary.run(insert, [4])
    const error = await expectCode(session, 'ERR_TIMEOUT')
    expect(error.message).toContain('2000 ms')
    await behind
    expect(await all(primary)).toEqual([1, 4])
    goOn.resolve()
    expect((await statement.promise) as { code?: string }).toMatchObject({ code: 'ERR_CLOSED' })
    await expectReplicated(source)
  })

  it('is not the time that a statement takes', async () => {
    const source = await openPrimary(numbers, { idleTimeoutMs: 300 })
    const { primary } = source
    const slow = `INSERT INTO numbers (n)
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000000) SELECT sum(i) FROM n`
    // Takes a second or more.
    await primary.transaction(async (connection) => {
      await connection.run(slow)
      await connection.run('INSERT INTO numbers (n) VALUES (1)')
    })
    await primary.withConnection((connection) => connection.run('UPDATE numbers SET n = n + 1'))
    expect((await primary.all('SELECT n FROM numbers')).map(({ n }) => n)).toEqual([2, 32_000_004_000_001])
    await expectReplicated(source)
  })

  it('of a transaction too', async () => {
    const { primary } = await openPrimary(numbers, { idleTimeoutMs: 250 })
    const session = primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      await new Promise(() => {})
    })
    await expectCode(session, 'ERR_TIMEOUT')
    await primary.run(insert, [2])
    expect(await all(primary)).toEqual([2])
  })
})

describe('close', () => {
  it('while a callback holds the connection rejects both with ERR_CLOSED', async () => {
    const { primary } = await openPrimary(numbers, { closeTimeoutMs: 200 })
    const [begun, goOn] = [deferred(), deferred()]
    const statement = deferred<Error>()
    const session = primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      begun.resolve()
      await goOn.promise
      statement.resolve(await rejection(connection.run(insert, [2])))
    })
    session.catch(() => {})
    await begun.promise
    await primary.close()
    await expectCode(session, 'ERR_CLOSED')
    goOn.resolve()
    expect(await statement.promise).toMatchObject({ code: 'ERR_CLOSED' })
  })
})

it.each<[string, (connection: Connection) => Promise<unknown>, string]>([
  ['run', (c) => c.run(1 as never), 'sql must be a string of SQL, got number 1'],
  ['get', (c) => c.get(null as never), 'sql must be a string of SQL, got null'],
  [
    'all',
    (c) => c.all('SELECT ?', 'x' as never),
    "params must be an array, or an object of named parameters, got string 'x'",
  ],
  ['exec', (c) => c.exec(undefined as never), 'sql must be a string, got undefined'],
  ['transaction', (c) => c.transaction('x' as never), "work must be a function, got string 'x'"],
])('%s refuses a wrong argument', async (_name, call, message) => {
  const { primary } = await openPrimary()
  await primary.withConnection(async (connection) => {
    const error = await rejection(call(connection))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })
})
