/** Writes of a primary that keeps its history in a FileStore, as an application has it. */
import { setTimeout as delay } from 'node:timers/promises'
import { FileStore, Primary, Snapshot } from '../dist/main/index.js'
import { eventsSchema, insertEvent, newPath } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { openEventsPlain, writeEventsPlain } from './writes.mjs'

/** A primary on an empty store. */
async function openOnStore(store, checkpoint) {
  const blank = await Snapshot.blank()
  await store.putSnapshot(blank)
  await blank.close()
  const primary = await Primary.open({ store, checkpoint })
  await primary.withConnection((connection) => connection.exec(eventsSchema))
  await primary.checkpoint()
  return primary
}

const inFiles = {
  name: 'store.file.c64',
  about: 'run() and ack.durable(), 64 callers, Primary.open({ store }) with a FileStore',
  reference: 'better-sqlite3 in thread, a commit each, synchronous=FULL',
  unit: 'tx/s',
  goal: { of: 'ratio', atLeast: 12 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 5000 : 20_000
    const store = new FileStore(newPath(folder, '.store'))
    // Logs are stored one after the other: what is written meanwhile goes into the next one.
    const primary = await openOnStore(store, { frames: 1 })
    const plain = openEventsPlain(folder, 'FULL')
    const write = async (n) => {
      const ack = await primary.run(insertEvent, ['event', n])
      await ack.durable()
    }
    return {
      measure: () => perSecond(count, () => withCallers(64, count, write)),
      measureReference: () => writeEventsPlain(plain, isQuick ? 500 : 2000),
      async close() {
        await primary.close()
        await store.close()
        plain.close()
      },
    }
  },
}

const writesPerSecond = 10_000

/** Writes as many as are due, every few milliseconds, until the time is over. Returns how many there were. */
async function writeSteadily(primary, durationMs) {
  const startMs = performance.now()
  const acks = []
  for (let elapsedMs = 0; elapsedMs < durationMs; elapsedMs = performance.now() - startMs) {
    const due = Math.floor((elapsedMs * writesPerSecond) / 1000)
    while (acks.length < due) acks.push(primary.run(insertEvent, ['event', acks.length]))
    await delay(5)
  }
  for (const ack of await Promise.all(acks)) await ack.durable()
  return acks.length
}

const objects = {
  name: 'objects',
  about: 'objects in a FileStore, of 10,000 writes/s for 10 s, intervalMs 100',
  reference: 'writes',
  unit: 'per 10 s',
  goal: { of: 'value', atMost: 110 },
  async prepare({ folder, isQuick }) {
    const store = new FileStore(newPath(folder, '.store'))
    const primary = await openOnStore(store, { intervalMs: 100 })
    const objectCount = async () => (await store.logs()).length + (await store.snapshots()).length
    let writeCount
    return {
      async measure({ isWarmUp }) {
        const durationMs = isWarmUp ? 1000 : isQuick ? 2000 : 10_000
        const before = await objectCount()
        writeCount = (await writeSteadily(primary, durationMs)) * (10_000 / durationMs)
        const value = ((await objectCount()) - before) * (10_000 / durationMs)
        return value
      },
      measureReference: () => writeCount,
      async close() {
        await primary.close()
        await store.close()
      },
    }
  },
}

export const benchmarks = [inFiles, objects]
