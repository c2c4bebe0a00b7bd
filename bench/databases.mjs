/** The databases of the benchmarks, the same ones for the library and for what it is compared with. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Primary, Snapshot } from '../dist/main/index.js'

export const eventsSchema =
  'CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT NOT NULL, value INTEGER NOT NULL)'
export const insertEvent = 'INSERT INTO events (name, value) VALUES (?, ?)'

let fileCount = 0

/** A path in `folder` that is not in use. */
export function newPath(folder, suffix) {
  fileCount += 1
  return join(folder, `${fileCount}${suffix}`)
}

/** A database of stock better-sqlite3 in WAL mode, with SQLite's own checkpoints at their default. */
export function openPlain(path, synchronous = 'OFF') {
  const connection = new Database(path)
  connection.pragma('journal_mode = WAL')
  connection.pragma(`synchronous = ${synchronous}`)
  return connection
}

/** Makes a database file with `fill(connection)`; returns its path. */
export function makeDatabase(folder, fill) {
  const path = newPath(folder, '.db')
  const connection = openPlain(path)
  fill(connection)
  connection.close()
  return path
}

/** A primary on a copy of the database at `path`. */
export async function openPrimary(path, options) {
  const snapshot = await Snapshot.fromDatabase(path)
  try {
    return await Primary.open(snapshot, [], options)
  } finally {
    await snapshot.close()
  }
}

/** Takes what a round has written off the primary's hands, outside of what is timed. */
export async function forgetLog(primary) {
  await primary.checkpoint((log) => log.close())
}
