/** A database in which SQLite finds damage: SQLITE_CORRUPT. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Snapshot } from 'mylibsql'
import { closedAfterTest } from './database.js'
import { temporaryFolder } from './folder.js'

/** A database with `schema` and a table `damaged`, whose only page holds nothing but zeros. */
export async function withDamagedTable(schema: string): Promise<Snapshot> {
  const path = join(temporaryFolder(), 'damaged.db')
  const database = new Database(path)
  database.exec(`${schema}; CREATE TABLE damaged (n INTEGER)`)
  const root = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'damaged'").pluck()
  const byteOffset = (Number(root.get()) - 1) * 4096
  database.close()
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.alloc(4096), 0, 4096, byteOffset)
  closeSync(fd)
  return closedAfterTest(await Snapshot.fromDatabase(path))
}
