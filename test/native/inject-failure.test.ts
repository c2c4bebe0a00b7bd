import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { type Opened, Pair, temporaryDirectory, thrownBy } from './addon.js'

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
const stride = 24 + 4096

/** A pair whose primary is some transactions ahead, with the records of those. */
function pairWithRun(rowCount: number) {
  const directory = temporaryDirectory()
  const pair = new Pair(directory)
  const { db } = pair.primary
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
  insert.run()
  pair.ship()
  for (let i = 0; i < rowCount; i++) insert.run()
  const bytes = pair.readFrames()
  return { directory, pair, bytes, frameCount: bytes.byteLength / stride }
}

function rowCount({ db }: Pick<Opened, 'db'>): unknown {
  return db.prepare('SELECT count(*) FROM t').pluck().get()
}

/** What a crash at this moment would leave: SQLite recovers the WAL of a copy. */
function recoveredRowCount(directory: string, { path }: Opened): unknown {
  const crashed = join(directory, 'crashed.db')
  copyFileSync(path, crashed)
  copyFileSync(`${path}-wal`, `${crashed}-wal`)
  const db = new Database(crashed)
  const count = rowCount({ db })
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  db.close()
  return count
}

describe('an inject that fails publishes nothing', () => {
  test.each(['appending', 'restarting', 'after truncate'])('source ends early, %s', (state) => {
    const { directory, pair, bytes, frameCount } = pairWithRun(200)
    const { replica } = pair
    if (state === 'restarting') replica.wal.foldSync('passive')
    if (state === 'after truncate') replica.wal.foldSync('truncate')
    const before = replica.wal.position()
    const path = join(directory, 'records')
    writeFileSync(path, bytes.subarray(0, bytes.length - stride - 1))
    const sources = [
      { fd: openSync(path, 'r'), byteOffset: 0 },
      { bytes: bytes.subarray(0, bytes.length - 1) },
    ]
    for (const source of sources) {
      expect(thrownBy(() => replica.wal.inject(source, frameCount, 4096)).code).toBe('ERR_CORRUPT')
      expect(rowCount(replica)).toBe(1)
      expect(recoveredRowCount(directory, replica)).toBe(1)
      expect(replica.db.inTransaction).toBe(false)
    }
    if (state !== 'restarting') expect(replica.wal.position()).toEqual(before)
    replica.wal.inject({ bytes }, frameCount, 4096)
    expect(rowCount(replica)).toBe(201)
    expect(recoveredRowCount(directory, replica)).toBe(201)
    pair.expectSame()
  })

  test('a run that does not end with a commit, and a page number of 0', () => {
    const { pair, bytes, frameCount } = pairWithRun(50)
    const damaged = bytes.slice()
    new DataView(damaged.buffer).setUint32((frameCount - 1) * stride + 20, 0, true)
    expect(thrownBy(() => pair.replica.wal.inject({ bytes: damaged }, frameCount, 4096)).code).toBe(
      'ERR_CORRUPT',
    )
    new DataView(damaged.buffer).setUint32(5 * stride + 16, 0, true)
    expect(thrownBy(() => pair.replica.wal.inject({ bytes: damaged }, frameCount, 4096)).code).toBe(
      'ERR_CORRUPT',
    )
    pair.replica.wal.inject({ bytes }, frameCount, 4096)
    pair.expectSame()
  })

  test('the write lock is taken', () => {
    const { pair, bytes, frameCount } = pairWithRun(5)
    const other = new Database(pair.replica.path)
    other.exec('BEGIN IMMEDIATE')
    pair.replica.db.pragma('busy_timeout = 10')
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, frameCount, 4096))).toMatchObject({
      code: 'SQLITE_BUSY',
      sqlite: true,
    })
    other.exec('ROLLBACK')
    other.close()
    pair.replica.db.exec('BEGIN')
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, frameCount, 4096)).code).toBe('SQLITE_ERROR')
    expect(pair.replica.db.inTransaction).toBe(true)
    pair.replica.db.exec('COMMIT')
    pair.replica.wal.inject({ bytes }, frameCount, 4096)
    pair.expectSame()
  })

  test('files cannot grow any more', () => {
    const { directory, pair, bytes, frameCount } = pairWithRun(400)
    const { replica } = pair
    const recordsPath = join(directory, 'records')
    writeFileSync(recordsPath, bytes)
    const argument = JSON.stringify({
      packageRoot,
      path: replica.path,
      recordsPath,
      frameCount,
      pageSize: 4096,
    })
    const script = fileURLToPath(new URL('./inject-limited.mjs', import.meta.url))
    // 1500 blocks of 512 (or 1024) bytes: the WAL would need 3 MB.
    const command = 'ulimit -f 1500; exec "$0" "$1" "$2"'
    const output = execFileSync('/bin/sh', ['-c', command, process.execPath, script, argument], {
      encoding: 'utf8',
    })
    const result = JSON.parse(output)
    expect(result).toMatchObject({ isSame: true, integrity: 'ok', inTransaction: false })
    expect(['SQLITE_FULL', 'SQLITE_IOERR_WRITE']).toContain(result.code)
    expect(rowCount(replica)).toBe(1)
    expect(recoveredRowCount(directory, replica)).toBe(1)
    replica.wal.inject({ bytes }, frameCount, 4096)
    pair.expectSame()
  })
})

test('a process killed while it injects leaves whole runs only', async () => {
  const directory = temporaryDirectory()
  const pair = new Pair(directory)
  const { db } = pair.primary
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  pair.ship()
  const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
  const rowsPerBatch = 12 // a transaction each
  const records: Uint8Array[] = []
  const batches: { byteOffset: number; frameCount: number }[] = []
  let byteOffset = 0
  for (let batch = 0; batch < 400; batch++) {
    for (let row = 0; row < rowsPerBatch; row++) insert.run()
    const bytes = pair.readFrames()
    batches.push({ byteOffset, frameCount: bytes.byteLength / stride })
    byteOffset += bytes.byteLength
    records.push(bytes)
  }
  const recordsPath = join(directory, 'records')
  writeFileSync(recordsPath, Buffer.concat(records))
  const script = fileURLToPath(new URL('./inject-forever.mjs', import.meta.url))
  const counts = new Set<number>()
  for (let round = 0; round < 12; round++) {
    const path = join(directory, `killed-${round}.db`)
    copyFileSync(pair.replica.path, path)
    copyFileSync(`${pair.replica.path}-wal`, `${path}-wal`)
    const child = fork(script, [JSON.stringify({ packageRoot, path, recordsPath, batches, pageSize: 4096 })])
    const exited = once(child, 'exit')
    await once(child, 'message')
    await new Promise((resolve) => setTimeout(resolve, round * 2))
    child.kill('SIGKILL')
    await exited
    const killed = new Database(path)
    expect(killed.pragma('integrity_check', { simple: true })).toBe('ok')
    const count = Number(rowCount({ db: killed }))
    expect(count % rowsPerBatch).toBe(0)
    counts.add(count)
    killed.close()
  }
  expect(counts.size).toBeGreaterThan(1)
})
