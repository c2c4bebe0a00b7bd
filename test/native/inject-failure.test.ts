import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, openSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { FrameRun, FrameSource } from '../../src/worker/native.js'
import { loadAddon, native, type Opened, Pair, temporaryDirectory, thrownBy } from './addon.js'

const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
const stride = 24 + 4096

/** A pair whose primary is some transactions ahead, with the records of those. */
function pairWithRun(transactionCount: number) {
  const directory = temporaryDirectory()
  const pair = new Pair(directory)
  const { db } = pair.primary
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
  insert.run()
  pair.ship()
  for (let i = 0; i < transactionCount; i++) insert.run()
  return { directory, pair, ...pair.readRun() }
}

/** The same records in memory, and in a file. */
function sourcesOf(bytes: Uint8Array): FrameSource[] {
  const path = join(temporaryDirectory(), 'records')
  writeFileSync(path, bytes)
  const fd = openSync(path, 'r')
  onTestFinished(() => closeSync(fd))
  return [{ bytes }, { fd, byteOffset: 0 }]
}

const toJson = (value: unknown) =>
  JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part))

/** Until its next transaction. */
function letOthersWrite({ wal }: Opened): void {
  wal.foldSync('truncate')
}

function rowCount({ db }: Pick<Opened, 'db'>): unknown {
  return db.prepare('SELECT count(*) FROM t').pluck().get()
}

/** What a crash at this moment would leave: SQLite recovers the WAL of a copy. */
function recoveredRowCount(directory: string, { path }: Pick<Opened, 'path'>): unknown {
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
    const { directory, pair, bytes, run } = pairWithRun(200)
    const { replica } = pair
    if (state === 'restarting') replica.wal.foldSync('passive')
    if (state === 'after truncate') replica.wal.foldSync('truncate')
    const before = replica.wal.position()
    const keptCount = run.frameCount - 2
    for (const source of sourcesOf(bytes.slice(0, bytes.length - stride - 1))) {
      expect(replica.wal.inject(source, run)).toMatchObject({ badIndex: keptCount, reason: 'truncated' })
      expect(rowCount(replica)).toBe(1)
      expect(recoveredRowCount(directory, replica)).toBe(1)
      expect(replica.db.inTransaction).toBe(false)
    }
    if (state !== 'restarting') expect(replica.wal.position()).toEqual(before)
    expect(replica.wal.inject({ bytes }, run)).toMatchObject({ badIndex: -1, endChecksum: pair.checksum })
    expect(rowCount(replica)).toBe(201)
    expect(recoveredRowCount(directory, replica)).toBe(201)
    pair.expectSame()
  })

  // A chunk has 63 of these frames.
  test.each([0, 1, 62, 63, 300, 629, -2, -1])('frame %d of a large run is bad', (position) => {
    const { directory, pair, bytes, run } = pairWithRun(900)
    const { replica } = pair
    expect(run.frameCount).toBeGreaterThan(10 * 63)
    const badIndex = position < 0 ? run.frameCount + position : position
    const before = replica.wal.position()
    const damages: [string, number][] = [
      ['checksum', badIndex * stride + 24 + 4095],
      ['frameNo', badIndex * stride + 3],
    ]
    for (const [reason, at] of damages) {
      const damaged = bytes.slice()
      damaged[at]! ^= 0xff
      for (const source of sourcesOf(damaged)) {
        expect(replica.wal.inject(source, run)).toEqual(native.checkFrames(source, run))
        expect(replica.wal.inject(source, run)).toMatchObject({ badIndex, reason })
        expect(replica.wal.position()).toEqual(before)
        expect(rowCount(replica)).toBe(1)
        expect(replica.db.inTransaction).toBe(false)
      }
    }
    expect(recoveredRowCount(directory, replica)).toBe(1)
    expect(replica.wal.inject({ bytes }, run, pair.checksum).badIndex).toBe(-1)
    expect(recoveredRowCount(directory, replica)).toBe(901)
    pair.expectSame()
  })

  test('what a failed attempt wrote does not continue a shorter run', () => {
    const { directory, pair, bytes, run } = pairWithRun(300)
    const { replica } = pair
    const damaged = bytes.slice()
    damaged[bytes.length - 1]! ^= 1
    expect(replica.wal.inject({ bytes: damaged }, run).reason).toBe('checksum')
    // The first transaction alone, which are the same frames as those that are there.
    const view = new DataView(bytes.buffer)
    let frameCount = 1
    while (view.getUint32((frameCount - 1) * stride + 20, true) === 0) frameCount++
    expect(replica.wal.inject({ bytes }, { ...run, frameCount }).badIndex).toBe(-1)
    expect(rowCount(replica)).toBe(2)
    expect(recoveredRowCount(directory, replica)).toBe(2)
  })

  test('a run that does not end with a commit, or not with the checksum that was named', () => {
    const { pair, bytes, run } = pairWithRun(50)
    const { replica } = pair
    const before = replica.wal.position()
    const badIndex = run.frameCount - 1
    expect(replica.wal.inject({ bytes }, run, pair.checksum ^ 1n)).toMatchObject({
      badIndex,
      reason: 'endChecksum',
      endChecksum: pair.checksum,
    })
    pair.primary.db.exec('BEGIN; UPDATE t SET text = 1; COMMIT')
    const more = pair.readRun()
    const frameCount = more.run.frameCount - 1
    const whole = new Uint8Array([...bytes, ...more.bytes])
    expect(
      replica.wal.inject({ bytes: whole }, { ...run, frameCount: run.frameCount + frameCount }),
    ).toMatchObject({ badIndex: run.frameCount + frameCount - 1, reason: 'unfinished' })
    expect(replica.wal.position()).toEqual(before)
    expect(replica.wal.inject({ bytes }, run, more.run.startChecksum).badIndex).toBe(-1)
    expect(replica.wal.inject({ bytes: more.bytes }, more.run, pair.checksum).badIndex).toBe(-1)
    pair.expectSame()
  })

  test('a run of another history, and a number of frames that is not there', () => {
    const { pair, bytes, run } = pairWithRun(5)
    const { replica } = pair
    const before = replica.wal.position()
    expect(replica.wal.inject({ bytes }, { ...run, startChecksum: 5n })).toMatchObject({
      badIndex: 0,
      reason: 'lineage',
    })
    for (const source of sourcesOf(bytes)) {
      expect(replica.wal.inject(source, { ...run, frameCount: 2 ** 31 })).toMatchObject({
        badIndex: run.frameCount,
        reason: 'truncated',
      })
    }
    expect(
      thrownBy(() => replica.wal.inject({ bytes }, { ...run, frameCount: Number.MAX_SAFE_INTEGER })).code,
    ).toBe('SQLITE_FULL')
    expect(replica.wal.inject({ bytes }, { ...run, frameCount: 0 })).toMatchObject({ badIndex: -1 })
    expect(replica.wal.position()).toEqual(before)
    pair.replica.wal.inject({ bytes }, run)
    pair.expectSame()
  })

  test('the write lock is taken', () => {
    const { pair, bytes, run } = pairWithRun(5)
    letOthersWrite(pair.replica)
    const other = new Database(pair.replica.path)
    other.exec('BEGIN IMMEDIATE')
    pair.replica.db.pragma('busy_timeout = 10')
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, run))).toMatchObject({
      code: 'SQLITE_BUSY',
      sqlite: true,
    })
    other.exec('ROLLBACK')
    other.close()
    pair.replica.db.exec('BEGIN')
    expect(thrownBy(() => pair.replica.wal.inject({ bytes }, run)).code).toBe('SQLITE_ERROR')
    expect(pair.replica.db.inTransaction).toBe(true)
    pair.replica.db.exec('COMMIT')
    pair.replica.wal.inject({ bytes }, run)
    pair.expectSame()
  })

  test('files cannot grow any more', () => {
    const { directory, pair, bytes, run } = pairWithRun(400)
    const { replica } = pair
    const recordsPath = join(directory, 'records')
    writeFileSync(recordsPath, bytes)
    letOthersWrite(replica)
    const argument = toJson({ packageRoot, path: replica.path, recordsPath, run })
    const script = fileURLToPath(new URL('./inject-limited.mjs', import.meta.url))
    // 1500 blocks of 512 (or 1024) bytes: the WAL would need 3 MB.
    const command = 'ulimit -f 1500; exec "$0" "$1" "$2"'
    const output = execFileSync('/bin/sh', ['-c', command, process.execPath, script, argument], {
      encoding: 'utf8',
    })
    const result = JSON.parse(output)
    expect(result).toMatchObject({ isSame: true, integrity: 'ok', inTransaction: false })
    expect(result).toMatchObject({ code: 'ERR_IO', syscall: 'pwrite', errno: constants.errno.EFBIG })
    expect(rowCount(replica)).toBe(1)
    expect(recoveredRowCount(directory, replica)).toBe(1)
    replica.wal.inject({ bytes }, run)
    pair.expectSame()
  })
})

test.each([
  { batchCount: 400, rowsPerBatch: 12 },
  { batchCount: 14, rowsPerBatch: 700 },
])(
  'a process killed while it injects leaves whole runs only, $rowsPerBatch transactions each',
  async (size) => {
    const { batchCount, rowsPerBatch } = size
    const directory = temporaryDirectory()
    const pair = new Pair(directory)
    const { db } = pair.primary
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
    pair.ship()
    const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
    const records: Uint8Array[] = []
    const batches: { byteOffset: number; run: FrameRun }[] = []
    let byteOffset = 0
    for (let batch = 0; batch < batchCount; batch++) {
      for (let row = 0; row < rowsPerBatch; row++) insert.run()
      const { bytes, run } = pair.readRun()
      batches.push({ byteOffset, run })
      byteOffset += bytes.byteLength
      records.push(bytes)
    }
    const recordsPath = join(directory, 'records')
    writeFileSync(recordsPath, Buffer.concat(records))
    const script = fileURLToPath(new URL('./inject-forever.mjs', import.meta.url))
    const counts = new Set<number>()
    // More rounds where a machine has not injected the first batch by then.
    for (let round = 0; round < 12 || (counts.size === 1 && round < 60); round++) {
      const path = join(directory, `killed-${round}.db`)
      copyFileSync(pair.replica.path, path)
      copyFileSync(`${pair.replica.path}-wal`, `${path}-wal`)
      const child = fork(script, [toJson({ packageRoot, path, recordsPath, batches })])
      const exited = once(child, 'exit')
      await once(child, 'message')
      await new Promise((resolve) => setTimeout(resolve, round * (round < 12 ? 2 : 10)))
      child.kill('SIGKILL')
      await exited
      const killed = new Database(path)
      expect(killed.pragma('integrity_check', { simple: true })).toBe('ok')
      const count = Number(rowCount({ db: killed }))
      expect(count % rowsPerBatch).toBe(0)
      counts.add(count)
      // Whatever the killed one had begun to write, the next batch goes on from here.
      const next = count / rowsPerBatch
      if (next < batchCount) {
        const check = loadAddon(killed).inject({ bytes: records[next]! }, batches[next]!.run)
        expect(check.badIndex).toBe(-1)
        expect(recoveredRowCount(directory, { path })).toBe(count + rowsPerBatch)
      }
      killed.close()
    }
    expect(counts.size).toBeGreaterThan(1)
  },
)
