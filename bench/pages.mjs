/** A table with one row on each page: writing rows anew makes frames, as many as are wanted. */
import { makeDatabase, newPath, openPrimary } from './databases.mjs'
import { withCallers } from './harness.mjs'

export const procedures = new URL('./workers/procedures.mjs', import.meta.url)
const pagesPerCall = 64
export const recordBytes = 24 + 4096

/** Goes on from call to call: SQLite does not write a page whose bytes stay the same. */
let overwriteCount = 0

/** A database of about `pageCount` pages. */
export function makePages(folder, pageCount) {
  return makeDatabase(folder, (connection) => {
    connection.exec('CREATE TABLE pages (id INTEGER PRIMARY KEY, data BLOB NOT NULL)')
    connection
      .prepare(`WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?)
        INSERT INTO pages SELECT id, zeroblob(4000) FROM n`)
      .run(pageCount)
  })
}

/** Overwrites pages, row by row, 64 with each call, 8 callers. Returns the number of the last frame. */
export async function overwritePages(primary, pageCount, callCount) {
  const rangeCount = Math.floor(pageCount / pagesPerCall)
  let lastFrameNo
  await withCallers(8, callCount, async () => {
    overwriteCount += 1
    const firstId = (overwriteCount % rangeCount) * pagesPerCall + 1
    const ack = await primary.call('overwrite', firstId, pagesPerCall, overwriteCount % 255)
    lastFrameNo = Math.max(lastFrameNo ?? 0, ack.frameNo)
  })
  return lastFrameNo
}

/** Logs of 8 MiB each that continue the database at `path`, `byteCount` bytes in all, as files in `folder`. */
export async function makeLogs(folder, path, pageCount, byteCount) {
  const bytesPerLog = 8 * 1024 * 1024
  const callsPerLog = Math.round(bytesPerLog / recordBytes / pagesPerCall)
  const paths = []
  const primary = await openPrimary(path, { procedures })
  while (paths.length < byteCount / bytesPerLog) {
    await overwritePages(primary, pageCount, callsPerLog)
    await primary.checkpoint(async (log) => {
      const logPath = newPath(folder, '.log')
      await log.copyTo(logPath)
      await log.close()
      paths.push(logPath)
    })
  }
  await primary.close()
  return paths
}
