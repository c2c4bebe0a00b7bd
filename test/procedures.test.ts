import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { type Ack, MylibsqlError, Primary, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

type Module = typeof import('./support/procedures.mjs')

const procedures = new URL('./support/procedures.mjs', import.meta.url)
const open = (schema = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY)') =>
  openPrimary<Module>(schema, { procedures })
const all = async (primary: Pick<Primary, 'all'>) =>
  (await primary.all('SELECT n FROM numbers ORDER BY n')).map(({ n }) => n)

describe('call', () => {
  it('runs a procedure with its arguments, and gives its result', async () => {
    const source = await open(`CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER);
      INSERT INTO accounts VALUES (1, 100), (2, 0)`)
    const { primary, save } = source
    const ack = await primary.call('transfer', 1, 2, 30)
    expect(ack.peek()).toEqual({ left: 70 })
    expect(ack.isDurable).toBe(false)
    await save()
    expect(await ack.durable()).toEqual({ left: 70 })
    expect(await primary.all('SELECT balance FROM accounts')).toEqual([{ balance: 70 }, { balance: 30 }])
    await expectReplicated(source)
  })

  it('runs none of it when it throws', async () => {
    const source = await open(`CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER);
      INSERT INTO accounts VALUES (1, 100)`)
    const error = await rejection(source.primary.call('transfer', 1, 2, 30))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toBe('no account 2')
    expect(await source.primary.all('SELECT balance FROM accounts')).toEqual([{ balance: 100 }])
    await expectReplicated(source)
  })

  it('takes and gives whatever can be cloned', async () => {
    const { primary } = await open()
    const values = [
      null,
      undefined,
      true,
      1n,
      'text',
      { a: [1, { b: 2 }] },
      new Date(0),
      new Map([[1, new Set([2])]]),
      Uint8Array.of(1, 2),
    ]
    expect((await primary.call('echo', ...values)).peek()).toEqual(values)
    expect((await primary.call('echo')).peek()).toEqual([])
  })

  it('takes arguments as they are when it is called', async () => {
    const { primary } = await open()
    const value = { list: [1], bytes: Uint8Array.of(1) }
    const called = primary.call('echo', value)
    value.list.push(2)
    value.bytes[0] = 9
    expect((await called).peek()).toEqual([{ list: [1], bytes: Uint8Array.of(1) }])
  })

  it('names an argument and a result that cannot be cloned', async () => {
    const source = await open()
    const { primary } = source
    const argument = await expectCode(primary.call('echo', 1, { f() {} }), 'ERR_NOT_CLONEABLE')
    expect(argument.message).toContain('Argument 1 of echo')
    const result = await expectCode(primary.call('returnsFunction'), 'ERR_NOT_CLONEABLE')
    expect(result.message).toContain('returnsFunction')
    expect(await all(primary)).toEqual([])
    await expectReplicated(source)
  })

  it('may use transactions of better-sqlite3, which are savepoints inside', async () => {
    const source = await open()
    expect((await source.primary.call('nested')).peek()).toBe('SQLITE_CONSTRAINT_PRIMARYKEY')
    expect(await all(source.primary)).toEqual([1, 2])
    await expectReplicated(source)
  })

  it('is asked for in order with other requests', async () => {
    const source = await open('CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INTEGER)')
    const { primary } = source
    await Promise.all([
      primary.run('INSERT INTO numbers (n) VALUES (1)'),
      primary.call('add', 2),
      primary.batch([{ sql: 'INSERT INTO numbers (n) VALUES (3)' }]),
      primary.call('add', 4),
      primary.withConnection((connection) => connection.run('INSERT INTO numbers (n) VALUES (5)')),
      primary.call('add', 6),
    ])
    const rows = await primary.all('SELECT n FROM numbers ORDER BY id')
    expect(rows.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6])
    await expectReplicated(source)
  })
})

describe('errors arrive as they were thrown', () => {
  it('with class, message and cause', async () => {
    const { primary } = await open()
    const error = await rejection(primary.call('fails', 'type'))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe('a type error')
    expect(error.cause).toBeInstanceOf(RangeError)
    expect((error.cause as Error).message).toBe('its cause')
    expect(error.stack).toContain('procedures.mjs')
  })

  it('SqliteError with its code', async () => {
    const { primary } = await open()
    const error = await expectSqlite(primary.call('fails', 'sqlite'), 'SQLITE_MINE')
    expect(error).toBeInstanceOf(Database.SqliteError)
    expect(error.message).toBe('a SQLite error')
  })

  it('MylibsqlError of the library, with its code and details', async () => {
    type Refusing = typeof import('./support/refusing-procedures.mjs')
    const url = new URL('./support/refusing-procedures.mjs', import.meta.url)
    const { primary } = await openPrimary<Refusing>(undefined, { procedures: url })
    const error = await expectCode(primary.call('refuse', 'not today'), 'ERR_REFUSED')
    expect(error).toBeInstanceOf(MylibsqlError)
    expect(error).toMatchObject({ message: 'not today', details: { path: 'a.db' } })
  })

  it('a class of the module: an Error with its name and code', async () => {
    const { primary } = await open()
    const error = await rejection(primary.call('fails', 'custom'))
    expect(error).toBeInstanceOf(Error)
    expect([error.name, error.message, error.code]).toEqual(['PaymentError', 'a custom error', 'E_PAYMENT'])
  })

  it('with what was put on it, as far as it can be cloned', async () => {
    const { primary } = await open()
    const error = await rejection(primary.call('fails', 'fields'))
    expect(error).toBeInstanceOf(RangeError)
    const { need, status, account } = error as RangeError & Record<string, unknown>
    expect([need, status, account]).toEqual([30n, 409, { id: 1, names: new Set(['Alice']) }])
    expect(Object.keys(error)).not.toContain('log')
  })

  it('AggregateError with its errors', async () => {
    const { primary } = await open()
    const error = (await rejection(primary.call('fails', 'several'))) as unknown as AggregateError
    expect(error).toBeInstanceOf(AggregateError)
    expect([error.name, error.message, error.cause]).toEqual(['AggregateError', 'several errors', [1, 2]])
    expect(error.errors[0]).toBeInstanceOf(TypeError)
    expect(error.errors[0].message).toBe('one')
    expect(error.errors[1]).toEqual({ two: 2 })
  })

  it('what is no Error', async () => {
    const { primary } = await open()
    await expect(primary.call('fails', 'text')).rejects.toBe('a text')
    await expect(primary.call('fails', 'undefined')).rejects.toBe(undefined)
    await expect(primary.call('fails', 'object')).rejects.toEqual({ a: 1 })
    await expect(primary.call('fails', 'function')).rejects.toMatch(/^\(\) => /)
  })

  it.each(['bare', 'odd'])('what is odd (%s) does no harm', async (kind) => {
    const { primary } = await open()
    const failed = await primary.call('fails', kind).then(
      () => 'resolved',
      () => 'rejected',
    )
    expect(failed).toBe('rejected')
    expect((await primary.call('add', 1)).peek()).toBe(1)
  })
})

describe('a procedure that breaks the rules', () => {
  it('returns a promise: ERR_PROCEDURE, and nothing of it is left', async () => {
    const source = await open()
    // @ts-expect-error its type says so, too
    const error = await expectCode(source.primary.call('asynchronous'), 'ERR_PROCEDURE')
    expect(error.message).toContain('asynchronous returned a promise')
    expect(await all(source.primary)).toEqual([])
    await expectReplicated(source)
  })

  it.each([
    ['COMMIT', ['INSERT INTO numbers VALUES (10); COMMIT']],
    [
      'COMMIT and goes on',
      ['INSERT INTO numbers VALUES (10); COMMIT; BEGIN; INSERT INTO numbers VALUES (11)'],
    ],
    ['ROLLBACK', ['ROLLBACK']],
    [
      'ROLLBACK and goes on',
      ['INSERT INTO numbers VALUES (10); ROLLBACK; BEGIN; INSERT INTO numbers VALUES (11)'],
    ],
    ['BEGIN', ['BEGIN']],
  ])(
    'ends the transaction with %s: ERR_REFUSED, alone, and its neighbours commit once',
    async (_name, statements) => {
      const source = await open('CREATE TABLE numbers (n INTEGER)')
      const { primary } = source
      const [before, broken, after] = await Promise.allSettled([
        primary.run('INSERT INTO numbers VALUES (1)'),
        primary.call('run', ...statements),
        primary.run('INSERT INTO numbers VALUES (2)'),
      ])
      expect([before.status, broken.status, after.status]).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect((broken as PromiseRejectedResult).reason.code).toBe('ERR_REFUSED')
      await expectCode(primary.call('run', ...statements), 'ERR_REFUSED')
      expect(await all(primary)).toEqual([1, 2])
      await expectReplicated(source)
    },
  )

  it('catches the refusal: the rest of it counts', async () => {
    const source = await open()
    const { primary } = source
    const statements = [
      'INSERT INTO numbers VALUES (1)',
      'COMMIT',
      'ROLLBACK',
      'INSERT INTO numbers VALUES (2)',
    ]
    expect((await primary.call('tryAll', ...statements)).peek()).toEqual([
      'ok',
      'SQLITE_AUTH',
      'SQLITE_AUTH',
      'ok',
    ])
    expect(await all(primary)).toEqual([1, 2])
    await expectReplicated(source)
  })

  it('leaves an iteration open: ERR_PROCEDURE, or its own error, and its neighbours are unharmed', async () => {
    const source = await open()
    const { primary } = source
    const [before, left, thrown, ended, after] = await Promise.allSettled([
      primary.run('INSERT INTO numbers VALUES (1)'),
      primary.call('iterates', 'leave'),
      primary.call('iterates', 'throw'),
      primary.call('iterates', 'end'),
      primary.run('INSERT INTO numbers VALUES (2)'),
    ])
    expect(before.status).toBe('fulfilled')
    expect(after.status).toBe('fulfilled')
    expect((left as PromiseRejectedResult).reason).toMatchObject({
      code: 'ERR_PROCEDURE',
      message: expect.stringContaining('iterates left an iteration open'),
    })
    expect((thrown as PromiseRejectedResult).reason).toMatchObject({ message: 'has read 1' })
    expect((ended as PromiseFulfilledResult<Ack<unknown>>).value.peek()).toEqual([1, 100])
    await expectCode(primary.call('iterates', 'leave'), 'ERR_PROCEDURE')
    expect(await all(primary)).toEqual([1, 2, 100])
    await expectReplicated(source)
  })

  it('closes the connection: ERR_REFUSED, and nothing is closed', async () => {
    const source = await open()
    const { primary } = source
    await expectCode(primary.call('closes'), 'ERR_REFUSED')
    await primary.run('INSERT INTO numbers VALUES (1)')
    expect(await all(primary)).toEqual([1])
    await expectReplicated(source)
  })

  it('goes on when SQLite has rolled its transaction back: nothing of it is left', async () => {
    const source = await open('CREATE TABLE numbers (n INTEGER PRIMARY KEY)')
    const { primary } = source
    await primary.run('INSERT INTO numbers VALUES (1)')
    const conflict = 'INSERT OR ROLLBACK INTO numbers VALUES (1)'
    const calls = [
      primary.run('INSERT INTO numbers VALUES (2)'),
      primary.call('tryAll', 'INSERT INTO numbers VALUES (10)', conflict, 'INSERT INTO numbers VALUES (11)'),
      primary.run('INSERT INTO numbers VALUES (3)'),
    ]
    const results = await Promise.allSettled(calls)
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((results[1] as PromiseRejectedResult).reason.code).toBe('ERR_PROCEDURE')
    await expectCode(
      primary.call('tryAll', 'INSERT INTO numbers VALUES (10)', conflict, 'INSERT INTO numbers VALUES (11)'),
      'ERR_PROCEDURE',
    )
    expect(await all(primary)).toEqual([1, 2, 3])
    await expectReplicated(source)
  })

  it('uses a pragma that would break replication: ERR_REFUSED', async () => {
    const { primary } = await open()
    const error = await expectCode(primary.call('run', 'PRAGMA journal_mode = DELETE'), 'ERR_REFUSED')
    expect(error.message).toContain('WAL')
  })
})

describe('neighbours of a procedure that fails', () => {
  it('have what they do alone, whatever they do to their arguments', async () => {
    const source = await open()
    const { primary } = source
    for (let round = 0; round < 3; round += 1) {
      const n = round * 10
      const [first, failed, second] = await Promise.allSettled([
        primary.call('addAll', [n, n + 1]),
        primary.call('run', `INSERT INTO numbers VALUES (${n + 5})`, 'no SQL'),
        primary.call('addAll', [n + 2]),
      ])
      expect([first.status, failed.status, second.status]).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    }
    expect(await all(primary)).toEqual([0, 1, 2, 10, 11, 12, 20, 21, 22])
    await expectReplicated(source)
  })

  it('have no part in a savepoint that another one leaves open', async () => {
    const source = await open()
    const { primary } = source
    for (let round = 0; round < 3; round += 1) {
      const n = round * 10
      const [, , , back] = await Promise.allSettled([
        primary.call('add', n),
        primary.call('run', `INSERT INTO numbers VALUES (${n + 1})`, 'SAVEPOINT mine'),
        primary.call('add', n + 2),
        primary.call('run', 'ROLLBACK TO mine'),
      ])
      expect(back.status).toBe('rejected')
      expect((back as PromiseRejectedResult).reason.message).toContain('no such savepoint')
    }
    expect(await all(primary)).toEqual([0, 1, 2, 10, 11, 12, 20, 21, 22])
    await expectReplicated(source)
  })
})

describe('the module', () => {
  it('tells what it has when a name is unknown', async () => {
    const { primary } = await open()
    const call = (name: string) =>
      (primary as unknown as Primary<{ [name: string]: (db: unknown) => void }>).call(name)
    for (const name of ['nothing', 'notAFunction', 'default', '__proto__', 'toString']) {
      const error = await expectCode(call(name), 'ERR_PROCEDURE')
      expect(error.message).toContain(`exports no function ${name}`)
      expect(error.message).toContain('transfer')
    }
  })

  it('is missing: the error says how to give one', async () => {
    const { primary } = await openPrimary<Module>()
    const error = await expectCode(primary.call('add', 1), 'ERR_PROCEDURE')
    expect(error.message).toContain("procedures: new URL('./procedures.js', import.meta.url)")
  })

  it.each([
    ['is not there', undefined],
    ['has an error', 'export function f( {'],
    ['throws', 'throw new Error("at import")'],
  ])('that %s: ERR_PROCEDURE with the cause, and nothing is left', async (_name, source) => {
    const folder = temporaryFolder()
    const path = join(folder, 'module.mjs')
    if (source !== undefined) writeFileSync(path, source)
    const working = join(folder, 'working.db')
    const options = { procedures: pathToFileURL(path), path: working }
    const blank = await Snapshot.blank()
    const error = await expectCode(Primary.open(blank, [], options), 'ERR_PROCEDURE')
    expect(error.cause).toBeInstanceOf(Error)
    expect(error.message).toContain('module.mjs')
    await (await Primary.open(blank, [], { path: working })).close()
  })

  it('that was not compiled: the error names the source', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'transfers.ts'), 'export function transfer(): void {}')
    const options = { procedures: pathToFileURL(join(folder, 'transfers.js')) }
    const error = await expectCode(Primary.open(await Snapshot.blank(), [], options), 'ERR_PROCEDURE')
    expect(error.message).toContain(`There is ${join(folder, 'transfers.ts')}, which is not compiled yet`)
    // A loader of the main thread is not known in the actor's; Node.js runs no source of a language that it does not know.
    writeFileSync(join(folder, 'transfers.tsx'), 'export function transfer(): void {}')
    const source = { procedures: pathToFileURL(join(folder, 'transfers.tsx')) }
    const refused = await expectCode(Primary.open(await Snapshot.blank(), [], source), 'ERR_PROCEDURE')
    expect(refused.message).toContain('Give the URL of the compiled file')
  })

  it('stays, in the same thread, through a change of role and back', async () => {
    const { primary, save } = await open()
    const thread = (await primary.call('thread')).peek()
    await save()
    const again = (await (await primary.intoReplica()).intoPrimary()) as unknown as Primary<Module>
    try {
      expect((await again.call('thread')).peek()).toBe(thread)
      await again.call('add', 1)
      expect(await all(again)).toEqual([1])
    } finally {
      await again.close()
    }
  })

  it('name must be a string', async () => {
    const { primary } = await open()
    const error = await rejection((primary as unknown as { call(name: unknown): Promise<unknown> }).call(7))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe('name must be a string, got number 7')
  })
})
