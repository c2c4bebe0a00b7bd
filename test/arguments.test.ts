import { Primary, type PrimaryOptions, Snapshot, type SqlParams } from 'mylibsql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rejection } from './support/errors.js'

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
    [
      'a snapshot',
      [{}],
      'snapshot must be a Snapshot, or options with a store: Primary.open({ store }), got an instance of Object',
    ],
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
      'path in memory',
      ['snapshot', [], { path: ':memory:' }],
      `Option "path" of Primary.open must be a path; without one, the working file is a temporary file, got string ':memory:'`,
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
      `Option "procedures" of Primary.open must be a URL: new URL('./module.js', import.meta.url), got string './p.js'`,
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
