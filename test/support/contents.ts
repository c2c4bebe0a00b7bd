/** What is in a database, whatever pages it is on. */

import { createHash, randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Primary } from 'mylibsql'

interface SchemaObject {
  readonly type: string
  readonly name: string
  readonly sql: string | null
}

/** Schema and rows; of a blob, its hash, because vitest takes its time to compare bytes. */
export function contentsOf(database: Database.Database): unknown {
  const objects = database
    .prepare<[], SchemaObject>('SELECT type, name, sql FROM sqlite_schema ORDER BY type, name')
    .all()
  const tables = objects.filter(({ type }) => type === 'table')
  const rows = tables.map(({ name }) => {
    const select = database.prepare<[], unknown[]>(`SELECT * FROM "${name.replaceAll('"', '""')}"`).raw()
    const texts = select.all().map((row) => row.map(comparable).join())
    // ANALYZE takes tables in the order in which a hash table has them.
    return name.startsWith('sqlite_stat') ? texts.sort() : texts
  })
  const [userVersion, applicationId] = ['user_version', 'application_id'].map((name) =>
    database.pragma(name, { simple: true }),
  )
  return { userVersion, applicationId, objects, rows }
}

function comparable(value: unknown): string {
  if (!(value instanceof Uint8Array)) return JSON.stringify(value)
  return `${value.byteLength} bytes ${createHash('sha1').update(value).digest('hex')}`
}

/** The same of a primary or replica, by way of a snapshot. */
export async function contentsOfOpen(source: Pick<Primary, 'snapshot'>): Promise<unknown> {
  const path = join(tmpdir(), `mylibsql-test-${randomUUID()}.db`)
  try {
    await source.snapshot(path)
    const database = new Database(path, { readonly: true })
    try {
      return contentsOf(database)
    } finally {
      database.close()
    }
  } finally {
    await Promise.all([path, `${path}-wal`, `${path}-shm`].map((file) => rm(file, { force: true })))
  }
}
