// Connection.iterate: rows one by one inside transactions, of one state of the database.
import type { Connection, Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary, openReplica } from './support/database.js'
import { expectCode, rejection } from './support/errors.js'

/** More than two chunks. */
const rowCount = 600
const schema = `CREATE TABLE t (a INTEGER PRIMARY KEY);
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount}) INSERT INTO t SELECT i FROM n`
const ordered = 'SELECT a FROM t ORDER BY a'
const all = Array.from({ length: rowCount }, (_, index) => index + 1)

async function collect(rows: AsyncIterable<{ a: number }>): Promise<number[]> {
  const collected: number[] = []
  for await (const { a } of rows) collected.push(a)
  return collected
}

type Lend = (
  primary: Primary,
  work: (connection: Connection) => Promise<void>,
  options?: { timeoutMs: number },
) => Promise<unknown>
const lends: [string, Lend][] = [
  ['readTransaction', (primary, work, options) => primary.readTransaction(work, options)],
  ['transaction', (primary, work, options) => primary.transaction(work, options)],
  ['withConnection', (primary, work, options) => primary.withConnection(work, options)],
]

describe.each(lends)('%s', (_name, lend) => {
  it('gives all rows, several iterations and queries at a time', async () => {
    const { primary } = await openPrimary(schema)
    await lend(primary, async (connection) => {
      expect(await collect(connection.iterate(ordered))).toEqual(all)
      expect(
        await collect(connection.iterate('SELECT a FROM t WHERE a > 7 AND a < :end', { end: 10 })),
      ).toEqual([8, 9])
      expect(await collect(connection.iterate('SELECT a FROM t WHERE a < 0'))).toEqual([])
      const pairs: number[] = []
      for await (const { a } of connection.iterate<{ a: number }>(`${ordered} LIMIT 3`)) {
        for await (const inner of connection.iterate<{ a: number }>(ordered)) {
          if (inner.a > a) break
          pairs.push(inner.a)
        }
        expect(await connection.get('SELECT count(*) AS n FROM t')).toEqual({ n: rowCount })
      }
      expect(pairs).toEqual([1, 1, 2, 1, 2, 3])
      const both = [connection.iterate<{ a: number }>(ordered), connection.iterate<{ a: number }>(ordered)]
      expect(await Promise.all(both.map(collect))).toEqual([all, all])
    })
  })

  it('tells of an error at the row where it occurs, and goes on', async () => {
    const { primary } = await openPrimary(schema)
    await lend(primary, async (connection) => {
      const sql = `SELECT abs(CASE a WHEN 500 THEN -9223372036854775807 - 1 ELSE a END) AS a FROM t ORDER BY t.a`
      let seen = 0
      const reading = (async () => {
        for await (const _row of connection.iterate(sql)) seen += 1
      })()
      expect(await rejection(reading)).toMatchObject({
        code: 'SQLITE_ERROR',
        message: 'integer overflow',
        sql,
      })
      // What was of the same chunk as the error does not come.
      expect(seen).toBe(256)
      const broken = connection.iterate('SELECT nothing').next()
      expect(await rejection(broken)).toMatchObject({ code: 'SQLITE_ERROR', sql: 'SELECT nothing' })
      expect(await collect(connection.iterate(ordered))).toEqual(all)
    })
  })

  it('refuses what is no query, and parameters that are none, where it is called', async () => {
    const { primary } = await openPrimary(schema)
    await lend(primary, async (connection) => {
      expect(() => connection.iterate(7 as never)).toThrow(TypeError)
      expect(() => connection.iterate('SELECT ?', [true as never])).toThrow(TypeError)
      const error = await rejection(connection.iterate('SAVEPOINT s').next())
      expect(error).toBeInstanceOf(TypeError)
      expect(await collect(connection.iterate(ordered))).toEqual(all)
    })
  })

  it('is over with the callback, also one that nobody ends', async () => {
    const { primary } = await openPrimary(schema)
    let kept: AsyncIterableIterator<unknown> | undefined
    let late: AsyncIterableIterator<unknown> | undefined
    await lend(primary, async (connection) => {
      kept = connection.iterate(ordered)
      late = connection.iterate(ordered)
      await kept.next()
    })
    for (let row = 1; row < 256; row += 1) expect((await kept!.next()).done).toBe(false)
    await expectCode(kept!.next(), 'ERR_CLOSED')
    expect(await kept!.next()).toEqual({ done: true, value: undefined })
    await expectCode(late!.next(), 'ERR_CLOSED')
    await primary.run('INSERT INTO t VALUES (1000)')
  })

  it('is given up with its call', async () => {
    const { primary } = await openPrimary(schema)
    const endless =
      'WITH RECURSIVE n (a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT max(a) AS a FROM n'
    const work = async (connection: Connection) => void (await collect(connection.iterate(endless)))
    await expectCode(lend(primary, work, { timeoutMs: 100 }), 'ERR_TIMEOUT')
    await primary.run('INSERT INTO t VALUES (1000)')
    expect(await primary.get('SELECT max(a) AS a FROM t')).toEqual({ a: 1000 })
  })
})

describe('on the connection that writes', () => {
  it('nothing else is written until it is over', async () => {
    const source = await openPrimary(schema)
    await source.primary.transaction(async (connection) => {
      for await (const { a } of connection.iterate<{ a: number }>(ordered)) {
        if (a === 3) break
        const error = await expectCode(connection.run('DELETE FROM t WHERE a = ?', [a]), 'ERR_REFUSED')
        expect(error.message).toContain('An iteration is open on this connection')
        await expectCode(connection.exec('DELETE FROM t'), 'ERR_REFUSED')
      }
      await connection.run('DELETE FROM t WHERE a <= 3')
    })
    expect(await source.primary.get('SELECT min(a) AS a FROM t')).toEqual({ a: 4 })
    await expectReplicated(source)
  })

  it('one that nobody ends keeps no savepoint from being rolled back', async () => {
    const source = await openPrimary(schema)
    await source.primary.transaction(async (connection) => {
      let kept: AsyncIterableIterator<unknown> | undefined
      const nested = connection.transaction(async () => {
        await connection.run('DELETE FROM t')
        await connection.run('INSERT INTO t VALUES (1), (2), (3)')
        kept = connection.iterate(`SELECT t.a FROM t, t AS u, t AS v, t AS w, t AS x, t AS y`)
        await kept.next()
        throw new Error('back')
      })
      await expect(nested).rejects.toThrow('back')
      expect(await connection.get('SELECT count(*) AS n FROM t')).toEqual({ n: rowCount })
      await connection.run('INSERT INTO t VALUES (1000)')
      for (let row = 1; row < 256; row += 1) await kept!.next()
      await expectCode(kept!.next(), 'ERR_CLOSED')
    })
    expect(await source.primary.get('SELECT count(*) AS n FROM t')).toEqual({ n: rowCount + 1 })
    await expectReplicated(source)
  })
})

it('sees one state of the database, on a replica too, whatever is written or applied meanwhile', async () => {
  const source = await openPrimary(schema)
  await source.save()
  const replica = await openReplica(source)
  for (const database of [source.primary, replica]) {
    await database.readTransaction(async (connection) => {
      let seen = 0
      for await (const _row of connection.iterate(ordered)) {
        seen += 1
        if (seen !== 10) continue
        await source.primary.run('DELETE FROM t WHERE a > 20 AND a < 590')
        await source.save()
        for (const log of source.logs) await replica.replicate(log)
      }
      const { n } = (await connection.get<{ n: number }>('SELECT count(*) AS n FROM t'))!
      expect(seen).toBe(n)
      if (database === source.primary) expect(n).toBe(rowCount)
    })
  }
})

it('a pause that is too long ends it', async () => {
  const { primary } = await openPrimary(schema, { idleTimeoutMs: 200 })
  const reading = primary.readTransaction(async (connection) => {
    for await (const _row of connection.iterate(ordered))
      await new Promise((resolve) => setTimeout(resolve, 2000))
  })
  await expectCode(reading, 'ERR_TIMEOUT')
})
