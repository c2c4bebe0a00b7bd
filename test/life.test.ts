/** The life of a database over many openings, as an application leads it: everything that lasts is a file. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { init, Log, Primary, Replica, Snapshot } from 'mylibsql'
import { expect, it } from 'vitest'
import { contentsOf, contentsOfOpen } from './support/contents.js'
import { closedAfterTest, expectSameBytes, openPrimary, openReplica, pagesOf } from './support/database.js'
import { temporaryFolder } from './support/folder.js'
import { withSeed } from './support/random.js'

const schema = `
  CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, visits INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE files (path TEXT PRIMARY KEY, bytes BLOB) WITHOUT ROWID;`

/** What is written in each life; each element is a transaction. */
const lives: readonly (readonly string[])[] = [
  [
    "INSERT INTO users (name) VALUES ('Alice'), ('Bob')",
    "INSERT INTO files VALUES ('a', zeroblob(100000)), ('b', zeroblob(3))",
  ],
  [
    'ALTER TABLE users ADD COLUMN born INTEGER',
    `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
       INSERT INTO users (name, born) SELECT 'user ' || n, 1900 + n % 100 FROM numbers`,
    'CREATE INDEX users_born ON users (born, name)',
  ],
  ["DELETE FROM files WHERE path = 'a'", 'DELETE FROM users WHERE id % 3 = 0', 'VACUUM'],
  [
    'PRAGMA user_version = 77',
    'CREATE TABLE "odd ""name""" (x)',
    `INSERT INTO "odd ""name""" VALUES (1), ('two'), (x'03')`,
  ],
  [
    'DROP TABLE users',
    'CREATE TABLE users (id INTEGER PRIMARY KEY)',
    "INSERT INTO files VALUES ('c', 'text')",
  ],
]

/** What lasts: a snapshot, the logs behind it, and copies of the logs in the crate's format. */
class Store {
  readonly folder = temporaryFolder()
  readonly snapshotPath = join(this.folder, 'base.db')
  readonly logs = join(this.folder, 'logs')
  readonly crateLogs = join(this.folder, 'crate')

  constructor() {
    mkdirSync(this.logs)
    mkdirSync(this.crateLogs)
  }

  async save(log: Log): Promise<void> {
    const name = `${String(log.startFrameNo).padStart(12, '0')}.log`
    await log.copyTo(join(this.logs, name))
    await log.copyTo(join(this.crateLogs, name), { version: 2 })
  }

  async open(logFolder = this.logs): Promise<[Snapshot, Log[]]> {
    const names = readdirSync(logFolder).sort()
    const logs = await Promise.all(names.map((name) => Log.open(join(logFolder, name))))
    return [closedAfterTest(await Snapshot.open(this.snapshotPath)), logs]
  }
}

it('lives five times, each time from a snapshot and logs', async () => {
  const store = new Store()
  const model = new Database(':memory:')
  model.exec(schema)
  const made = await init(schema)
  await made.snapshot.moveTo(store.snapshotPath)
  await store.save(made.log)

  let lastFrameNo: number | undefined = made.snapshot.lastFrameNo
  for (const [life, transactions] of lives.entries()) {
    const primary = closedAfterTest(await Primary.open(...(await store.open())))
    expect(primary.lastFrameNo).toBe(lastFrameNo)
    expect(primary.savedFrameNo).toBe(lastFrameNo)
    const replica = closedAfterTest(await Replica.open(...(await store.open())))
    await expectSameBytes(primary, replica)

    for (const sql of transactions) {
      model.exec(sql)
      const ack = await primary.run(sql)
      const saved = await primary.checkpoint(async (log) => {
        await store.save(log)
        await replica.replicate(log)
      })
      expect(saved).toBe(ack.frameNo)
      await ack.durable()
    }
    lastFrameNo = primary.lastFrameNo
    expect(replica.lastFrameNo).toBe(lastFrameNo)
    await expectSameBytes(primary, replica)
    expect(await contentsOfOpen(primary)).toEqual(contentsOf(model))

    // The crate's logs carry no lineage, but the same frames.
    const fromCrate = closedAfterTest(await Primary.open(...(await store.open(store.crateLogs))))
    expect(fromCrate.lastFrameNo).toBe(lastFrameNo)
    await expectSameBytes(primary, fromCrate)
    await fromCrate.close()

    if (life === 2) await appendToSnapshot(store, primary)
    await replica.close()
    await primary.close()
  }
  expect((await Snapshot.open(store.snapshotPath)).lastFrameNo).toBeLessThan(lastFrameNo!)
})

/** The logs up to here become a part of the snapshot. They stay: what a snapshot has is passed over. */
async function appendToSnapshot(store: Store, primary: Primary): Promise<void> {
  const [snapshot, logs] = await store.open()
  const newer = await snapshot.append(logs)
  expect(newer.lastFrameNo).toBe(primary.lastFrameNo)
  const now = await primary.snapshot(join(store.folder, 'now.db'))
  expect(newer.checksum).toBe(now.checksum)
  expect((await pagesOf(newer)).equals(await pagesOf(now))).toBe(true)
  await newer.moveTo(store.snapshotPath)
}

it('goes on from the snapshot of a replica', async () => {
  const store = new Store()
  const { snapshot, log } = await init(schema)
  await snapshot.moveTo(store.snapshotPath)
  const first = closedAfterTest(await Primary.open(snapshot))
  const replica = closedAfterTest(await Replica.open(await Snapshot.blank(), [log]))
  await first.run("INSERT INTO users (name) VALUES ('Alice')")
  await first.checkpoint((sealed) => replica.replicate(sealed))
  await first.close()

  const base = await replica.snapshot(join(store.folder, 'replica.db'))
  expect(base.lastFrameNo).toBe(first.lastFrameNo)
  const second = closedAfterTest(await Primary.open(await Snapshot.open(base.path)))
  await second.run("INSERT INTO users (name) VALUES ('Bob')")
  await second.checkpoint((sealed) => replica.replicate(sealed))
  await expectSameBytes(second, replica)
  expect(await replica.all('SELECT name FROM users ORDER BY id')).toEqual([
    { name: 'Alice' },
    { name: 'Bob' },
  ])
})

it('goes on from any snapshot that was taken while it was written to, vacuumed and folded', () =>
  withSeed('snapshots under load', async (random) => {
    const source = await openPrimary('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)')
    const { primary, logs } = source
    const folder = temporaryFolder()
    const replica = await openReplica(source)
    let isWriting = true
    const write = async () => {
      while (isWriting) {
        const bytes = new Uint8Array(random.skewed(300_000)).fill(random.integer(0, 255))
        const kind = random.integer(0, 99)
        if (kind < 90) await primary.run('INSERT INTO t (bytes) VALUES (?)', [bytes])
        else if (kind < 99) await primary.run('DELETE FROM t WHERE id % 3 = ?', [random.integer(0, 2)])
        else await primary.run('VACUUM')
      }
    }
    const checkpoints = async () => {
      while (isWriting) {
        await primary.checkpoint(async (log) => {
          await replica.replicate(log)
          logs.push(log)
        })
      }
    }
    const load = Promise.all([write(), write(), checkpoints()])
    const snapshots: Snapshot[] = []
    for (let n = 0; n < 12; n += 1) {
      const from = random.chance(0.5) ? primary : replica
      snapshots.push(await from.snapshot(join(folder, `${n}.db`)))
    }
    isWriting = false
    await load
    await primary.checkpoint(async (log) => {
      await replica.replicate(log)
      logs.push(log)
    })
    await expectSameBytes(primary, replica)
    for (const snapshot of snapshots) {
      const again = closedAfterTest(await Replica.open(await Snapshot.open(snapshot.path), logs))
      await expectSameBytes(primary, again)
      await again.close()
    }
  }))

it('close leaves no half-written snapshot when it gives up on one', async () => {
  const folder = temporaryFolder()
  for (let attempt = 0; attempt < 5; attempt++) {
    const { primary } = await openPrimary('CREATE TABLE t (a)', { closeTimeoutMs: 1 })
    const insert = { sql: 'INSERT INTO t VALUES (randomblob(1000000))' }
    await primary.batch(Array.from({ length: 20 }, () => insert))
    const path = join(folder, `${attempt}.db`)
    const outcome = primary.snapshot(path).then(
      () => 'written',
      (error) => error.code,
    )
    await primary.close().catch(() => {})
    expect(['written', 'ERR_CLOSED']).toContain(await outcome)
    if (existsSync(path)) await (await Snapshot.open(path)).close()
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  }
})
