import Database from 'better-sqlite3'
import { type ErrorCode, errorCodes, MylibsqlError, Primary, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
// The class of the module under test: the library's own is another copy, in dist/.
import { fromWireError, toWireError, MylibsqlError as WireSideError } from '../src/protocol/errors.js'
import { openPrimary } from './support/database.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

/** There and back, as over a port. */
const travel = (error: unknown): unknown =>
  fromWireError(structuredClone(toWireError(error)), Database.SqliteError)

describe('an error that travels keeps', () => {
  it.each<[string, Error]>([
    ['MylibsqlError', new WireSideError('ERR_CORRUPT', 'damaged', { path: '/a', byteOffset: 7, frameNo: 3 })],
    ['SqliteError', new Database.SqliteError('constraint', 'SQLITE_CONSTRAINT')],
    ['TypeError', new TypeError('type')],
    ['RangeError', new RangeError('range')],
    ['SyntaxError', new SyntaxError('syntax')],
    ['Error', new Error('plain')],
  ])('%s: class, message, code, details and stack', (name, error) => {
    const arrived = travel(error) as Error & { code?: string; details?: object }
    expect(arrived.constructor.name).toBe(name)
    expect(arrived).toBeInstanceOf(Error)
    expect([arrived.name, arrived.message, arrived.stack]).toEqual([error.name, error.message, error.stack])
    expect(arrived.code).toBe((error as { code?: string }).code)
    expect(arrived.details).toEqual((error as { details?: object }).details)
    expect('cause' in arrived).toBe(false)
    // What is no own property of an Error stays out of its enumerable ones.
    expect(Object.keys(arrived)).not.toContain('stack')
  })

  it('its causes, of any class, and no more than a few', () => {
    const error = new WireSideError(
      'ERR_IO',
      'outer',
      {},
      {
        cause: new Database.SqliteError('middle', 'SQLITE_FULL'),
      },
    )
    ;(error.cause as Error).cause = Object.assign(new Error('inner'), { code: 'ENOSPC' })
    const arrived = travel(error) as Error
    const middle = arrived.cause as Error & { code: string }
    const inner = middle.cause as Error & { code: string }
    expect(middle).toBeInstanceOf(Database.SqliteError)
    expect([middle.code, inner.code, inner.message]).toEqual(['SQLITE_FULL', 'ENOSPC', 'inner'])
    const endless = new Error('endless')
    endless.cause = endless
    let depth = 0
    for (let at = travel(endless) as Error; at.cause !== undefined; at = at.cause as Error) depth += 1
    expect(depth).toBeLessThan(20)
  })

  it('the name and code of a class of its own', () => {
    class PaymentError extends Error {
      override name = 'PaymentError'
      code = 'E_PAYMENT'
    }
    const arrived = travel(new PaymentError('no')) as PaymentError
    expect([arrived.name, arrived.code, arrived.message]).toEqual(['PaymentError', 'E_PAYMENT', 'no'])
    // A name of the table on a class of its own does not make it one of this library's.
    class Other extends Error {
      code = 'ERR_TIMEOUT'
    }
    expect(travel(new Other('mine'))).not.toHaveProperty('details')
  })

  it.each([null, undefined, 0, 1n, true, 'text'])('what is no Error: %s', (value) => {
    expect(travel(value)).toBe(value)
  })

  it.each<[string, unknown]>([
    ['an object', { f() {} }],
    ['a function', () => {}],
    ['a symbol', Symbol('s')],
    ['an object without a prototype', Object.create(null)],
    [
      'an error with odd properties',
      Object.assign(new Error('x'), { message: { f() {} }, name: Symbol('n'), stack: 1 }),
    ],
    ['an error with an odd cause', new Error('x', { cause: Object.create(null) })],
    [
      'an error that throws',
      Object.defineProperty(new Error('x'), 'cause', {
        get: () => {
          throw new Error('y')
        },
      }),
    ],
    ['details with a function', new WireSideError('ERR_IO', 'x', { path: (() => {}) as never })],
  ])('nothing more of %s, but arrives', (_name, value) => {
    expect(() => travel(value)).not.toThrow()
  })
})

describe('over threads', () => {
  it('SqliteError is the class of better-sqlite3, with its code', async () => {
    const { primary } = await openPrimary('CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)')
    const ways = [
      () => primary.run('INSERT INTO t VALUES (1)'),
      () => primary.batch([{ sql: 'INSERT INTO t VALUES (1)' }]),
      () => primary.withConnection((connection) => connection.run('INSERT INTO t VALUES (1)')),
      () => primary.transaction((connection) => connection.exec('INSERT INTO t VALUES (1)')),
    ]
    for (const way of ways) {
      const error = await expectSqlite(way(), 'SQLITE_CONSTRAINT_PRIMARYKEY')
      expect(error.message).toBe('UNIQUE constraint failed: t.n')
      expect(error.name).toBe('SqliteError')
    }
    for (const read of [primary.get('SELECT * FROM nowhere'), primary.all('SELECT * FROM nowhere')]) {
      expect((await expectSqlite(read, 'SQLITE_ERROR')).message).toBe('no such table: nowhere')
    }
  })

  it('MylibsqlError has its code, details and cause', async () => {
    const { primary } = await openPrimary()
    const refused = await expectCode(primary.run('PRAGMA journal_mode = OFF'), 'ERR_REFUSED')
    expect(refused.cause).toBeInstanceOf(Database.SqliteError)
    const path = '/nowhere/at/all.db'
    const io = await expectCode(primary.snapshot(path), 'ERR_IO')
    expect(io.details.path).toBe(path)
    expect((io.cause as { code?: string }).code).toBe('ENOENT')
    const opened = await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_IO')
    expect(opened.details.path?.startsWith(path)).toBe(true)
  })

  it('TypeError and RangeError of better-sqlite3 stay what they are', async () => {
    const { primary } = await openPrimary()
    expect(await rejection(primary.run('SELECT ?', []))).toBeInstanceOf(RangeError)
    expect(await rejection(primary.get('PRAGMA user_version = 1'))).toBeInstanceOf(Error)
  })
})

describe('what fails in a statement', () => {
  const constraint = 'SQLITE_CONSTRAINT_PRIMARYKEY'

  it('names it, whichever way it was run', async () => {
    const { primary } = await openPrimary('CREATE TABLE t (a PRIMARY KEY)')
    const text = 'SELECT absent FROM t'
    const rows = async () => {
      for await (const _ of primary.iterate(text)) throw new Error('there are no rows')
    }
    const ways = [
      () => primary.run(text),
      () => primary.get(text),
      () => primary.all(text),
      rows,
      () => primary.transaction((connection) => connection.get(text)),
      () => primary.withConnection((connection) => connection.all(text)),
    ]
    for (const way of ways) {
      const error = await expectSqlite(way(), 'SQLITE_ERROR')
      expect(error.message).toBe('no such column: absent')
      expect(error).toMatchObject({ sql: text })
      expect(error).not.toHaveProperty('statementIndex')
    }
    expect(await rejection(primary.run('INSERT INTO t VALUES (?)'))).toMatchObject({
      message: 'Too few parameter values were provided',
      sql: 'INSERT INTO t VALUES (?)',
    })
    const long = `SELECT absent ${'-'.repeat(5000)}`
    expect(await rejection(primary.get(long))).toMatchObject({ sql: `${long.slice(0, 1000)}...` })
  })

  it('says which one of a batch it was, also when that is run again beside others', async () => {
    const { primary } = await openPrimary('CREATE TABLE t (a PRIMARY KEY)')
    const insert = (value: number) => ({ sql: 'INSERT INTO t VALUES (?)', params: [value] })
    const failing = [{ sql: 'DELETE FROM t WHERE a < 0' }, insert(1), insert(2), insert(1)]
    const calls = [primary.batch(failing), primary.batch([insert(5)]), primary.batch(failing)]
    const [first, second, third] = await Promise.allSettled(calls)
    expect(second).toMatchObject({ status: 'fulfilled' })
    for (const outcome of [first, third]) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: constraint, sql: 'INSERT INTO t VALUES (?)', statementIndex: 3 },
      })
    }
    expect(await primary.all('SELECT a FROM t')).toEqual([{ a: 5 }])
  })

  it('sends what writes to the primary', async () => {
    const { primary } = await openPrimary('CREATE TABLE t (a)')
    const error = await rejection(primary.all('DELETE FROM t'))
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ message: expect.stringContaining('use run()'), sql: 'DELETE FROM t' })
    await expectSqlite(primary.all('DELETE FROM t RETURNING a'), 'SQLITE_READONLY')
  })
})

describe('the table', () => {
  it('names each code once, with a sentence', () => {
    for (const [code, sentence] of Object.entries(errorCodes)) {
      expect(code).toMatch(/^ERR_[A-Z_]+$/)
      expect(sentence.length).toBeGreaterThan(10)
    }
  })

  it('makes errors that can be told apart', () => {
    for (const code of Object.keys(errorCodes) as ErrorCode[]) {
      const error = new MylibsqlError(code, 'message', { frameNo: 1 }, { cause: 'cause' })
      expect(error).toBeInstanceOf(Error)
      expect(error).toMatchObject({
        name: 'MylibsqlError',
        code,
        message: 'message',
        details: { frameNo: 1 },
        cause: 'cause',
      })
      expect(String(error)).toBe('MylibsqlError: message')
    }
  })
})
