// A process that uses a FileStore, told what to do by lines of JSON: { method, ... }. Each is answered with { value } or
// { code, message }.
import { createInterface } from 'node:readline'
import { FileStore, Log } from '../../dist/main/index.js'

const { dir, options, isUnprivileged = false } = JSON.parse(process.argv[2])
// The superuser is refused nothing.
if (isUnprivileged && process.getuid() === 0) process.setuid(65_534)

const store = new FileStore(dir, options)

async function append(path, epoch) {
  const log = await Log.open(path)
  try {
    return (await store.append(log, epoch)).startFrameNo
  } finally {
    await log.close()
  }
}

async function outcome(action) {
  try {
    return { value: await action() }
  } catch ({ code, message }) {
    return { code, message }
  }
}

const methods = {
  /** One after the other; the outcome of each. */
  async appendAll({ paths, epoch }) {
    const outcomes = []
    for (const path of paths) outcomes.push(await outcome(() => append(path, epoch)))
    return outcomes
  },
  append: ({ path, epoch }) => append(path, epoch),
  async claimEpochs({ count }) {
    const epochs = []
    for (let n = 0; n < count; n += 1) epochs.push(await store.claimEpoch(`process ${process.pid}`))
    return epochs
  },
  currentEpoch: () => store.currentEpoch(),
  logs: async () => (await store.logs()).map(({ startFrameNo }) => startFrameNo),
  async readLogs() {
    const checksums = []
    for (const stored of await store.logs()) {
      const log = await store.readLog(stored)
      checksums.push(String(log.endChecksum))
      await log.close()
    }
    return checksums
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { method, ...rest } = JSON.parse(line)
  process.stdout.write(`${JSON.stringify(await outcome(() => methods[method](rest)))}\n`)
}
await store.close()
