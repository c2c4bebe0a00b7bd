import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Log, MylibsqlError, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crc64 } from '../src/protocol/crc64.js'
import { buildV2, buildV3, type TestFrame } from './protocol/reference.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'snapshot-test-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

let count = 0
const newPath = (suffix = '.db') => join(folder, `${count++}${suffix}`)

const withCode = (code: string, details: object = {}) =>
  expect.objectContaining({ name: 'MylibsqlError', code, details: expect.objectContaining(details) })

/** A database with a table of numbers, as a program without this library makes it. */
function makeDatabase(path: string, options: { wal?: boolean; rows?: number; pageSize?: number } = {}): void {
  const database = new Database(path)
  database.pragma(`page_size = ${options.pageSize ?? 4096}`)
  database.pragma(`journal_mode = ${options.wal ? 'WAL' : 'DELETE'}`)
  database.exec('CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)')
  database.pragma('user_version = 42')
  const insert = database.prepare('INSERT INTO numbers (text) VALUES (?)')
  database.transaction(() => {
    for (let row = 0; row < (options.rows ?? 100); row++) insert.run(`row ${row} `.repeat(20))
  })()
  database.close()
}

function query<T>(path: string, sql: string): T {
  const database = new Database(path, { readonly: true })
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    return database.prepare(sql).pluck().get() as T
  } finally {
    database.close()
  }
}

/** Runs SQL on a copy of a snapshot and returns the pages that differ: one transaction of a log. */
async function transactionOf(path: string, sql: string): Promise<TestFrame[]> {
  const copy = newPath()
  await copyFile(path, copy)
  const before = await readFile(copy)
  const database = new Database(copy)
  const pageSize = database.pragma('page_size', { simple: true }) as number
  database.exec(sql)
  database.pragma('wal_checkpoint(TRUNCATE)')
  const pageCount = database.pragma('page_count', { simple: true }) as number
  database.close()
  const after = await readFile(copy)
  const pages = Array.from({ length: pageCount }, (_, index) => index)
    .filter((index) => {
      const page = (bytes: Buffer) => bytes.subarray(index * pageSize, (index + 1) * pageSize)
      return !page(before).equals(page(after))
    })
    .map((index) => ({
      pageNo: index + 1,
      sizeAfter: 0,
      data: Uint8Array.from(after.subarray(index * pageSize, (index + 1) * pageSize)),
    }))
  pages.at(-1)!.sizeAfter = pageCount
  return pages
}

describe('blank', () => {
  it.each([512, 4096, 65_536])('is an empty database of pages of %i bytes', async (pageSize) => {
    const snapshot = await Snapshot.blank({ pageSize })
    expect(snapshot).toMatchObject({ pageSize, pageCount: 1, byteLength: pageSize + 72, checksum: 0n })
    expect(snapshot.lastFrameNo).toBeUndefined()
    expect(snapshot.createdAt).toBeInstanceOf(Date)
    expect((await stat(snapshot.path)).size).toBe(snapshot.byteLength)
    const copy = newPath()
    await snapshot.copyTo(copy)
    expect(query(copy, 'SELECT count(*) FROM sqlite_schema')).toBe(0)
    expect(query(copy, 'PRAGMA journal_mode')).toBe('wal')
    const { path } = snapshot
    await snapshot.close()
    await expect(stat(path)).rejects.toThrow('ENOENT')
  })
})

describe('open', () => {
  async function stored(): Promise<string> {
    const snapshot = await Snapshot.blank({ pageSize: 512 })
    await snapshot.moveTo(newPath())
    return snapshot.path
  }

  it('finds what was stored', async () => {
    const path = await stored()
    const snapshot = await Snapshot.open(path)
    expect(snapshot).toMatchObject({ path, pageSize: 512, pageCount: 1, lastFrameNo: undefined })
    await snapshot.close()
    await stat(path)
  })

  it('tells databases from snapshots, and what to do with them', async () => {
    const path = newPath()
    makeDatabase(path)
    const error = await Snapshot.open(path).catch((reason: unknown) => reason as MylibsqlError)
    expect(error).toEqual(withCode('ERR_NOT_A_SNAPSHOT', { path }))
    expect((error as MylibsqlError).message).toMatch(/Snapshot\.fromDatabase.*format: 'crate'/)
  })

  it('does not drop the locks of a database that is open in this process', async () => {
    const path = newPath()
    makeDatabase(path)
    const database = new Database(path)
    database.exec('BEGIN IMMEDIATE')
    await expect(Snapshot.open(path)).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT'))
    const script = `
      const database = new (require('better-sqlite3'))(process.argv[1], { timeout: 0 })
      try { database.exec('BEGIN IMMEDIATE'); process.stdout.write('taken') } catch (error) { process.stdout.write(error.code) }`
    expect(await output(['-e', script, path])).toBe('SQLITE_BUSY')
    database.close()
  })

  it('refuses other files', async () => {
    await expect(Snapshot.open(newPath())).rejects.toMatchObject({
      code: 'ERR_IO',
      cause: { code: 'ENOENT' },
    })
    await expect(Snapshot.open(folder)).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT'))
    for (const length of [0, 1, 72, 584, 4096]) {
      const path = newPath()
      await writeFile(path, Buffer.alloc(length, 'x'))
      await expect(Snapshot.open(path)).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT', { path }))
    }
  })

  it('refuses every length but the whole', async () => {
    const path = await stored()
    for (let { size } = await stat(path); size > 0; size--) {
      await truncate(path, size - 1)
      await expect(Snapshot.open(path), `length ${size - 1}`).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT'))
    }
  })

  it('refuses every flipped bit', async () => {
    const path = await stored()
    const whole = await readFile(path)
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = Buffer.from(whole)
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      await writeFile(path, bytes)
      await expect(Snapshot.open(path), `bit ${bit}`).rejects.toBeInstanceOf(MylibsqlError)
    }
  })

  it('reads the pages only when asked to verify them', async () => {
    const path = await stored()
    const bytes = await readFile(path)
    bytes[300]! ^= 1
    await writeFile(path, bytes)
    await expect(Snapshot.open(path)).rejects.toEqual(withCode('ERR_CORRUPT', { path }))
    const snapshot = await Snapshot.open(path, { verify: false })
    await expect(snapshot.copyTo(newPath())).rejects.toEqual(withCode('ERR_CORRUPT', { path }))
    await expect(snapshot.append([])).rejects.toEqual(withCode('ERR_CORRUPT', { path }))
  })

  it("reads the crate's on request", async () => {
    const path = newPath()
    makeDatabase(path, { wal: true })
    const database = new Database(path)
    database.pragma('user_version = 1')
    database.pragma('application_id = 7')
    database.close()
    const snapshot = await Snapshot.open(path, { format: 'crate' })
    expect(snapshot).toMatchObject({
      lastFrameNo: 2 ** 32 + 7,
      checksum: 0n,
      createdAt: undefined,
      pageSize: 4096,
    })
    expect(snapshot.byteLength).toBe((await stat(path)).size)
    await snapshot.copyTo(newPath())
    await writeFile(`${path}-wal`, 'frames')
    await expect(Snapshot.open(path, { format: 'crate' })).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT'))
  })
})

describe('moveTo and copyTo', () => {
  it('follows the file, and keeps it', async () => {
    const target = await mkdtemp(join(folder, 'move-'))
    const snapshot = await Snapshot.blank()
    const temporary = snapshot.path
    const bytes = await readFile(temporary)
    await snapshot.copyTo(join(target, 'copy.db'))
    await snapshot.moveTo(join(target, 'moved.db'))
    expect(snapshot.path).toBe(join(target, 'moved.db'))
    await expect(stat(temporary)).rejects.toThrow('ENOENT')
    await snapshot.moveTo(join(target, 'moved.db'))
    await snapshot.moveTo(join(target, 'again.db'))
    await snapshot.close()
    expect(await readdir(target)).toEqual(['again.db', 'copy.db'])
    expect(await readFile(join(target, 'again.db'))).toEqual(bytes)
    expect(await readFile(join(target, 'copy.db'))).toEqual(bytes)
    await expect(snapshot.moveTo(temporary)).rejects.toEqual(withCode('ERR_CLOSED'))
    await expect(snapshot.append([])).rejects.toEqual(withCode('ERR_CLOSED'))
  })

  it.runIf(process.platform === 'linux')('copies between file systems', async () => {
    const other = await mkdtemp('/dev/shm/snapshot-test-')
    const snapshot = await Snapshot.blank()
    await snapshot.moveTo(newPath())
    await snapshot.moveTo(join(other, 'x.db'))
    expect((await Snapshot.open(join(other, 'x.db'))).pageCount).toBe(1)
    expect(await readdir(other)).toEqual(['x.db'])
    await rm(other, { recursive: true })
  })

  it('says what the system says', async () => {
    const snapshot = await Snapshot.blank()
    await expect(snapshot.moveTo(join(folder, 'no', 'folder'))).rejects.toMatchObject({
      code: 'ERR_IO',
      cause: { code: 'ENOENT' },
    })
    await expect(snapshot.copyTo(join(folder, 'no', 'folder'))).rejects.toMatchObject({ code: 'ERR_IO' })
    await stat(snapshot.path)
  })
})

describe('append', () => {
  const pageSize = 4096
  /** A history of three logs from the blank database, and their frames. */
  async function history() {
    const blank = await Snapshot.blank()
    const transactions: TestFrame[][] = []
    const logs: Uint8Array[] = []
    let at = blank
    let startFrameNo = 0
    let startChecksum = 0n
    for (const sql of [
      'CREATE TABLE t (a); INSERT INTO t VALUES (1)',
      'INSERT INTO t VALUES (2), (zeroblob(20000))',
      'DELETE FROM t WHERE a = 1',
    ]) {
      const frames = await transactionOf(at.path, sql)
      const bytes = buildV3({ startFrameNo, pageSize, startChecksum, frames, crc: crc64 })
      transactions.push(frames)
      logs.push(bytes)
      const log = await Log.from(bytes)
      startFrameNo = log.nextFrameNo
      startChecksum = log.endChecksum
      at = await at.append([log])
    }
    return { blank, logs, transactions, last: at, frameCount: startFrameNo, checksum: startChecksum }
  }

  it('applies logs, one by one or together', async () => {
    const { blank, logs, last, frameCount, checksum } = await history()
    const opened = await Promise.all(logs.map((bytes) => Log.from(bytes)))
    const together = await blank.append(opened)
    expect(together).toMatchObject({ lastFrameNo: frameCount - 1, checksum, pageSize })
    expect(query(together.path, 'SELECT count(*) FROM t')).toBe(2)
    const pages = async (snapshot: Snapshot) => (await readFile(snapshot.path)).subarray(0, -72)
    expect((await pages(together)).equals(await pages(last))).toBe(true)
    await together.copyTo(newPath())
    const path = newPath()
    await together.moveTo(path)
    expect(await Snapshot.open(path)).toMatchObject({ lastFrameNo: frameCount - 1, checksum })
    expect(blank.lastFrameNo).toBeUndefined()
  })

  it('skips what it has, and applies the rest of a log that overlaps', async () => {
    const { blank, logs, transactions, last, checksum } = await history()
    const [first, second, third] = (await Promise.all(logs.map((bytes) => Log.from(bytes)))) as [
      Log,
      Log,
      Log,
    ]
    const one = await blank.append([first])
    expect(await one.append([first])).toMatchObject({
      lastFrameNo: first.lastFrameNo,
      checksum: first.endChecksum,
    })
    expect(await one.append([])).toMatchObject({ lastFrameNo: first.lastFrameNo })
    expect(await one.append([await Log.create(first.nextFrameNo)])).toMatchObject({
      lastFrameNo: first.lastFrameNo,
    })
    const frames = transactions.slice(0, 2).flat()
    const wide = await Log.from(buildV3({ pageSize, frames, crc: crc64 }))
    const appended = await one.append([first, wide, second, third])
    expect(appended.checksum).toBe(checksum)
    expect((await readFile(appended.path)).subarray(0, -72)).toEqual(
      (await readFile(last.path)).subarray(0, -72),
    )
  })

  it('refuses gaps, forks, other page sizes and damage, and makes nothing', async () => {
    const { blank, logs, transactions } = await history()
    const [first, second, third] = (await Promise.all(logs.map((bytes) => Log.from(bytes)))) as [
      Log,
      Log,
      Log,
    ]
    const one = await blank.append([first])
    await expect(blank.append([second])).rejects.toEqual(
      withCode('ERR_LOG_GAP', { expected: 0, actual: first.nextFrameNo }),
    )
    await expect(one.append([third])).rejects.toEqual(withCode('ERR_LOG_GAP'))
    await expect(one.append([await Log.create(first.nextFrameNo + 1)])).rejects.toEqual(
      withCode('ERR_LOG_GAP'),
    )
    const fork = { startFrameNo: first.nextFrameNo, pageSize, frames: transactions[1]!, crc: crc64 }
    await expect(one.append([await Log.from(buildV3({ ...fork, startChecksum: 1n }))])).rejects.toEqual(
      withCode('ERR_LINEAGE', { frameNo: first.nextFrameNo }),
    )
    const forkedFrames = [...transactions[1]!, ...transactions[2]!]
    const overlap = await Log.from(buildV3({ pageSize, frames: forkedFrames, crc: crc64 }))
    await expect(one.append([overlap])).rejects.toEqual(withCode('ERR_LINEAGE'))
    const small = await Snapshot.blank({ pageSize: 512 })
    await expect(small.append([first])).rejects.toEqual(
      withCode('ERR_PAGE_SIZE', { expected: 512, actual: 4096 }),
    )
    const damaged = logs[1]!.slice()
    damaged[112 + 24 + 9]! ^= 1
    await expect(one.append([await Log.from(damaged, { verify: false })])).rejects.toEqual(
      withCode('ERR_CORRUPT', { frameNo: first.nextFrameNo, byteOffset: 112 }),
    )
    const closed = await Log.from(logs[1]!)
    await closed.close()
    await expect(one.append([closed])).rejects.toEqual(withCode('ERR_CLOSED'))
    await expect(one.append([{} as Log])).rejects.toThrow('logs[0] must be a Log, got an instance of Object')
    await expect(one.append(first as never)).rejects.toThrow(TypeError)
    expect(query(one.path, 'SELECT count(*) FROM t')).toBe(1)
  })

  it("applies the crate's logs, and knows the chain afterwards", async () => {
    const { blank, logs, transactions, last, checksum } = await history()
    const v2 = await Promise.all(
      transactions.slice(0, 2).map((frames, index) => {
        const startFrameNo = index === 0 ? 0 : transactions[0]!.length
        return Log.from(buildV2({ startFrameNo, pageSize, frames }))
      }),
    )
    const appended = await blank.append([...v2, await Log.from(logs[2]!)])
    expect(appended.checksum).toBe(checksum)
    expect((await readFile(appended.path)).subarray(0, -72)).toEqual(
      (await readFile(last.path)).subarray(0, -72),
    )
    const inside = await Log.from(buildV2({ pageSize, frames: transactions.flat() }))
    expect((await (await blank.append([v2[0]!])).append([inside])).checksum).toBe(checksum)
  })
})

describe('fromDatabase', () => {
  it.each([
    { wal: true, pageSize: 4096 },
    { wal: false, pageSize: 512 },
    { wal: true, pageSize: 65_536 },
    { wal: false, pageSize: 4096, rows: 20_000 },
  ])('imports a database %o, which stays as it is', async (options) => {
    const source = newPath()
    makeDatabase(source, options)
    const before = await readFile(source)
    const target = newPath()
    const progress: { pagesDone: number; pageCount: number }[] = []
    const snapshot = await Snapshot.fromDatabase(source, target, {
      onProgress: (step) => progress.push(step),
    })
    expect(snapshot).toMatchObject({
      path: target,
      pageSize: options.pageSize,
      lastFrameNo: undefined,
      checksum: 0n,
    })
    expect(query(target, 'SELECT count(*) FROM numbers')).toBe(options.rows ?? 100)
    expect(query(target, 'PRAGMA user_version')).toBe(42)
    expect(query(target, 'PRAGMA journal_mode')).toBe('wal')
    expect(progress.at(-1)).toEqual({
      pagesDone: before.length / options.pageSize,
      pageCount: before.length / options.pageSize,
    })
    expect((await readFile(source)).equals(before)).toBe(true)
    await rm(`${target}-wal`, { force: true })
    await rm(`${target}-shm`, { force: true })
    expect((await Snapshot.open(target)).pageCount).toBe(snapshot.pageCount)
  })

  it.each([true, false])('leaves nothing but the snapshot behind (WAL mode: %s)', async (wal) => {
    const target = await mkdtemp(join(folder, 'import-'))
    makeDatabase(join(target, 'source.db'), { wal })
    await Snapshot.fromDatabase(join(target, 'source.db'), join(target, 'x.db'))
    expect(await readdir(target)).toEqual(['source.db', 'x.db'])
  })

  it('takes the temporary folder without a target', async () => {
    const source = newPath()
    makeDatabase(source)
    const snapshot = await Snapshot.fromDatabase(source)
    await stat(snapshot.path)
    await snapshot.close()
    await expect(stat(snapshot.path)).rejects.toThrow('ENOENT')
  })

  it('sees what is in the WAL of a database that is open here', async () => {
    const source = newPath()
    makeDatabase(source, { wal: true })
    const database = new Database(source)
    database.exec("INSERT INTO numbers (text) VALUES ('in the WAL')")
    const snapshot = await Snapshot.fromDatabase(source)
    expect(query(snapshot.path, 'SELECT count(*) FROM numbers')).toBe(101)
    database.exec("INSERT INTO numbers (text) VALUES ('later')")
    database.close()
  })

  it('is consistent while another process writes without pause', async () => {
    const source = newPath()
    makeDatabase(source, { wal: true, rows: 20_000 })
    // Each transaction moves a row from one end to the other: the number of rows never changes.
    const script = `
      const database = new (require('better-sqlite3'))(process.argv[1])
      database.pragma('synchronous = OFF')
      const move = database.transaction(() => {
        database.exec("DELETE FROM numbers WHERE n = (SELECT min(n) FROM numbers)")
        database.exec("INSERT INTO numbers (text) VALUES (hex(randomblob(50)))")
      })
      process.stdout.write('ready')
      for (;;) move()`
    const child = spawn(process.execPath, ['-e', script, source])
    try {
      await once(child.stdout, 'data')
      for (let round = 0; round < 3; round++) {
        const snapshot = await Snapshot.fromDatabase(source)
        expect(query(snapshot.path, 'SELECT count(*) FROM numbers')).toBe(20_000)
        await snapshot.close()
      }
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  it.each(['DELETE', 'WAL'])('recovers a copy of what a crash left behind, in mode %s', async (mode) => {
    const source = newPath()
    const script = `
      const database = new (require('better-sqlite3'))(process.argv[1])
      database.pragma('journal_mode = ${mode}')
      database.pragma('cache_size = 5')
      database.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
      database.exec('BEGIN; WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100) INSERT INTO t SELECT zeroblob(3000) FROM c')
      process.kill(process.pid, 'SIGKILL')`
    const child = spawn(process.execPath, ['-e', script, source], { stdio: 'ignore' })
    await once(child, 'exit')
    expect(await readdir(folder)).toContain(
      `${source.slice(folder.length + 1)}${mode === 'WAL' ? '-wal' : '-journal'}`,
    )
    const snapshot = await Snapshot.fromDatabase(source)
    expect(query(snapshot.path, 'SELECT count(*) FROM t')).toBe(1)
  })

  it('refuses what is no database', async () => {
    const path = newPath()
    await writeFile(path, 'hello '.repeat(1000))
    await expect(Snapshot.fromDatabase(path)).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT', { path }))
    await expect(Snapshot.fromDatabase(newPath())).rejects.toMatchObject({
      code: 'ERR_IO',
      cause: { code: 'ENOENT' },
    })
    await expect(Snapshot.fromDatabase(folder)).rejects.toEqual(withCode('ERR_NOT_A_SNAPSHOT'))
    await expect(Snapshot.fromDatabase(path, path)).rejects.toThrow(TypeError)
    await expect(Snapshot.fromDatabase(path, undefined, { onProgress: 1 as never })).rejects.toThrow(
      'Option "onProgress" of Snapshot.fromDatabase must be a function, got number 1',
    )
  })

  it('rejects with what the progress callback throws', async () => {
    const source = newPath()
    makeDatabase(source)
    const onProgress = () => {
      throw new Error('enough')
    }
    await expect(Snapshot.fromDatabase(source, undefined, { onProgress })).rejects.toThrow('enough')
  })
})

async function output(args: string[]): Promise<string> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  await once(child, 'close')
  return text
}
