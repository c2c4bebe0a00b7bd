/** Replicas, opened from a snapshot and logs and fed with logs, and restores. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { copyFile, readFile, rm } from 'node:fs/promises'
import { FileStore, Log, Replica, restore, Snapshot } from '../dist/main/index.js'
import { newPath } from './databases.mjs'
import { milliseconds, perSecond } from './harness.mjs'
import { makeLogs, makePages } from './pages.mjs'

const mebibyte = 1024 * 1024

/** A snapshot and logs that continue it, all opened and verified before anything is timed. */
async function makeHistory(folder, snapshotBytes, logBytes) {
  const pageCount = snapshotBytes / 4096
  const path = makePages(folder, pageCount)
  const snapshot = await Snapshot.fromDatabase(path, newPath(folder, '.db'))
  const logPaths = await makeLogs(folder, path, pageCount, logBytes)
  const logs = await Promise.all(logPaths.map((logPath) => Log.open(logPath)))
  await rm(path)
  return { snapshot, logs, paths: [snapshot.path, ...logPaths] }
}

const open = {
  name: 'open.replica',
  about: 'Replica.open, 256 MiB snapshot and 64 MiB of logs, verified',
  reference: 'fs.copyFile of them',
  unit: 'ms',
  goal: { of: 'ratio', atMost: 2.5 },
  async prepare({ folder, isQuick }) {
    const snapshotBytes = (isQuick ? 64 : 256) * mebibyte
    const { snapshot, logs, paths } = await makeHistory(folder, snapshotBytes, snapshotBytes / 4)
    return {
      async measure() {
        let replica
        const value = await milliseconds(async () => {
          replica = await Replica.open(snapshot, logs)
        })
        await replica.close()
        return value
      },
      async measureReference() {
        const copies = paths.map(() => newPath(folder, '.copy'))
        const value = await milliseconds(async () => {
          for (const [index, path] of paths.entries()) await copyFile(path, copies[index])
        })
        await Promise.all(copies.map((path) => rm(path)))
        return value
      },
      async close() {},
    }
  },
}

const apply = {
  name: 'apply.mbps',
  about: 'replicate() of 64 MiB of logs, verified',
  reference: 'fs.writeSync of them, 1 MiB at a time',
  unit: 'MB/s',
  goal: { of: 'ratio', atLeast: 0.5 },
  async prepare({ folder, isQuick }) {
    const { snapshot, logs, paths } = await makeHistory(folder, 16 * mebibyte, (isQuick ? 16 : 64) * mebibyte)
    const bytes = Buffer.concat(await Promise.all(paths.slice(1).map((path) => readFile(path))))
    const megabytes = bytes.length / 1e6
    return {
      async measure() {
        const replica = await Replica.open(snapshot)
        const value = await perSecond(megabytes, async () => {
          for (const log of logs) await replica.replicate(log)
        })
        await replica.close()
        return value
      },
      async measureReference() {
        const path = newPath(folder, '.copy')
        const fd = openSync(path, 'w')
        const value = await perSecond(megabytes, () => {
          for (let at = 0; at < bytes.length; at += mebibyte)
            writeSync(fd, bytes, at, Math.min(mebibyte, bytes.length - at), at)
        })
        closeSync(fd)
        await rm(path)
        return value
      },
      async close() {},
    }
  },
}

const restoring = {
  name: 'restore.mbps',
  about: 'restore() of a FileStore: 512 MiB snapshot and 512 MiB of logs, verified and synced',
  reference: 'fs.copyFile of them',
  unit: 'MB/s',
  goal: { of: 'ratio', atLeast: 0.5 },
  async prepare({ folder, isQuick }) {
    const eachBytes = (isQuick ? 32 : 512) * mebibyte
    const { snapshot, logs, paths } = await makeHistory(folder, eachBytes, eachBytes)
    const store = new FileStore(newPath(folder, '.store'))
    await store.putSnapshot(snapshot)
    const epoch = await store.claimEpoch('benchmark')
    for (const log of logs) await store.append(log, epoch)
    const megabytes = (snapshot.byteLength + logs.reduce((sum, log) => sum + log.byteLength, 0)) / 1e6
    return {
      async measure() {
        const path = newPath(folder, '.restored')
        const value = await perSecond(megabytes, () => restore(store, path))
        await rm(path)
        return value
      },
      async measureReference() {
        const copies = paths.map(() => newPath(folder, '.copy'))
        const value = await perSecond(megabytes, async () => {
          for (const [index, path] of paths.entries()) await copyFile(path, copies[index])
        })
        await Promise.all(copies.map((path) => rm(path)))
        return value
      },
      async close() {
        await store.close()
      },
    }
  },
}

export const benchmarks = [open, apply, restoring]
