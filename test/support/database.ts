/** Databases for a test: opened, compared page by page, checked by SQLite, closed when the test has finished. */
import { randomUUID } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Log, Primary, type PrimaryOptions, Replica, type ReplicaOptions, Snapshot } from 'mylibsql'
import { expect, onTestFinished } from 'vitest'

interface TestPrimaryOptions extends PrimaryOptions {
  readonly pageSize?: number
}

/** A primary whose history begins with the blank database, and the logs that were saved of it. */
export interface TestPrimary<P extends object = Record<string, never>> {
  readonly primary: Primary<P>
  readonly blank: Snapshot
  /** All of its history up to the last `save()`. */
  readonly logs: Log[]
  /** A checkpoint that keeps the log. */
  save(): Promise<number | undefined>
}

export async function openPrimary<P extends object = Record<string, never>>(
  schema = '',
  { pageSize = 4096, ...options }: TestPrimaryOptions = {},
): Promise<TestPrimary<P>> {
  const blank = await Snapshot.blank({ pageSize })
  const logs: Log[] = schema === '' ? [] : [await logOf(schema, blank)]
  const primary = closedAfterTest(await Primary.open<P>(blank, logs, options))
  return { primary, blank, logs, save: () => primary.checkpoint((log) => void logs.push(log)) }
}

const schemaLogs = new Map<string, Log>()

/** What a script writes into the blank database: made once, without the options of the test, which may be narrow. */
async function logOf(schema: string, blank: Snapshot): Promise<Log> {
  const key = `${blank.pageSize} ${schema}`
  let made = schemaLogs.get(key)
  if (made === undefined) {
    const primary = await Primary.open(blank)
    await primary.withConnection((connection) => connection.exec(schema))
    await primary.checkpoint((log) => {
      made = log
    })
    await primary.close()
    schemaLogs.set(key, made!)
  }
  return Log.from(await made!.bytes(), { verify: false })
}

/** What the checks need of a TestPrimary, whatever its procedures. */
type Source = Omit<TestPrimary, 'primary'> & { readonly primary: Pick<Primary, 'snapshot'> }

/** A replica that has what was saved of the primary. */
export async function openReplica(source: Source, options?: ReplicaOptions): Promise<Replica> {
  return closedAfterTest(await Replica.open(source.blank, source.logs, options))
}

/** Closes it when the test has finished, if the test has not. */
export function closedAfterTest<T extends { close(): unknown }>(closeable: T): T {
  onTestFinished(async () => {
    await Promise.resolve(closeable.close()).catch(() => {})
  })
  return closeable
}

type HasSnapshot = Pick<Primary, 'snapshot'>

/** Fails unless both databases have the same pages and SQLite finds nothing wrong with them. */
export async function expectSameBytes(left: HasSnapshot, right: HasSnapshot): Promise<void> {
  const [leftPages, rightPages] = [await checkedPages(left), await checkedPages(right)]
  // Not toEqual, which would print the pages.
  expect(leftPages.equals(rightPages), 'the pages of both databases are the same').toBe(true)
}

/** Fails unless the logs of the primary give its very bytes, in a replica that is opened for it. */
export async function expectReplicated(source: Source): Promise<void> {
  await source.save()
  const replica = await Replica.open(source.blank, source.logs)
  try {
    await expectSameBytes(source.primary, replica)
  } finally {
    await replica.close()
  }
}

/** The pages of a snapshot file, after SQLite has checked them. */
export async function pagesOf(snapshot: Snapshot): Promise<Buffer> {
  integrityCheck(snapshot.path)
  return (await readFile(snapshot.path)).subarray(0, snapshot.pageCount * snapshot.pageSize)
}

/** Fails when SQLite finds anything wrong with the database file. */
export function integrityCheck(path: string): void {
  const database = new Database(path, { readonly: true })
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(database.pragma('foreign_key_check')).toEqual([])
  } finally {
    database.close()
  }
}

async function checkedPages(database: HasSnapshot): Promise<Buffer> {
  const path = join(tmpdir(), `mylibsql-test-${randomUUID()}.db`)
  const files = [path, `${path}-wal`, `${path}-shm`]
  try {
    return await pagesOf(await database.snapshot(path))
  } finally {
    await Promise.all(files.map((file) => rm(file, { force: true })))
  }
}
