import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { Primary, Replica, type Row } from 'mylibsql'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { withDamagedTable } from './support/damaged.js'
import { closedAfterTest, openPrimary, openReplica } from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

const numbers = `
  CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT);
  WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000)
  INSERT INTO numbers SELECT n, 'text ' || n FROM c;`

type Database = Pick<Primary, 'get' | 'all' | 'iterate' | 'close'>
const count = 'SELECT count(*) AS n FROM numbers'
const forever = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c'

async function openBoth(options?: Parameters<typeof openPrimary>[1]) {
  const source = await openPrimary(numbers, options)
  const replica = await openReplica(source, options)
  return { source, primary: source.primary, replica, databases: [source.primary, replica] as Database[] }
}

async function collect(rows: AsyncIterable<Row>, limit = Number.POSITIVE_INFINITY): Promise<Row[]> {
  const list: Row[] = []
  for await (const row of rows) {
    list.push(row)
    if (list.length === limit) break
  }
  return list
}

describe('get and all', () => {
  it('give the first row and all rows', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      expect(await database.get('SELECT * FROM numbers WHERE n > ? ORDER BY n', [7])).toEqual({
        n: 8,
        text: 'text 8',
      })
      expect(await database.get('SELECT * FROM numbers WHERE n > :n', { n: 7000 })).toBeUndefined()
      expect(
        await database.all('SELECT n FROM numbers WHERE n BETWEEN @low AND @high', { low: 3, high: 5 }),
      ).toEqual([{ n: 3 }, { n: 4 }, { n: 5 }])
      expect(await database.all('SELECT n FROM numbers WHERE n < 0')).toEqual([])
      expect(await database.all('SELECT n FROM numbers')).toHaveLength(2000)
    }
  })

  it('give values of every type', async () => {
    const { databases } = await openBoth()
    const row = {
      a: null,
      b: 1,
      c: -1.5,
      d: 'text ä\u0000',
      e: Uint8Array.of(1, 2),
      f: new Uint8Array(0),
      g: '',
    }
    const sql = 'SELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e, :f AS f, :g AS g'
    for (const database of databases) {
      expect(await database.get(sql, row)).toEqual(row)
      expect(await database.all(`${sql} UNION ALL ${sql}`, row)).toEqual([row, row])
      expect(await collect(database.iterate(sql, row))).toEqual([row])
      const { e } = (await database.get(sql, row))!
      expect(e).toBeInstanceOf(Uint8Array)
    }
  })

  it('give columns of the same name as better-sqlite3 does: the last one', async () => {
    const { databases } = await openBoth()
    for (const database of databases) expect(await database.get('SELECT 1 AS a, 2 AS a')).toEqual({ a: 2 })
  })

  it('give bigints with safeIntegers', async () => {
    const { databases } = await openBoth({ safeIntegers: true })
    for (const database of databases) {
      expect(await database.get('SELECT max(n) AS n FROM numbers')).toEqual({ n: 2000n })
      expect(await database.all('SELECT 9223372036854775807 AS n, 1.5 AS f')).toEqual([
        { n: 2n ** 63n - 1n, f: 1.5 },
      ])
      expect(await collect(database.iterate('SELECT 1 AS n'))).toEqual([{ n: 1n }])
    }
  })

  it('take parameters as they are when they are called', async () => {
    const { databases } = await openBoth({ readers: 1 })
    const sql = 'SELECT ? AS a, ? AS b'
    for (const database of databases) {
      const blob = Uint8Array.of(1, 2, 3)
      const params: [number, Uint8Array] = [1, blob]
      const plain: [number, string] = [1, 'x']
      const answers = [
        database.all(sql, params),
        collect(database.iterate(sql, params)),
        database.all(sql, plain),
      ]
      const lazy = database.iterate(sql, plain)
      params[0] = plain[0] = 9
      blob.fill(9)
      expect(await Promise.all(answers)).toEqual([
        [{ a: 1, b: Uint8Array.of(1, 2, 3) }],
        [{ a: 1, b: Uint8Array.of(1, 2, 3) }],
        [{ a: 1, b: 'x' }],
      ])
      expect(await collect(lazy)).toEqual([{ a: 1, b: 'x' }])
    }
  })

  it('fail alone, with the error of SQLite', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      const [bad, good, worse] = await Promise.allSettled([
        database.get('SELECT * FROM nowhere'),
        database.get(count),
        database.all("SELECT json('nonsense')"),
      ])
      expect(good).toEqual({ status: 'fulfilled', value: { n: 2000 } })
      expect(bad).toMatchObject({
        status: 'rejected',
        reason: { code: 'SQLITE_ERROR', message: 'no such table: nowhere' },
      })
      expect(worse).toMatchObject({
        status: 'rejected',
        reason: { code: 'SQLITE_ERROR', message: 'malformed JSON' },
      })
      await expectSqlite(database.get('SELECT'), 'SQLITE_ERROR')
      expect((await rejection(database.all('SELECT 1; SELECT 2'))).message).toContain(
        'more than one statement',
      )
    }
  })

  it('fail alone where the database is damaged', async () => {
    const snapshot = await withDamagedTable(numbers)
    const replica = closedAfterTest(await Replica.open(snapshot, [], { readers: 1 }))
    const damaged = 'SELECT * FROM damaged'
    const results = await Promise.allSettled([replica.get(count), replica.all(damaged), replica.get(count)])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    await expectSqlite(replica.get(damaged), 'SQLITE_CORRUPT')
    const n = await replica.withConnection(async (connection) => {
      await expectSqlite(connection.all(damaged), 'SQLITE_CORRUPT')
      return connection.get(count)
    })
    expect(n).toEqual({ n: 2000 })
  })

  it('cannot write', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      const insert = database.all('INSERT INTO numbers (n) VALUES (-1) RETURNING n')
      expect((await expectSqlite(insert, 'SQLITE_READONLY')).message).toContain('run() of the primary')
      expect(await rejection(database.get('DELETE FROM numbers'))).toBeInstanceOf(TypeError)
      await expectSqlite(collect(database.iterate('DELETE FROM numbers RETURNING n')), 'SQLITE_READONLY')
      expect(await database.get(count)).toEqual({ n: 2000 })
    }
  })

  it('cannot change the WAL, whatever pragma they are given', async () => {
    const { source, primary, databases } = await openBoth()
    for (const pragma of ['wal_checkpoint(TRUNCATE)', 'journal_mode = DELETE', 'journal_mode = OFF']) {
      await Promise.allSettled(databases.map((database) => database.all(`PRAGMA ${pragma}`)))
      await primary.run('INSERT INTO numbers (text) VALUES (?)', [pragma])
      await source.save()
    }
    const copy = await openReplica(source)
    expect(await copy.get(count)).toEqual({ n: 2003 })
  })
})

describe('what a read sees', () => {
  it('is every write that was executed before it', async () => {
    const { primary } = await openBoth({ readers: 2 })
    for (let n = 1; n <= 50; n++) {
      await primary.run('UPDATE numbers SET text = ? WHERE n = 1', [`write ${n}`])
      const [got, all, iterated] = await Promise.all([
        primary.get('SELECT text FROM numbers WHERE n = 1'),
        primary.all('SELECT text FROM numbers WHERE n = 1'),
        collect(primary.iterate('SELECT text FROM numbers WHERE n = 1')),
      ])
      expect([got, all[0], iterated[0]]).toEqual(Array.from({ length: 3 }, () => ({ text: `write ${n}` })))
    }
  })

  it('is every log that was applied before it', async () => {
    const { source, primary, replica } = await openBoth({ readers: 2 })
    for (let n = 1; n <= 20; n++) {
      await primary.run('UPDATE numbers SET text = ? WHERE n = 1', [`write ${n}`])
      await source.save()
      await replica.replicate(source.logs.at(-1)!)
      const [got, all] = await Promise.all([
        replica.get('SELECT text FROM numbers WHERE n = 1'),
        replica.all('SELECT text FROM numbers WHERE n = 1'),
      ])
      expect([got, all[0]]).toEqual([{ text: `write ${n}` }, { text: `write ${n}` }])
    }
  })

  it('is a new schema too', async () => {
    const { primary } = await openBoth()
    expect(await primary.get('SELECT * FROM numbers WHERE n = 1')).toEqual({ n: 1, text: 'text 1' })
    await primary.run('ALTER TABLE numbers ADD COLUMN more TEXT DEFAULT 1')
    expect(await primary.get('SELECT * FROM numbers WHERE n = 1')).toEqual({
      n: 1,
      text: 'text 1',
      more: '1',
    })
    await primary.run('VACUUM')
    expect(await primary.get(count)).toEqual({ n: 2000 })
  })
})

describe('iterate', () => {
  it('gives all rows in order, chunk by chunk', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      for (const limit of [0, 1, 255, 256, 257, 512, 2000]) {
        const rows = await collect(database.iterate('SELECT * FROM numbers ORDER BY n LIMIT ?', [limit]))
        expect(rows).toEqual(
          Array.from({ length: limit }, (_, index) => ({ n: index + 1, text: `text ${index + 1}` })),
        )
      }
    }
  })

  it('sees one state, whatever is written meanwhile', async () => {
    const { source, primary, replica } = await openBoth()
    const [ofPrimary, ofReplica] = [
      primary.iterate('SELECT n FROM numbers'),
      replica.iterate('SELECT n FROM numbers'),
    ]
    expect((await ofPrimary.next()).value).toEqual({ n: 1 })
    expect((await ofReplica.next()).value).toEqual({ n: 1 })
    await primary.run('DELETE FROM numbers')
    await source.save()
    await replica.replicate(source.logs.at(-1)!)
    expect(await collect(ofPrimary)).toHaveLength(1999)
    expect(await collect(ofReplica)).toHaveLength(1999)
    expect([await primary.get(count), await replica.get(count)]).toEqual([{ n: 0 }, { n: 0 }])
  })

  it('lets other reads, iterations and sessions go on, with one reader thread too', async () => {
    const { replica } = await openBoth({ readers: 1 })
    let seen = 0
    for await (const { n } of replica.iterate('SELECT n FROM numbers')) {
      seen += 1
      if (Number(n) % 500 !== 1) continue
      expect(await replica.get('SELECT text FROM numbers WHERE n = ?', [n!])).toEqual({ text: `text ${n}` })
      for await (const inner of replica.iterate('SELECT n FROM numbers WHERE n > ?', [n!])) {
        expect(inner.n).toBe(Number(n) + 1)
        break
      }
      expect(await replica.withConnection((connection) => connection.get(count))).toEqual({ n: 2000 })
    }
    expect(seen).toBe(2000)
  })

  it('that is left early frees the reader', async () => {
    const { databases } = await openBoth({ readers: 1 })
    for (const database of databases) {
      for (let round = 0; round < 70; round++) {
        expect(await collect(database.iterate('SELECT n FROM numbers'), 1)).toEqual([{ n: 1 }])
      }
      const thrown = new Error('mine')
      const throwing = (async () => {
        for await (const _row of database.iterate('SELECT n FROM numbers')) throw thrown
      })()
      expect(await rejection(throwing)).toBe(thrown)
      const rows = database.iterate('SELECT n FROM numbers')
      await rows.next()
      expect(await rows.return?.()).toEqual({ done: true, value: undefined })
      expect((await rows.next()).done).toBe(true)
      expect(await database.get(count)).toEqual({ n: 2000 })
    }
  })

  it('that is never begun costs nothing', async () => {
    const { databases } = await openBoth({ readers: 1 })
    for (const database of databases) {
      for (let round = 0; round < 200; round++) database.iterate('SELECT n FROM numbers')
      expect(await database.get(count)).toEqual({ n: 2000 })
    }
  })

  it('throws the error of SQLite, also in the middle', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      await expectSqlite(collect(database.iterate('SELECT * FROM nowhere')), 'SQLITE_ERROR')
      const rows = database.iterate(
        "SELECT CASE n WHEN 600 THEN json('nonsense') ELSE n END AS n FROM numbers",
      )
      const seen: Row[] = []
      const failing = (async () => {
        for await (const row of rows) seen.push(row)
      })()
      const error = await expectSqlite(failing, 'SQLITE_ERROR')
      expect(error.message).toBe('malformed JSON')
      expect(seen.length).toBeLessThan(600)
      expect(await database.get(count)).toEqual({ n: 2000 })
    }
  })

  it('that nobody asks for idleTimeoutMs is given up', async () => {
    const { databases } = await openBoth({ readers: 1, idleTimeoutMs: 250 })
    for (const database of databases) {
      const rows = database.iterate('SELECT n FROM numbers')
      await rows.next()
      // Rows that are here already are given first.
      await new Promise((resolve) => setTimeout(resolve, 500))
      await expectCode(collect(rows), 'ERR_TIMEOUT')
      expect(await database.get(count)).toEqual({ n: 2000 })
    }
  })
})

describe('a long query', () => {
  it('does not delay the answers of those before and behind it', async () => {
    const { primary } = await openBoth({ readers: 1 })
    const counting =
      'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT max(n) AS n FROM c'
    // From now on the thread knows that it takes long.
    expect(await primary.get(counting, [100_000])).toEqual({ n: 100_000 })
    const stop = new AbortController()
    const before = primary.get(count)
    const long = primary.get(counting, [1e12], { signal: stop.signal })
    const behind = primary.all(count)
    const settled: string[] = []
    const note = (name: string) => () => settled.push(name)
    long.then(note('long'), note('long'))
    behind.then(note('behind'), note('behind'))
    expect(await before).toEqual({ n: 2000 })
    expect(settled).toEqual([])
    stop.abort(new Error('mine'))
    expect((await rejection(long)).message).toBe('mine')
    expect(await behind).toEqual([{ n: 2000 }])
    // Both answers may come in one message: the promise of a call with a signal settles some turns later then.
    expect(settled.sort()).toEqual(['behind', 'long'])
  })

  it('keeps one thread busy, and nothing waits for that one', async () => {
    const { databases } = await openBoth({ readers: 2 })
    for (const database of databases) {
      await database.get(count)
      const stop = new AbortController()
      const long = rejection(database.get(forever, [], { signal: stop.signal }))
      // It is at it by then.
      await new Promise((resolve) => setTimeout(resolve, 20))
      for (const size of [1, 10, 500]) {
        const texts = await Promise.all(
          Array.from({ length: size }, (_, n) =>
            database.get('SELECT text FROM numbers WHERE n = ?', [n + 1]),
          ),
        )
        expect(texts).toEqual(texts.map((_, n) => ({ text: `text ${n + 1}` })))
      }
      stop.abort(new Error('mine'))
      expect((await long).message).toBe('mine')
    }
  })
})

describe('many kinds of queries in one tick', () => {
  it('get the answers that are theirs', async () => {
    for (const readers of [1, 2]) {
      const { databases } = await openBoth({ readers })
      for (const database of databases) {
        const kinds = [
          (n: number) => [
            database.get('SELECT n, text FROM numbers WHERE n = ?', [n]),
            { n, text: `text ${n}` },
          ],
          (n: number) => [
            database.all('SELECT n, text FROM numbers WHERE n = ?', [n]),
            [{ n, text: `text ${n}` }],
          ],
          (n: number) => [database.get('SELECT n FROM numbers WHERE n = -?', [n]), undefined],
          (n: number) => [database.get('SELECT :a AS a, :b AS b', { a: n, b: null }), { a: n, b: null }],
          (n: number) => [database.get('SELECT ? AS a, ? AS b', [n, 'x']), { a: n, b: 'x' }],
          (n: number) => [database.get(`SELECT ${n} AS own`), { own: n }],
          (n: number) => [database.all('SELECT ? AS late', [n], { timeoutMs: 60_000 }), [{ late: n }]],
          (n: number) => [
            database
              .get(`SELECT json('nonsense') FROM numbers WHERE n = ?`, [n])
              .catch((error) => error.message),
            'malformed JSON',
          ],
          () => [
            database.all('SELECT * FROM nowhere').catch((error) => error.message),
            'no such table: nowhere',
          ],
        ]
        const asked = Array.from({ length: 300 }, (_, n) => kinds[n % kinds.length]!(n + 1))
        expect(await Promise.all(asked.map(([answer]) => answer))).toEqual(
          asked.map(([, expected]) => expected),
        )
      }
    }
  })
})

describe('a reader thread that ends', () => {
  const threads: Worker[] = []
  const note = (thread: Worker) => threads.push(thread)
  beforeEach(() => {
    process.on('worker', note)
  })
  afterEach(() => {
    process.off('worker', note)
  })

  it('rejects what it was asked for, and another one takes its place', async () => {
    // Threads that are kept of databases which are closed are taken here: all others are new.
    const { replica } = await openBoth({ readers: 4 })
    await replica.get(count)
    const { databases } = await openBoth({ readers: 1 })
    for (const database of databases) {
      threads.length = 0
      const rows = database.iterate('SELECT n FROM numbers')
      await rows.next()
      expect(threads).toHaveLength(1)
      const exited = once(threads[0]!, 'exit')
      void threads[0]!.terminate()
      const asked = [database.get(count), database.all(count)]
      for (const answer of asked) {
        expect((await expectCode(answer, 'ERR_WORKER_EXITED')).message).toContain('A reader thread stopped')
      }
      await exited
      await expectCode(collect(rows), 'ERR_WORKER_EXITED')
      expect(await database.get(count)).toEqual({ n: 2000 })
      expect(await collect(database.iterate('SELECT n FROM numbers'), 1)).toEqual([{ n: 1 }])
    }
  })
})

describe('more iterations than the threads have room for', () => {
  it('wait for their turn', async () => {
    const { replica } = await openBoth({ readers: 2 })
    const open = Array.from({ length: 128 }, () => replica.iterate('SELECT n FROM numbers'))
    for (const rows of open) expect((await rows.next()).value).toEqual({ n: 1 })
    const waiting = replica.iterate('SELECT n FROM numbers LIMIT 1')
    const first = waiting.next()
    let isSettled = false
    first.then(() => {
      isSettled = true
    })
    expect(await replica.get(count)).toEqual({ n: 2000 })
    expect(isSettled).toBe(false)
    await open[77]!.return?.()
    expect((await first).value).toEqual({ n: 1 })
  })
})

describe('close while reads are under way', () => {
  it('rejects them with ERR_CLOSED', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      const rows = database.iterate('SELECT n FROM numbers')
      await rows.next()
      const long = expectCode(database.get(forever), 'ERR_CLOSED')
      // It has begun by then, mostly: nothing tells. Either is right.
      await new Promise((resolve) => setTimeout(resolve, 20))
      await database.close()
      await long
      await expectCode(collect(rows), 'ERR_CLOSED')
    }
  })

  it('ends a callback of replica.withConnection that never ends', async () => {
    const { replica } = await openBoth()
    const begun = deferred()
    const held = replica.withConnection(async (connection) => {
      await connection.get('SELECT 1')
      begun.resolve()
      await new Promise(() => {})
    })
    const closed = expectCode(held, 'ERR_CLOSED')
    await begun.promise
    await replica.close()
    await closed
  })

  it('an iteration that was not begun', async () => {
    const { databases } = await openBoth()
    for (const database of databases) {
      const rows = database.iterate('SELECT n FROM numbers')
      await database.close()
      await expectCode(collect(rows), 'ERR_CLOSED')
    }
  })
})

it('many reads at once, on one thread and on several', async () => {
  for (const readers of [1, 3]) {
    const { primary } = await openPrimary(numbers, { readers })
    closedAfterTest(primary)
    const rows = await Promise.all(
      Array.from({ length: 300 }, (_, n) => primary.get('SELECT text FROM numbers WHERE n = ?', [n + 1])),
    )
    expect(rows).toEqual(rows.map((_, n) => ({ text: `text ${n + 1}` })))
  }
})

it('a primary and a replica read alike', () => {
  for (const method of ['get', 'all', 'iterate', 'withConnection'] as const) {
    expect(typeof Primary.prototype[method]).toBe('function')
    expect(typeof Replica.prototype[method]).toBe('function')
  }
})
