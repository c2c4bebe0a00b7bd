// Group commit against a model: whatever shares a transaction, each request has the outcome that it would have had alone,
// in the order in which they were made.
import fc from 'fast-check'
import { init, Primary, type Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'

const schema = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 1000));
  CREATE TABLE parent (id INTEGER PRIMARY KEY);
  CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`

/** What one caller asks for, on few rows, so that requests meet. */
type Request =
  | { kind: 'put'; id: number; value: number }
  | { kind: 'insert'; id: number; value: number }
  | { kind: 'insertOrRollback'; id: number; value: number }
  | { kind: 'orphan'; id: number }
  | { kind: 'batch'; rows: { id: number; value: number }[] }
  | { kind: 'call'; id: number; value: number; fails: boolean }
  | { kind: 'vacuum' }
  | { kind: 'transaction'; id: number; value: number; fails: boolean }
  | { kind: 'wrong' }

const id = fc.integer({ min: 1, max: 6 })
/** From 1000 on it breaks the CHECK. */
const value = fc.integer({ min: 990, max: 1002 })
const request: fc.Arbitrary<Request> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), id, value }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('insert' as const), id, value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('insertOrRollback' as const), id, value }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('orphan' as const), id }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      rows: fc.array(fc.record({ id, value }), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('call' as const), id, value, fails: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('vacuum' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('transaction' as const), id, value, fails: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wrong' as const) }) },
)

const put = 'INSERT INTO t VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value'

let snapshot: Snapshot
let primary: Primary<typeof import('./programs/group-procedures.mjs')>

beforeAll(async () => {
  ;({ snapshot } = await init(schema))
  const procedures = new URL('./programs/group-procedures.mjs', import.meta.url)
  primary = await Primary.open(snapshot, [], { procedures })
})
afterAll(async () => {
  await primary.close()
})

function ask(one: Request): Promise<unknown> {
  switch (one.kind) {
    case 'put':
      return primary.run(put, [one.id, one.value])
    case 'insert':
      return primary.run('INSERT INTO t VALUES (?, ?)', [one.id, one.value])
    case 'insertOrRollback':
      return primary.run('INSERT OR ROLLBACK INTO t VALUES (?, ?)', [one.id, one.value])
    case 'orphan':
      return primary.run('INSERT INTO child (parent) VALUES (?)', [one.id])
    case 'batch':
      return primary.batch(one.rows.map((row) => ({ sql: put, params: [row.id, row.value] })))
    case 'call':
      return primary.call('put', one.id, one.value, one.fails)
    case 'vacuum':
      return primary.run('VACUUM')
    case 'transaction':
      return primary.transaction(async (connection) => {
        await connection.run(put, [one.id, one.value])
        if (one.fails) throw new Error('on purpose')
      })
    default:
      return primary.run('INSERT INTO nowhere VALUES (1)')
  }
}

/** The same, alone, on a map. Returns whether it succeeds. */
function model(rows: Map<number, number>, one: Request): boolean {
  const set = (row: { id: number; value: number }) =>
    row.value < 1000 && rows.set(row.id, row.value) !== undefined
  switch (one.kind) {
    case 'put':
      return set(one)
    case 'insert':
    case 'insertOrRollback':
      return !rows.has(one.id) && set(one)
    case 'batch': {
      if (one.rows.some((row) => row.value >= 1000)) return false
      for (const row of one.rows) set(row)
      return true
    }
    case 'call':
    case 'transaction':
      return !one.fails && set(one)
    case 'vacuum':
      return true
    default:
      return false
  }
}

async function check(requests: readonly Request[], inOneGroup: boolean): Promise<void> {
  await primary.run('DELETE FROM t')
  const rows = new Map<number, number>()
  const expected = requests.map((one) => (model(rows, one) ? 'fulfilled' : 'rejected'))
  const outcomes: PromiseSettledResult<unknown>[] = []
  if (inOneGroup) outcomes.push(...(await Promise.allSettled(requests.map(ask))))
  else for (const one of requests) outcomes.push(...(await Promise.allSettled([ask(one)])))
  expect(outcomes.map((outcome) => outcome.status)).toEqual(expected)
  const found = await primary.all('SELECT id, value FROM t ORDER BY id')
  expect(found).toEqual([...rows].sort(([a], [b]) => a - b).map(([key, kept]) => ({ id: key, value: kept })))
  expect(await primary.get('SELECT count(*) AS n FROM child')).toEqual({ n: 0 })
}

// fast-check prints seed and path of a failure; MYLIBSQL_SEED replays it.
const seed = process.env.MYLIBSQL_SEED
const parameters = { numRuns: 60, ...(seed === undefined ? {} : { seed: Number(seed) }) }

it('many in one group', async () => {
  const requests = fc.array(request, { minLength: 1, maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(requests, (list) => check(list, true)),
    parameters,
  )
})

it('one after the other', async () => {
  const requests = fc.array(request, { minLength: 1, maxLength: 15 })
  await fc.assert(
    fc.asyncProperty(requests, (list) => check(list, false)),
    { ...parameters, numRuns: 20 },
  )
})

it('groups larger than a message', async () => {
  await primary.run('DELETE FROM t')
  const count = 10_000
  const outcomes = await Promise.allSettled(
    Array.from({ length: count }, (_, n) => primary.run('INSERT INTO t VALUES (?, ?)', [n, n % 1001])),
  )
  const failed = outcomes.flatMap((outcome, n) => (outcome.status === 'rejected' ? [n] : []))
  expect(failed).toEqual(Array.from({ length: count }, (_, n) => n).filter((n) => n % 1001 === 1000))
  expect(await primary.get('SELECT count(*) AS n FROM t')).toEqual({ n: count - failed.length })
  expect(await primary.get('PRAGMA integrity_check')).toEqual({ integrity_check: 'ok' })
})

it('any number of requests at once, each with its own answer', async () => {
  for (const count of [1, 15, 16, 17, 32, 33, 63, 65, 100, 129, 4095, 4096, 4097]) {
    await primary.run('DELETE FROM t')
    // Two statements by turns, then one.
    const isPut = (n: number) => n < 40 && n % 2 === 0
    const acks = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        primary.run(isPut(n) ? put : 'INSERT INTO t (id, value) VALUES (?, ?)', [count + n, n % 900]),
      ),
    )
    expect(acks.map((ack) => ack.peek().lastInsertRowid)).toEqual(acks.map((_, n) => count + n))
    const { n, sum } = (await primary.get('SELECT count(*) AS n, sum(value) AS sum FROM t'))!
    expect([n, sum]).toEqual([count, acks.reduce((total, _, index) => total + (index % 900), 0)])
  }
})
