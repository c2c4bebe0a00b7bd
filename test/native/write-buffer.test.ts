/** SQLite's own writes to the WAL, which pass through a buffer under the guard. */
import { copyFileSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Child } from '../support/child.js'
import { faultyEnvironment } from '../support/faults.js'
import { temporaryFolder } from '../support/folder.js'
import { type Random, withSeed } from '../support/random.js'
import { native, type Opened, openDatabase, Pair, temporaryDirectory } from './addon.js'

/** A cache of a few pages, so that transactions spill into the WAL and read from there. */
const setup = 'CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, bytes BLOB NOT NULL UNIQUE)'
const summing = 'SELECT count(*) AS count, sum(n) AS sum, sum(length(bytes)) AS length FROM t'

function open(path: string, guard: boolean, pageSize: number, synchronous: string): Opened {
  const opened = openDatabase(path, { guard, pageSize, setup })
  opened.db.pragma('cache_size = 6')
  opened.db.pragma(`synchronous = ${synchronous}`)
  return opened
}

/** To copy and recover it takes as long. */
const walBytesMax = 10e6

interface Frame {
  readonly pageNo: number
  readonly sizeAfter: number
  readonly pageChecksum: bigint
}

/** Frames of the WAL from one on, as the addon reads them. */
function framesRead({ wal }: Opened, pageSize: number, first: number): Frame[] {
  const frameCount = wal.position().frameCount + 1 - first
  const records = Buffer.alloc(frameCount * (24 + pageSize))
  wal.readFrames(records, first, frameCount, 0, 0n)
  return Array.from({ length: frameCount }, (_, index) => {
    const record = records.subarray(index * (24 + pageSize), (index + 1) * (24 + pageSize))
    const pageChecksum = native.crc64(record.subarray(24))
    return { pageNo: record.readUInt32LE(16), sizeAfter: record.readUInt32LE(20), pageChecksum }
  })
}

/** As they are in the file. */
function framesWritten({ path, wal }: Opened, pageSize: number, first: number): Frame[] {
  const bytes = readFileSync(`${path}-wal`)
  const frameCount = wal.position().frameCount + 1 - first
  return Array.from({ length: frameCount }, (_, index) => {
    const frame = bytes.subarray(32 + (first - 1 + index) * (24 + pageSize))
    const pageChecksum = native.crc64(frame.subarray(24, 24 + pageSize))
    return { pageNo: frame.readUInt32BE(0), sizeAfter: frame.readUInt32BE(4), pageChecksum }
  })
}

/** What is in the unused room of pages is left to chance. */
const withoutPages = (frames: readonly Frame[]) => frames.map(({ pageNo, sizeAfter }) => [pageNo, sizeAfter])

/** What a crash at this moment would leave: SQLite recovers the WAL of a copy, as far as its checksums are right. */
function recovered(directory: string, { path }: Opened): unknown {
  const crashed = join(directory, 'crashed.db')
  copyFileSync(path, crashed)
  copyFileSync(`${path}-wal`, `${crashed}-wal`)
  const db = new Database(crashed)
  try {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    return db.prepare(summing).get()
  } finally {
    db.close()
  }
}

/** One step of a transaction, the same on every database that it is done to. */
function step(random: Random): string {
  const first = random.integer(1, 300)
  const last = first + random.skewed(120)
  const size = random.pick([10, 300, 3000, 20_000])
  const rows = `WITH RECURSIVE ids (id) AS (SELECT ${first} UNION ALL SELECT id + 1 FROM ids WHERE id < ${last})`
  const bytes = `printf('%d %.${size}c', id + ${random.integer(0, 9)}, 'x')`
  return random.pick([
    `${rows} INSERT OR REPLACE INTO t SELECT id, ${size}, ${bytes} FROM ids`,
    `${rows} INSERT INTO t SELECT id, ${size}, ${bytes} FROM ids`,
    `${rows} INSERT OR ${random.pick(['ROLLBACK', 'FAIL'])} INTO t SELECT id, ${size}, ${bytes} FROM ids`,
    `UPDATE t SET n = n + 1, bytes = ${bytes} WHERE id BETWEEN ${first} AND ${last}`,
    `UPDATE t SET n = n + 1 WHERE id % ${random.integer(2, 9)} = 0`,
    `DELETE FROM t WHERE id BETWEEN ${first} AND ${last}`,
    summing,
    'SAVEPOINT s',
    'ROLLBACK TO s',
    'RELEASE s',
  ])
}

function attempt(db: Database.Database, sql: string): unknown {
  try {
    const statement = db.prepare(sql)
    return statement.reader ? statement.all() : statement.run().changes
  } catch (error) {
    return (error as { code?: unknown }).code
  }
}

describe.each([
  { pageSize: 512, synchronous: 'OFF' },
  { pageSize: 4096, synchronous: 'OFF' },
  { pageSize: 4096, synchronous: 'FULL' },
  { pageSize: 65_536, synchronous: 'OFF' },
])('pages of $pageSize bytes, synchronous $synchronous', ({ pageSize, synchronous }) => {
  it('writes the frames that SQLite writes by itself, before anybody hears of them', () =>
    withSeed('writes the frames', async (random) => {
      const directory = temporaryDirectory()
      const plain = open(join(directory, 'plain.db'), false, pageSize, synchronous)
      const buffered = open(join(directory, 'buffered.db'), true, pageSize, synchronous)
      const reader = new Database(buffered.path, { readonly: true })
      onTestFinished(() => void reader.close())
      for (let transaction = 0; transaction < 16; transaction++) {
        const lastCount = plain.wal.position().frameCount
        const steps = Array.from({ length: random.integer(1, 12) }, () => step(random))
        const end = random.chance(0.8) ? 'COMMIT' : 'ROLLBACK'
        for (const sql of random.chance(0.1) ? ['VACUUM'] : ['BEGIN', ...steps, end]) {
          expect(attempt(buffered.db, sql), sql).toEqual(attempt(plain.db, sql))
        }
        expect(buffered.db.inTransaction).toBe(false)
        const first = Math.min(lastCount, plain.wal.position().frameCount) + 1
        const written = framesWritten(buffered, pageSize, first)
        expect(withoutPages(written)).toEqual(withoutPages(framesWritten(plain, pageSize, first)))
        // They are still at hand, or read from the file.
        expect(framesRead(buffered, pageSize, first)).toEqual(written)
        const sums = plain.db.prepare(summing).get()
        expect(buffered.db.prepare(summing).get()).toEqual(sums)
        expect(reader.prepare(summing).get()).toEqual(sums)
        expect(recovered(directory, buffered)).toEqual(sums)
        const walBytes = plain.wal.position().frameCount * pageSize
        if (random.chance(0.2) || walBytes > walBytesMax) {
          for (const { wal } of [plain, buffered]) wal.foldSync('passive')
        }
      }
      expect(buffered.db.pragma('integrity_check', { simple: true })).toBe('ok')
    }))
})

it('leaves nothing of a transaction that was rolled back, when frames come from elsewhere', () => {
  const pair = new Pair(temporaryDirectory(), { setup })
  const insert = "INSERT INTO t SELECT ?, 0, printf('%.40000c', 'x')"
  for (const { db } of [pair.primary, pair.replica]) db.pragma('cache_size = 6')
  pair.replica.db.exec('BEGIN')
  pair.replica.db.prepare(insert).run(1)
  pair.replica.db.exec('ROLLBACK')
  pair.primary.db.prepare(insert).run(2)
  pair.ship()
  expect(pair.replica.db.prepare('SELECT id FROM t').pluck().all()).toEqual([2])
  pair.expectSame()
})

it('reads the frames of which SQLite has written the headers anew', () => {
  const opened = open(join(temporaryDirectory(), 'database'), true, 4096, 'OFF')
  const insert = opened.db.prepare(
    "INSERT INTO t SELECT id, 0, printf('%d %.3000c', id, 'x') FROM (SELECT ? AS id)",
  )
  for (let id = 1; id <= 40; id++) insert.run(id)
  const first = opened.wal.position().frameCount + 1
  // The second statement overwrites what the first one has spilled; of what is written in the end some is at hand.
  opened.db.exec('BEGIN; UPDATE t SET n = 1; UPDATE t SET n = 2; COMMIT')
  const written = framesWritten(opened, 4096, first)
  for (let back = 1; back <= written.length; back++) {
    expect(framesRead(opened, 4096, first + written.length - back)).toEqual(written.slice(-back))
  }
})

it('reads the frames that came from elsewhere where its own ones were', () => {
  const pair = new Pair(temporaryDirectory(), { setup })
  const insert = "INSERT INTO t SELECT id, 0, printf('%d %.9000c', id, 'x') FROM (SELECT ? AS id)"
  for (const { db } of [pair.primary, pair.replica]) db.prepare(insert).run(1)
  const ownCount = pair.replica.wal.position().frameCount
  pair.readFrames()
  pair.replica.wal.foldSync('passive')
  pair.primary.db.prepare(insert).run(2)
  const frameCount = pair.ship()
  expect(pair.replica.wal.position()).toMatchObject({ frameCount, foldedCount: 0 })
  expect(frameCount).toBeLessThanOrEqual(ownCount)
  expect(framesRead(pair.replica, 4096, 1)).toEqual(framesWritten(pair.replica, 4096, 1))
})

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
const { ENOSPC, EIO } = constants.errno

interface Life {
  readonly errors: readonly string[]
  readonly problems: readonly string[]
  /** To write so many frames, one behind the other. */
  readonly writeCount: number
  readonly frameCount: number
}

it.each([
  { what: 'one write', errno: ENOSPC, count: 1 },
  { what: 'some writes', errno: ENOSPC, count: 3 },
  { what: 'the disk', errno: EIO, count: 1e9 },
])('when $what fails, no frame is missing before those that are committed', ({ what, errno, count }) =>
  withSeed(`${what} fails`, async (random) => {
    const folder = temporaryFolder()
    const lives = join(folder, 'lives')
    const child = new Child<Life>('../native/failing-writes.mjs', {
      argument: { packageRoot, folder: lives },
      env: faultyEnvironment(folder, lives),
    })
    let hasFailed = true
    for (let n = 1; hasFailed; n += count === 1 ? 1 : random.integer(2, 8)) {
      child.send({ n, errno, count })
      const life = await child.expect()
      expect(life.problems, `write ${n} and following: ${life.errors}`).toEqual([])
      expect(life.writeCount).toBeLessThan(life.frameCount / 10)
      hasFailed = life.errors.length > 0
      if (!hasFailed) expect(n).toBeGreaterThan(50)
    }
    await child.end()
  }),
)
