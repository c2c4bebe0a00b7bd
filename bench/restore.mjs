/** A database made of what a store holds. */
import { copyFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { FileStore, Primary, restore, Snapshot } from '../dist/main/index.js'
import { newPath } from './databases.mjs'
import { perSecond } from './harness.mjs'
import { makePages, overwritePages, procedures, recordBytes } from './pages.mjs'

const mebibyte = 1024 * 1024

/** A store with a snapshot and logs behind it; its files, and how many bytes they have. */
async function makeStore(folder, snapshotBytes, logBytes) {
  const pageCount = snapshotBytes / 4096
  const path = makePages(folder, pageCount)
  const directory = newPath(folder, '.store')
  const store = new FileStore(directory)
  const snapshot = await Snapshot.fromDatabase(path)
  await store.putSnapshot(snapshot)
  await snapshot.close()
  await rm(path)
  const checkpoint = { bytes: 16 * mebibyte }
  const primary = await Primary.open({ store, checkpoint, snapshot: { everyBytes: Infinity }, procedures })
  await overwritePages(primary, pageCount, Math.round(logBytes / recordBytes / 64))
  await primary.close()
  const paths = []
  for (const kind of ['snapshots', 'logs']) {
    for (const name of await readdir(join(directory, kind))) paths.push(join(directory, kind, name))
  }
  const objects = [...(await store.snapshots()), ...(await store.logs())]
  const megabytes = objects.reduce((sum, { byteLength }) => sum + byteLength, 0) / 1e6
  return { store, paths, megabytes }
}

const restoring = {
  name: 'restore.mbps',
  about: 'restore() of a 768 MiB snapshot and 256 MiB of logs in a FileStore, checked and synced',
  reference: 'fs.copyFile of the same files, neither checked nor synced',
  unit: 'MB/s',
  goal: { of: 'ratio', atLeast: 0.5 },
  async prepare({ folder, isQuick }) {
    const bytes = (isQuick ? 128 : 1024) * mebibyte
    const { store, paths, megabytes } = await makeStore(folder, (bytes * 3) / 4, bytes / 4)
    return {
      async measure() {
        const target = newPath(folder, '.db')
        const value = await perSecond(megabytes, () => restore(store, target))
        await rm(target)
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
      close: () => store.close(),
    }
  },
}

export const benchmarks = [restoring]
