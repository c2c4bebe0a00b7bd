/**
 * Writes that are safe on disk: checkpoints run in a loop and save each log, either into one file that is
 * written over again and again, as SQLite does with its WAL, or as a file of its own: two syncs and a rename.
 */
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { insertEvent, newPath } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { openEventsPlain, openEventsPrimary, writeEventsPlain } from './writes.mjs'

/** Runs `work` while checkpoints save, one after the other. */
async function whileSaving(primary, save, work) {
  let isWorking = true
  const saving = (async () => {
    while (isWorking) await primary.checkpoint(save)
  })()
  try {
    return await work()
  } finally {
    isWorking = false
    await saving
  }
}

/** One file, in which a write has returned when it is on disk. Each round begins at its start. */
async function openOverwriting(folder) {
  const { O_CREAT, O_DSYNC, O_WRONLY } = constants
  if (O_DSYNC === undefined) throw new Error('This system has no O_DSYNC, which this benchmark writes with')
  const file = await open(newPath(folder, '.logs'), O_WRONLY | O_CREAT | O_DSYNC)
  let byteOffset = 0
  return {
    async save(log) {
      const bytes = await log.bytes()
      await file.write(bytes, 0, bytes.length, byteOffset)
      byteOffset += bytes.length
      await log.close()
    },
    async forget() {
      byteOffset = 0
    },
    close: () => file.close(),
  }
}

/** Each log is a file. */
async function openCopying(folder) {
  let paths = []
  return {
    async save(log) {
      const path = newPath(folder, '.log')
      paths.push(path)
      await log.copyTo(path)
      await log.close()
    },
    async forget() {
      await Promise.all(paths.map((path) => rm(path)))
      paths = []
    },
    async close() {},
  }
}

function durable({ name, about, openStore, callerCount, count, goal }) {
  return {
    name,
    about: `run() and ack.durable(), ${callerCount.toLocaleString('en-US')} callers, ${about}`,
    reference: 'better-sqlite3 in thread, a commit each, synchronous=FULL',
    unit: 'tx/s',
    goal,
    async prepare({ folder, isQuick }) {
      const writeCount = isQuick ? count / 4 : count
      const primary = await openEventsPrimary(folder)
      const plain = openEventsPlain(folder, 'FULL')
      const write = async (n) => {
        const ack = await primary.run(insertEvent, ['event', n])
        await ack.durable()
      }
      const store = await openStore(folder)
      return {
        async measure() {
          const value = await whileSaving(primary, store.save, () =>
            perSecond(writeCount, () => withCallers(callerCount, writeCount, write)),
          )
          await store.forget()
          return value
        },
        measureReference: () => writeEventsPlain(plain, isQuick ? 500 : 2000),
        async close() {
          await primary.close()
          await store.close()
          plain.close()
        },
      }
    },
  }
}

const overwriting = { about: 'logs in one synced file', openStore: openOverwriting }
const copying = { about: 'logs as synced files', openStore: openCopying }

export const benchmarks = [
  durable({
    ...overwriting,
    name: 'durable.c64',
    callerCount: 64,
    count: 40_000,
    goal: { of: 'ratio', atLeast: 12 },
  }),
  durable({
    ...overwriting,
    name: 'durable.c1024',
    callerCount: 1024,
    count: 120_000,
    goal: { of: 'ratio', atLeast: 40 },
  }),
  durable({ ...copying, name: 'durable.files.c64', callerCount: 64, count: 20_000 }),
  durable({ ...copying, name: 'durable.files.c1024', callerCount: 1024, count: 80_000 }),
]
