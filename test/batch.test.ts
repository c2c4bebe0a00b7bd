// Batches against better-sqlite3: whatever statements follow each other, each has the parameters it was given and its own
// result, at its place.
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { init, Primary, type RunResult, type SqlParams, type Statement } from 'mylibsql'
import { describe, expect, it } from 'vitest'

const columns = ['a', 'b', 'c', 'd', 'e', 'f']
const schema = `CREATE TABLE t (id INTEGER PRIMARY KEY, ${columns.join(', ')})`

const value = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  fc.constantFrom(null, 0.5, '', 'text', 12345678901234567n, new Uint8Array([1, 2, 3])),
)
const statement: fc.Arbitrary<Statement> = fc.oneof(
  ...columns.map((_, index) => {
    const used = columns.slice(0, index + 1)
    const sql = `INSERT INTO t (${used.join(', ')}) VALUES (${used.map(() => '?').join(', ')})`
    return fc
      .array(value, { minLength: used.length, maxLength: used.length })
      .map((params) => ({ sql, params }))
  }),
  fc.constantFrom({ sql: 'INSERT INTO t DEFAULT VALUES' }, { sql: 'DELETE FROM t WHERE a > 0', params: [] }),
  fc
    .record({ a: value, b: value })
    .map((params) => ({ sql: 'INSERT INTO t (a, b) VALUES (:a, @b)', params })),
  fc
    .array(value, { minLength: 1, maxLength: 1 })
    .map((params) => ({ sql: 'INSERT INTO t (b) VALUES (?) RETURNING id, b', params })),
  fc
    .array(value, { minLength: 1, maxLength: 1 })
    .map((params) => ({ sql: 'SELECT count(*) AS n FROM t WHERE b IS ?', params })),
)
/** Each several times: most of a batch is mostly one statement. */
const statements = fc
  .array(fc.tuple(statement, fc.integer({ min: 1, max: 4 })), { maxLength: 6 })
  .map((runs) => runs.flatMap(([one, count]) => Array.from({ length: count }, () => one)))
const request = fc.record({ statements, isBatch: fc.boolean() })

// fast-check prints seed and path of a failure; MYLIBSQL_SEED replays it.
const seed = process.env.MYLIBSQL_SEED
const parameters = { numRuns: 60, ...(seed === undefined ? {} : { seed: Number(seed) }) }

/** What better-sqlite3 says to a statement; rows of those that give some. */
function runPlain(plain: Database.Database, { sql, params }: Statement): RunResult {
  const prepared = plain.prepare<SqlParams[], Record<string, never>>(sql)
  const bound = params === undefined ? [] : [params]
  if (!prepared.reader) return prepared.run(...bound)
  // Blobs as they come from another thread: Uint8Array, no Buffer.
  const rows = structuredClone(prepared.all(...bound))
  const counts = plain.prepare('SELECT changes() AS changes, last_insert_rowid() AS rowid').get() as {
    changes: number | bigint
    rowid: number | bigint
  }
  const changes = prepared.readonly ? 0 : Number(counts.changes)
  return { changes, lastInsertRowid: counts.rowid, rows }
}

describe.each([false, true])('safeIntegers: %s', (safeIntegers) => {
  it('results and rows are those of better-sqlite3', async () => {
    const { snapshot } = await init(schema)
    const primary = await Primary.open(snapshot, [], { safeIntegers })
    const plain = new Database(':memory:').defaultSafeIntegers(safeIntegers)
    plain.exec(schema)
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), async (requests) => {
        const answers = requests.map((one) =>
          one.isBatch
            ? primary.batch(one.statements).then((ack) => ack.peek())
            : Promise.all(
                one.statements.map(({ sql, params }) => primary.run(sql, params).then((ack) => ack.peek())),
              ),
        )
        const results = await Promise.all(answers)
        expect(results).toEqual(requests.map((one) => one.statements.map((each) => runPlain(plain, each))))
        const all = 'SELECT * FROM t ORDER BY id'
        expect(await primary.all(all)).toEqual(structuredClone(plain.prepare(all).all()))
      }),
      parameters,
    )
    plain.close()
    await primary.close()
  })
})

it('one statement among many that fails takes all of them back', async () => {
  const { snapshot } = await init(schema)
  const primary = await Primary.open(snapshot)
  const insert = 'INSERT INTO t (id, a) VALUES (?, ?)'
  const ids = Array.from({ length: 1000 }, (_, n) => ({ sql: insert, params: [n, 'x'] }))
  const batch = primary.batch([...ids, { sql: insert, params: [500, 'again'] }, ...ids])
  await expect(batch).rejects.toMatchObject({ code: 'SQLITE_CONSTRAINT_PRIMARYKEY' })
  expect(await primary.get('SELECT count(*) AS n FROM t')).toEqual({ n: 0 })
  const { length } = (await primary.batch(ids)).peek()
  expect(length).toBe(ids.length)
  await primary.close()
})

it('a statement that is refused is named by its place', async () => {
  const { snapshot } = await init(schema)
  const primary = await Primary.open(snapshot)
  const insert = { sql: 'INSERT INTO t (a) VALUES (1)' }
  const batch = primary.batch([insert, insert, insert, { sql: 'VACUUM' }])
  await expect(batch).rejects.toThrow('Statement 3 of the batch, "VACUUM", cannot share a transaction')
  expect(await primary.get('SELECT count(*) AS n FROM t')).toEqual({ n: 0 })
  await primary.close()
})
