/** Other embedded databases of the family, for information: 64 callers write one row each, a commit each. */
import { eventsSchema, forgetLog, makeDatabase } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { openEventsPrimary, writeEvents } from './writes.mjs'

function peer(packageName, load, count) {
  return {
    name: `peer.${packageName.replace('@', '').replace('/', '.')}`,
    about: 'run(), one row, 64 callers',
    reference: `${packageName}, the same`,
    unit: 'tx/s',
    async prepare({ folder, isQuick }) {
      const { open } = await load()
      const primary = await openEventsPrimary(folder)
      const path = makeDatabase(folder, (connection) => connection.exec(eventsSchema))
      const { insert, close } = await open(path)
      const peerCount = isQuick ? count / 4 : count
      return {
        async measure() {
          const value = await writeEvents(primary, 64, isQuick ? 40_000 : 160_000)
          await forgetLog(primary)
          return value
        },
        measureReference: () =>
          perSecond(peerCount, () => withCallers(64, peerCount, (n) => insert('event', n))),
        async close() {
          await primary.close()
          await close()
        },
      }
    },
  }
}

export const benchmarks = [
  peer('libsql', () => import('./peers/libsql.mjs'), 20_000),
  peer('@libsql/client', () => import('./peers/libsql-client.mjs'), 8000),
  peer('@tursodatabase/database', () => import('./peers/turso.mjs'), 8000),
]
