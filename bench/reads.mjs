/** Reads: many small ones, and one large one. */
import { makeDatabase, openPlain, openPrimary } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { PlainWorker } from './plain-worker.mjs'

const rowCount = 100_000
const selectOne = 'SELECT id, name, price, stock, note FROM products WHERE id = ?'
const selectAll = 'SELECT id, name, price, stock, note FROM products'

function fillProducts(connection) {
  connection.exec(`
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INTEGER, note TEXT);
    WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ${rowCount})
    INSERT INTO products SELECT id, 'product ' || id, id * 0.01, id % 100, printf('note %08d', id) FROM n;
  `)
}

const point = {
  name: 'read.c64',
  about: 'get() by key, 64 callers',
  reference: 'better-sqlite3 in a Worker, a postMessage each',
  unit: 'reads/s',
  goal: { of: 'ratio', atLeast: 3 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 20_000 : 320_000
    const path = makeDatabase(folder, fillProducts)
    const primary = await openPrimary(path)
    const worker = new PlainWorker(path)
    const key = (n) => ((n * 7919) % rowCount) + 1
    return {
      measure: () => perSecond(count, () => withCallers(64, count, (n) => primary.get(selectOne, [key(n)]))),
      measureReference: () =>
        perSecond(count / 4, () => withCallers(64, count / 4, (n) => worker.get(selectOne, [key(n)]))),
      async close() {
        await primary.close()
        await worker.close()
      },
    }
  },
}

const rows = {
  name: 'rows',
  about: 'all() of 100,000 rows of 5 columns',
  reference: 'better-sqlite3 .all() in thread',
  unit: 'rows/s',
  goal: { of: 'ratio', atLeast: 0.7 },
  async prepare({ folder }) {
    const path = makeDatabase(folder, fillProducts)
    const primary = await openPrimary(path)
    const plain = openPlain(path)
    const statement = plain.prepare(selectAll)
    return {
      measure: () => perSecond(rowCount, () => primary.all(selectAll)),
      measureReference: () => perSecond(rowCount, () => statement.all()),
      async close() {
        await primary.close()
        plain.close()
      },
    }
  },
}

export const benchmarks = [point, rows]
