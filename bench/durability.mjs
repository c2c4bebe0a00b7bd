/** Writes that are safe on disk: checkpoints run in a loop, each log is a file that is synced. */
import { rm } from 'node:fs/promises'
import { insertEvent, newPath } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'
import { openEventsPlain, openEventsPrimary, writeEventsPlain } from './writes.mjs'

/** Runs `work` while checkpoints save to files in `folder`, one after the other. */
async function whileSaving(primary, folder, work) {
  const paths = []
  let isWorking = true
  const saving = (async () => {
    while (isWorking) {
      await primary.checkpoint(async (log) => {
        const path = newPath(folder, '.log')
        paths.push(path)
        await log.copyTo(path)
        void log.close()
      })
    }
  })()
  try {
    return await work()
  } finally {
    isWorking = false
    await saving
    await Promise.all(paths.map((path) => rm(path)))
  }
}

function durable(callerCount, count, atLeast) {
  return {
    name: `durable.c${callerCount}`,
    about: `run() and ack.durable(), ${callerCount.toLocaleString('en-US')} callers, logs synced`,
    reference: 'better-sqlite3 in thread, a commit each, synchronous=FULL',
    unit: 'tx/s',
    goal: { of: 'ratio', atLeast },
    async prepare({ folder, isQuick }) {
      const writeCount = isQuick ? count / 4 : count
      const primary = await openEventsPrimary(folder)
      const plain = openEventsPlain(folder, 'FULL')
      const write = async (n) => {
        const ack = await primary.run(insertEvent, ['event', n])
        await ack.durable()
      }
      return {
        measure: () =>
          whileSaving(primary, folder, () =>
            perSecond(writeCount, () => withCallers(callerCount, writeCount, write)),
          ),
        measureReference: () => writeEventsPlain(plain, isQuick ? 500 : 2000),
        async close() {
          await primary.close()
          plain.close()
        },
      }
    },
  }
}

export const benchmarks = [durable(64, 20_000, 12), durable(1024, 80_000, 40)]
