/** Writes that are executed, not yet saved: one row, a procedure, a large batch. */
import { eventsSchema, forgetLog, insertEvent, makeDatabase, openPlain, openPrimary } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { PlainWorker } from './plain-worker.mjs'
import { transfer } from './workers/procedures.mjs'

const procedures = new URL('./workers/procedures.mjs', import.meta.url)

/** One-row writes for each second. */
export function writeEvents(primary, callerCount, count) {
  return perSecond(count, () =>
    withCallers(callerCount, count, (n) => primary.run(insertEvent, ['event', n])),
  )
}

/** The same in the calling thread, a commit each. */
export function writeEventsPlain(connection, count) {
  const insert = connection.prepare(insertEvent)
  return perSecond(count, () => {
    for (let n = 0; n < count; n += 1) insert.run('event', n)
  })
}

export async function openEventsPrimary(folder) {
  return openPrimary(
    makeDatabase(folder, (connection) => connection.exec(eventsSchema)),
    { procedures },
  )
}

export function openEventsPlain(folder, synchronous = 'OFF') {
  return openPlain(
    makeDatabase(folder, (connection) => connection.exec(eventsSchema)),
    synchronous,
  )
}

const oneCaller = {
  name: 'write.c1',
  about: 'run(), one row, 1 caller',
  reference: 'better-sqlite3 in a Worker, a postMessage each',
  unit: 'tx/s',
  goal: { of: 'ratio', atLeast: 1 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 2000 : 8000
    const primary = await openEventsPrimary(folder)
    const worker = new PlainWorker(makeDatabase(folder, (connection) => connection.exec(eventsSchema)))
    return {
      async measure() {
        const value = await writeEvents(primary, 1, count)
        await forgetLog(primary)
        return value
      },
      measureReference: () =>
        perSecond(count, () => withCallers(1, count, (n) => worker.run(insertEvent, ['event', n]))),
      async close() {
        await primary.close()
        await worker.close()
      },
    }
  },
}

function manyCallers(callerCount, atLeast) {
  return {
    name: `write.c${callerCount}`,
    about: `run(), one row, ${callerCount.toLocaleString('en-US')} callers`,
    reference: 'better-sqlite3 in thread, a commit each, synchronous=OFF',
    unit: 'tx/s',
    goal: { of: 'ratio', atLeast },
    async prepare({ folder, isQuick }) {
      const count = isQuick ? 40_000 : 160_000
      const primary = await openEventsPrimary(folder)
      const plain = openEventsPlain(folder)
      return {
        async measure() {
          const value = await writeEvents(primary, callerCount, count)
          await forgetLog(primary)
          return value
        },
        measureReference: () => writeEventsPlain(plain, count / 4),
        async close() {
          await primary.close()
          plain.close()
        },
      }
    },
  }
}

const accountCount = 100_000
const tellerCount = 10

function fillBank(connection) {
  const numbers = 'WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?)'
  connection.exec(`
    CREATE TABLE branches (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT);
    CREATE TABLE tellers (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT);
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT);
    CREATE TABLE history (id INTEGER PRIMARY KEY, account_id INTEGER, teller_id INTEGER, branch_id INTEGER, delta INTEGER);
  `)
  for (const [table, rowCount] of [
    ['branches', 1],
    ['tellers', tellerCount],
    ['accounts', accountCount],
  ])
    connection
      .prepare(`${numbers} INSERT INTO ${table} SELECT id, 0, printf('%84s', '') FROM n`)
      .run(rowCount)
}

/** Arguments of the nth transfer: the same ones on both sides. */
function transferArguments(n) {
  return [((n * 7919) % accountCount) + 1, (n % tellerCount) + 1, 1, (n % 2000) - 1000]
}

const call = {
  name: 'call.c64',
  about: 'call() of the TPC-B procedure, 64 callers',
  reference: 'better-sqlite3 in thread, a transaction each, synchronous=OFF',
  unit: 'tx/s',
  goal: { of: 'ratio', atLeast: 1.8 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 10_000 : 120_000
    const primary = await openPrimary(makeDatabase(folder, fillBank), { procedures })
    const plain = openPlain(makeDatabase(folder, fillBank))
    const transaction = plain.transaction((n) => transfer(plain, ...transferArguments(n)))
    return {
      async measure() {
        const value = await perSecond(count, () =>
          withCallers(64, count, (n) => primary.call('transfer', ...transferArguments(n))),
        )
        await forgetLog(primary)
        return value
      },
      measureReference: () =>
        perSecond(count / 2, () => {
          for (let n = 0; n < count / 2; n += 1) transaction(n)
        }),
      async close() {
        await primary.close()
        plain.close()
      },
    }
  },
}

const bulk = {
  name: 'bulk',
  about: 'one batch() of 100,000 rows',
  reference: 'better-sqlite3 in thread, one transaction',
  unit: 'rows/s',
  goal: { of: 'ratio', atLeast: 0.6 },
  async prepare({ folder, isQuick }) {
    const rowCount = isQuick ? 25_000 : 100_000
    const primary = await openEventsPrimary(folder)
    const plain = openEventsPlain(folder)
    const insert = plain.prepare(insertEvent)
    const statements = Array.from({ length: rowCount }, (_, n) => ({
      sql: insertEvent,
      params: ['event', n],
    }))
    const insertAll = plain.transaction(() => {
      for (const { params } of statements) insert.run(params)
    })
    return {
      async measure() {
        const value = await perSecond(rowCount, () => primary.batch(statements))
        await forgetLog(primary)
        return value
      },
      measureReference: () => perSecond(rowCount, insertAll),
      async close() {
        await primary.close()
        plain.close()
      },
    }
  },
}

export const benchmarks = [oneCaller, manyCallers(64, 3), manyCallers(1024, 4), call, bulk]
