// What a running database tells: counts, histograms with units, tracing channels without bound parameters.
import { tracingChannel } from 'node:diagnostics_channel'
import { init, type Log, Primary, Replica } from 'mylibsql'
import { expect, it } from 'vitest'
import { expectCode } from './support/errors.js'

const secret = 'a parameter that nobody is told'

it('counts requests and transactions, and measures where time goes', async () => {
  const { snapshot } = await init('CREATE TABLE t (a)')
  const primary = await Primary.open(snapshot)
  const replica = await Replica.open(snapshot)
  await Promise.all(Array.from({ length: 100 }, () => primary.run('INSERT INTO t VALUES (1)')))
  await primary.checkpoint((log: Log) => replica.replicate(log))
  const stats = await primary.stats()
  expect(stats).toMatchObject({
    requestCount: 100,
    pendingRequestCount: 0,
    unsavedBytes: 0,
    readerGapCount: 0,
    readerGapMs: 0,
    walError: undefined,
  })
  expect(stats.transactionCount).toBeLessThan(100)
  for (const histogram of [stats.queueWaitUs, stats.executeUs, stats.commitUs, stats.saveUs]) {
    expect(histogram.count).toBeGreaterThan(0)
    expect(histogram.percentile(99)).toBeGreaterThan(0)
  }
  expect(stats.commitUs.count).toBe(stats.transactionCount)
  expect((await replica.stats()).applyUs.count).toBe(1)
  await primary.close()
  await replica.close()
})

it('tells what was last known while the thread is busy, and how old that is', async () => {
  const { snapshot } = await init('CREATE TABLE t (a)')
  const primary = await Primary.open(snapshot)
  expect(await primary.stats()).toMatchObject({ ageMs: 0, requestCount: 0 })
  await primary.run('INSERT INTO t VALUES (1)')
  expect(await primary.stats()).toMatchObject({ ageMs: 0, requestCount: 1 })
  const ending = new AbortController()
  const endless =
    'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT max(i) FROM n'
  const busy = primary.run(endless, [], { signal: ending.signal }).catch((error: unknown) => error)
  // Asked before it has begun, the thread answers.
  while ((await primary.stats()).ageMs === 0);
  for (const stats of await Promise.all([primary.stats(), primary.stats()])) {
    expect(stats).toMatchObject({ requestCount: 1, pendingRequestCount: 1 })
    expect(stats.ageMs).toBeGreaterThanOrEqual(1000)
  }
  ending.abort('enough')
  expect(await busy).toBe('enough')
  expect(await primary.stats()).toMatchObject({ ageMs: 0, requestCount: 2, pendingRequestCount: 0 })
  await primary.close()
  await expectCode(primary.stats(), 'ERR_CLOSED')
})

it('traces transactions, queries, checkpoints and replication', async () => {
  const { snapshot } = await init('CREATE TABLE t (a)')
  const primary = await Primary.open(snapshot)
  const replica = await Replica.open(snapshot)
  const events: [string, object][] = []
  const subscriptions = ['transaction', 'query', 'checkpoint', 'replicate'].map((name) => {
    const channel = tracingChannel(`mylibsql.${name}`)
    const note = (event: string) => (message: object) =>
      void events.push([`${name} ${event}`, { ...message }])
    const subscribers = {
      start: note('start'),
      end: () => {},
      asyncStart: () => {},
      asyncEnd: note('end'),
      error: note('error'),
    }
    channel.subscribe(subscribers)
    return () => channel.unsubscribe(subscribers)
  })
  await primary.run('INSERT INTO t VALUES (?)', [secret])
  await primary.transaction((connection) => connection.run('INSERT INTO t VALUES (?)', [secret]))
  await primary.run('INSERT INTO nowhere VALUES (?)', [secret]).catch(() => {})
  await primary.checkpoint((log: Log) => replica.replicate(log))
  expect(await primary.get('SELECT count(*) AS n FROM t WHERE a = ?', [secret])).toEqual({ n: 2 })
  await replica.all('SELECT nothing FROM t').catch(() => {})
  await replica.readTransaction((connection) => connection.get('SELECT ?', [secret]))
  for await (const _row of primary.iterate('SELECT a FROM t WHERE a = ?', [secret])) break
  await replica
    .iterate('SELECT nothing')
    .next()
    .catch(() => {})
  for (const unsubscribe of subscriptions) unsubscribe()
  await primary.run('INSERT INTO t VALUES (2)')
  expect(events.map(([name]) => name)).toEqual([
    'transaction start',
    'transaction end',
    'transaction start',
    'transaction end',
    'transaction start',
    'transaction error',
    'transaction end',
    'checkpoint start',
    'replicate start',
    'replicate end',
    'checkpoint end',
    'query start',
    'query end',
    'query start',
    'query error',
    'query end',
    'query start',
    'query end',
    'query start',
    'query end',
    'query start',
    'query error',
    'query end',
  ])
  expect(events[0]![1]).toMatchObject({ method: 'run', sql: 'INSERT INTO t VALUES (?)', path: primary.path })
  expect(events[8]![1]).toMatchObject({ frameCount: expect.any(Number), path: replica.path })
  const sql = 'SELECT count(*) AS n FROM t WHERE a = ?'
  expect(events[11]![1]).toMatchObject({ method: 'get', sql, path: primary.path })
  expect(events[14]![1]).toMatchObject({ method: 'all', error: { code: 'SQLITE_ERROR' }, path: replica.path })
  expect(events[16]![1]).toMatchObject({ method: 'readTransaction', path: replica.path })
  const iteration = { method: 'iterate', sql: 'SELECT a FROM t WHERE a = ?', path: primary.path }
  expect(events[18]![1]).toMatchObject(iteration)
  const broken = { method: 'iterate', error: { code: 'SQLITE_ERROR' }, path: replica.path }
  expect(events[21]![1]).toMatchObject(broken)
  const told = events.filter(([name]) => name.endsWith('start')).map(([, message]) => JSON.stringify(message))
  expect(told.join()).not.toContain(secret)
  await primary.close()
  await replica.close()
})
