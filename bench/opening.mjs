/** Databases that are opened and closed all the time, as with one for each tenant. */
import { Primary, Snapshot } from '../dist/main/index.js'
import { eventsSchema, makeDatabase } from './databases.mjs'
import { milliseconds } from './harness.mjs'
import { PlainWorker } from './plain-worker.mjs'

const count = 'SELECT count(*) AS n FROM events'

const again = {
  name: 'open.again',
  about: 'Primary.open, get() and close() of a small database, one after the other',
  reference: 'better-sqlite3 in a Worker: started, the same read, ended',
  unit: 'ms',
  async prepare({ folder, isQuick }) {
    const path = makeDatabase(folder, (connection) => connection.exec(eventsSchema))
    const snapshot = await Snapshot.fromDatabase(path)
    const times = isQuick ? 2 : 10
    const average = async (open) => {
      const tookMs = await milliseconds(async () => {
        for (let opened = 0; opened < times; opened += 1) await open()
      })
      return tookMs / times
    }
    return {
      measure: () =>
        average(async () => {
          const primary = await Primary.open(snapshot)
          await primary.get(count)
          await primary.close()
        }),
      measureReference: () =>
        average(async () => {
          const worker = new PlainWorker(path)
          await worker.get(count, [])
          await worker.close()
        }),
      close: () => snapshot.close(),
    }
  },
}

export const benchmarks = [again]
