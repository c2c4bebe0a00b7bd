/** Whether writes get slower when the database is large. */
import { rm } from 'node:fs/promises'
import { eventsSchema, forgetLog, makeDatabase, openPrimary } from './databases.mjs'
import { writeEvents } from './writes.mjs'

/** A primary whose database has `byteCount` bytes of other rows. */
async function openGrown(folder, byteCount) {
  const path = makeDatabase(folder, (connection) => {
    connection.exec(eventsSchema)
    connection.exec('CREATE TABLE pages (id INTEGER PRIMARY KEY, data BLOB NOT NULL)')
    connection
      .prepare(`WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?)
        INSERT INTO pages SELECT id, zeroblob(4000) FROM n`)
      .run(Math.floor(byteCount / 4096))
  })
  const primary = await openPrimary(path)
  await rm(path)
  return primary
}

const growth = {
  name: 'growth',
  about: 'write.c64 at a database of 1 GB',
  reference: 'write.c64 at 10 MB',
  unit: 'tx/s',
  goal: { of: 'ratio', atLeast: 0.8 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 40_000 : 160_000
    const large = await openGrown(folder, isQuick ? 1e8 : 1e9)
    const small = await openGrown(folder, 1e7)
    const round = async (primary) => {
      const value = await writeEvents(primary, 64, count)
      await forgetLog(primary)
      return value
    }
    return {
      measure: () => round(large),
      measureReference: () => round(small),
      async close() {
        await large.close()
        await small.close()
      },
    }
  },
}

export const benchmarks = [growth]
