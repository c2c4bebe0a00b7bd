import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import {
  compact,
  FileStore,
  type FileStoreOptions,
  type Frame,
  Log,
  Primary,
  prune,
  Replica,
  restore,
  Snapshot,
} from 'mylibsql'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { encodeObjectHeader } from '../../src/protocol/object-format.js'
import { native } from '../native/addon.js'
import { Child, runProgram } from '../support/child.js'
import { expectCode, rejection } from '../support/errors.js'
import { faultyEnvironment } from '../support/faults.js'
import { temporaryFolder } from '../support/folder.js'
import { chain, describeStore, followed, logAt } from './contract.js'

for (const compression of ['none', 'lz4', 'brotli'] as const) {
  describeStore(`FileStore, compression ${compression}`, async () => {
    const dir = temporaryFolder()
    const open = () => new FileStore(dir, { compression })
    return {
      store: open(),
      reopen: async () => open(),
      overwrite: (id, bytes) => writeFile(id, bytes),
      bytesOf: (id) => readFile(id),
    }
  })
}

function openStore(dir: string, options?: FileStoreOptions): FileStore {
  const store = new FileStore(dir, options)
  onTestFinished(() => store.close())
  return store
}

/** Every file and folder below, with the bytes of the files. */
async function contentOf(dir: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {}
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    content[path] = entry.isFile() ? await readFile(path, 'latin1') : ''
  }
  return content
}

interface Outcome {
  readonly value?: unknown
  readonly code?: string
  readonly message?: string
}

class StoreProcess extends Child<Outcome> {
  constructor(dir: string, rest: object = {}) {
    super('store-process.mjs', { argument: { dir, ...rest } })
  }

  ask(method: string, rest: object = {}): Promise<Outcome> {
    this.send({ method, ...rest })
    return this.expect()
  }
}

describe('the folder', () => {
  it('is made by the first write, not before', async () => {
    const dir = join(temporaryFolder(), 'a/b')
    const store = openStore(dir)
    expect(store.url).toBe(`file:${dir}`)
    const calls = [
      () => store.logs(),
      () => store.snapshots(),
      () => store.currentEpoch(),
      () => followed(store, 0, 1),
      () => Primary.open({ store }),
      () => Replica.follow(store),
      () => restore(store, join(temporaryFolder(), 'never.db')),
      () => prune(store, { keepMs: 0 }),
      () => compact(store),
    ]
    for (const call of calls) {
      const { message } = await expectCode(call(), 'ERR_NOT_FOUND')
      expect(message).toContain(`There is no store at ${dir}`)
      expect(message).toContain('store.putSnapshot(snapshot)')
    }
    await expect(stat(dir)).rejects.toThrow('ENOENT')
    expect(await store.claimEpoch('me')).toBe(1)
    expect((await readdir(dir)).sort()).toEqual([
      'ends',
      'epochs',
      'logs',
      'mylibsql-store.json',
      'snapshots',
      'tmp',
    ])
    expect(await store.logs()).toEqual([])
  })

  it('is not made when it must not be', async () => {
    const empty = temporaryFolder()
    const missing = join(empty, 'missing')
    for (const dir of [missing, empty]) {
      const store = openStore(dir, { create: false })
      await expectCode(store.claimEpoch('me'), 'ERR_NOT_FOUND')
      await expectCode(store.append(await logAt(0), 1), 'ERR_NOT_FOUND')
    }
    expect(await readdir(empty)).toEqual([])
    const made = openStore(empty)
    await made.claimEpoch('me')
    expect(await openStore(empty, { create: false }).claimEpoch('me')).toBe(2)
  })

  it('stays empty while it is only read', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    expect([await store.logs(), await store.snapshots(), await store.currentEpoch()]).toEqual([[], [], 0])
    await expectCode(Primary.open({ store }), 'ERR_NOT_FOUND')
    expect(await readdir(dir)).toEqual([])
  })

  it('is made by many processes at once', async () => {
    const dir = join(temporaryFolder(), 'store')
    const processes = [1, 2, 3].map(() => new StoreProcess(dir))
    const outcomes = await Promise.all(processes.map((each) => each.ask('claimEpochs', { count: 20 })))
    const epochs = outcomes.flatMap(({ value }) => value as number[])
    expect(epochs.sort((left, right) => left - right)).toEqual(Array.from({ length: 60 }, (_, n) => n + 1))
  })

  it('of another program is refused and left alone', async () => {
    const dir = temporaryFolder()
    await mkdir(join(dir, 'logs'))
    await writeFile(join(dir, 'logs', '0000000000000000.log'), 'of a web server')
    const before = await contentOf(dir)
    const store = openStore(dir)
    const log = await logAt(0)
    for (const call of [() => store.claimEpoch('me'), () => store.logs(), () => store.append(log, 1)]) {
      const error = await expectCode(call(), 'ERR_STORE')
      expect(error.message).toContain(join(dir))
      expect(error.message).toContain('no store of mylibsql')
    }
    expect(await contentOf(dir)).toEqual(before)
  })

  it.each([
    ['something else', 'ERR_STORE'],
    ['null', 'ERR_STORE'],
    ['{"format":"other"}', 'ERR_STORE'],
    ['{"format":"mylibsql-store","version":2}', 'ERR_VERSION'],
  ] as const)('with the marker %s is refused', async (text, code) => {
    const dir = temporaryFolder()
    const marker = join(dir, 'mylibsql-store.json')
    await writeFile(marker, text)
    const before = await contentOf(dir)
    for (const call of [() => openStore(dir).claimEpoch('me'), () => openStore(dir).logs()]) {
      expect((await expectCode(call(), code)).message).toContain(marker)
    }
    expect(await contentOf(dir)).toEqual(before)
  })

  it('may not be a file', async () => {
    const path = join(temporaryFolder(), 'file')
    await writeFile(path, 'mine')
    for (const call of [() => openStore(path).claimEpoch('me'), () => openStore(path).logs()]) {
      expect((await expectCode(call(), 'ERR_STORE')).message).toContain(path)
    }
    expect(await readFile(path, 'utf8')).toBe('mine')
  })

  it('that vanishes is an error: no second history is begun in its place', async () => {
    const dir = join(temporaryFolder(), 'store')
    const store = openStore(dir)
    await store.claimEpoch('me')
    await store.append(await logAt(0), 1)
    await store.close()
    const again = openStore(dir)
    await again.append(await logAt(2), 1)
    await rm(dir, { recursive: true })
    await expectCode(again.append(await logAt(4), 1), 'ERR_STORE')
    const { message } = await expectCode(again.currentEpoch(), 'ERR_STORE')
    expect(message).toContain(`The store at ${dir} has vanished`)
    await expectCode(again.claimEpoch('me'), 'ERR_STORE')
    await expect(stat(dir)).rejects.toThrow('ENOENT')
  })

  it('without permission is refused by name; what may be read is read', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    await store.claimEpoch('me')
    const paths = await logFiles(2)
    await store.append(await Log.open(paths[0]!), 1)
    await store.close()
    await chmod(join(dir, '..'), 0o755).catch(() => {})
    await chmod(dir, 0o755)
    const before = await contentOf(dir)
    const child = new StoreProcess(dir, { isUnprivileged: process.getuid?.() === 0 })
    if (process.getuid?.() !== 0) await forbidWriting(dir)
    expect(await child.ask('logs')).toEqual({ value: [0] })
    expect((await child.ask('readLogs')).value).toHaveLength(1)
    expect(await child.ask('currentEpoch')).toEqual({ value: 1 })
    for (const [method, rest] of [
      ['append', { path: paths[1], epoch: 1 }],
      ['claimEpochs', { count: 1 }],
    ] as const) {
      const { code, message } = await child.ask(method, rest)
      expect(code).toBe('ERR_STORE')
      expect(message).toContain(dir)
      expect(message).toContain('permission')
    }
    await child.end()
    expect(await contentOf(dir)).toEqual(before)
    const below = join(dir, 'tmp', 'not-to-be-made')
    const other = new StoreProcess(below, { isUnprivileged: process.getuid?.() === 0 })
    const { code, message } = await other.ask('claimEpochs', { count: 1 })
    expect(code).toBe('ERR_STORE')
    expect(message).toContain(below)
  })
})

async function forbidWriting(dir: string): Promise<void> {
  const folders = ['', 'epochs', 'logs', 'snapshots', 'tmp'].map((name) => join(dir, name))
  onTestFinished(async () => {
    for (const folder of folders) await chmod(folder, 0o755)
  })
  for (const folder of folders) await chmod(folder, 0o555)
}

/** Logs that follow on each other, as files that another process can open. */
async function logFiles(count: number): Promise<string[]> {
  const folder = temporaryFolder()
  await chmod(folder, 0o755)
  const paths: string[] = []
  for (const log of await chain(count)) {
    paths.push(join(folder, `${log.startFrameNo}.log`))
    await log.copyTo(paths.at(-1)!)
  }
  return paths
}

describe('between processes', () => {
  it('exactly one of two that append at the same frame wins, each time', async () => {
    const dir = temporaryFolder()
    const paths = await logFiles(40)
    const processes = [1, 2].map(() => new StoreProcess(dir))
    const outcomes = await Promise.all(
      processes.map((each, index) => each.ask('appendAll', { paths, epoch: index + 1 })),
    )
    const [left, right] = outcomes.map(({ value }) => value as Outcome[])
    for (const [index] of paths.entries()) {
      const pair = [left![index]!, right![index]!]
      expect(pair.filter(({ value }) => value === index * 2)).toHaveLength(1)
      expect(pair.filter(({ code }) => code === 'ERR_FENCED')).toHaveLength(1)
    }
    const store = openStore(dir)
    for (const [index, stored] of (await store.logs()).entries()) {
      const log = await store.readLog(stored)
      expect(log.epoch).toBe(left![index]!.code === undefined ? 1 : 2)
    }
  })

  it('follows what another process appends, as soon as it is there', async () => {
    const dir = temporaryFolder()
    const paths = await logFiles(30)
    const child = new StoreProcess(dir)
    const store = openStore(dir)
    const seenMs: number[] = []
    const answeredMs: number[] = []
    const controller = new AbortController()
    const following = (async () => {
      for await (const _ of store.follow(0, { signal: controller.signal })) {
        seenMs.push(performance.now())
        if (seenMs.length === paths.length) controller.abort()
      }
    })()
    await child.ask('claimEpochs', { count: 1 })
    for (const path of paths) {
      expect((await child.ask('append', { path, epoch: 1 })).code).toBeUndefined()
      answeredMs.push(performance.now())
    }
    await following
    expect((await store.logs()).map(({ startFrameNo }) => startFrameNo)).toHaveLength(30)
    // How long the disk takes is none of it: it is there when that is answered.
    const delaysMs = seenMs.map((ms, index) => ms - answeredMs[index]!)
    const medianMs = delaysMs.sort((left, right) => left - right)[15]!
    expect(medianMs).toBeLessThan(200)
  })

  it('leaves whole logs only when it is killed', async () => {
    const dir = temporaryFolder()
    const paths = await logFiles(200)
    const child = new StoreProcess(dir)
    await child.ask('claimEpochs', { count: 1 })
    child.send({ method: 'appendAll', paths, epoch: 1 })
    const store = openStore(dir)
    await followed(store, 0, 20)
    await child.kill()
    const stored = await store.logs()
    expect(stored.length).toBeGreaterThanOrEqual(20)
    const ends: number[] = []
    for (const each of stored) ends.push((await store.readLog(each)).nextFrameNo)
    expect(ends).toEqual(stored.map((_, index) => index * 2 + 2))
    // The next one goes on where it stopped, and recognises what its caller does not know to be there.
    const next = await Log.open(paths[stored.length - 1]!)
    expect((await store.append(next, 1)).startFrameNo).toBe(stored.at(-1)!.startFrameNo)
  })
})

describe('failing calls', () => {
  it.each([
    ['EIO', 'none', 1],
    ['ENOSPC', 'deflate', 1],
    ['EIO', 'none', 3],
  ] as const)(
    'an append is there whole or not at all: %s, compression %s, %i in a row',
    async (errno, compression, logCount) => {
      const folder = temporaryFolder()
      const stores = join(folder, 'stores')
      await mkdir(stores)
      const logPaths = await logFiles(logCount)
      const name = `${String(2 * (logCount - 1)).padStart(16, '0')}.log`
      interface Report {
        readonly n: number
        readonly calls: string[]
        readonly failed?: string
        readonly isRejected: boolean
        readonly code?: string
        readonly message?: string
        readonly seen: number
        readonly epochsRead: number[]
        readonly after: number
        readonly leftovers: number
      }
      const argument = { folder: stores, logPaths, errno: constants.errno[errno], options: { compression } }
      const reports = await runProgram<Report>('faulty-store.mjs', {
        argument,
        env: faultyEnvironment(folder, stores),
      })
      const last = reports.at(-1)!
      expect(last).toMatchObject({ isRejected: false, seen: 1 })
      // Bytes before the name, and the name before the answer.
      const steps = last.calls.map((call) => call.replace(/^w /, ''))
      const order = steps.filter((step) => /sync|link|write/.test(step)).map((step) => step.split(' '))
      const position = (name: string, path: string) =>
        order.findIndex(([call, of]) => call!.includes(name) && of!.endsWith(path))
      const written = position('write', '/tmp/x')
      const synced = position('fdatasync', '/tmp/x')
      const linked = position('link', `/logs/${name}`)
      const named = position('fsync', '/logs')
      expect([written, synced, linked, named].every((at) => at >= 0)).toBe(true)
      expect(written < synced && synced < linked && linked < named, steps.join('\n')).toBe(true)
      for (const report of reports.slice(0, -1)) {
        expect(report, report.failed).toMatchObject({ isRejected: true, code: 'ERR_STORE', after: 1 })
        expect(report.message).toContain(name)
        // A name that could not be synced: the log is there, whole, and the second attempt recognises it.
        expect(report.seen).toBe(report.failed!.includes('fsync') ? 1 : 0)
        expect(report.epochsRead).toEqual(report.seen === 1 ? [1] : [])
      }
      for (const { leftovers, failed } of reports) expect(leftovers, failed).toBe(0)
      expect(reports.length).toBeGreaterThanOrEqual(5)
    },
  )
})

describe('a disk that hangs', () => {
  it('fails calls in time, and serves those that come when it answers again', async () => {
    const dir = temporaryFolder()
    const maker = openStore(dir)
    await maker.claimEpoch('me')
    const marker = join(dir, 'mylibsql-store.json')
    const text = await readFile(marker)
    await rm(marker)
    // Opening it waits for a writer, which there is none.
    execFileSync('mkfifo', [marker])
    const store = openStore(dir, { timeoutMs: 100 })
    const log = await logAt(0)
    const startMs = performance.now()
    for (const call of [() => store.currentEpoch(), () => store.append(log, 1)]) {
      const error = await expectCode(call(), 'ERR_STORE')
      expect(error.message).toContain(dir)
      expect(error.message).toContain('100 ms')
    }
    expect(performance.now() - startMs).toBeLessThan(5000)
    const controller = new AbortController()
    const aborted = store.logs({ signal: controller.signal })
    controller.abort(new Error('enough'))
    expect((await rejection(aborted)).message).toBe('enough')
    // Everybody who waits is answered, and the store is as it was.
    const pipe = await open(marker, 'r+')
    await pipe.write(text)
    await rm(marker)
    await writeFile(marker, text)
    await pipe.close()
    await expect.poll(() => store.currentEpoch().catch(() => 0)).toBe(1)
  })
})

describe('what is left', () => {
  it('removes the temporary files of dead writers, by age', async () => {
    const dir = temporaryFolder()
    await openStore(dir).claimEpoch('me')
    const [old, young] = ['1-old', '1-young'].map((name) => join(dir, 'tmp', name))
    await writeFile(old!, 'half a log')
    await writeFile(young!, 'of somebody who writes')
    const twoDaysAgo = new Date(Date.now() - 48 * 60 * 60 * 1000)
    await utimes(old!, twoDaysAgo, twoDaysAgo)
    await openStore(dir).claimEpoch('me')
    await expect.poll(() => readdir(join(dir, 'tmp'))).toEqual(['1-young'])
  })

  it('leaves no temporary file of its own', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    await store.claimEpoch('me')
    for (const log of await chain(3)) await store.append(log, 1)
    await expectCode(store.append(await logAt(0, { seed: 5 }), 1), 'ERR_FENCED')
    await store.putSnapshot(await Snapshot.blank())
    await store.close()
    expect(await readdir(join(dir, 'tmp'))).toEqual([])
  })

  it('keeps few epochs, and counts on', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    for (let n = 1; n <= 130; n++) expect(await store.claimEpoch('me')).toBe(n)
    expect((await readdir(join(dir, 'epochs'))).length).toBeLessThanOrEqual(101)
    expect(await store.currentEpoch()).toBe(130)
    const holder = JSON.parse(await readFile(join(dir, 'epochs', '0000000000000130'), 'utf8'))
    expect(holder).toMatchObject({ holder: 'me' })
  })

  it('passes over files that are none of its objects', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    await store.claimEpoch('me')
    await store.append(await logAt(0), 1)
    for (const name of [
      'notes.txt',
      '1.log',
      '00000000000000xx.log',
      '9999999999999999.log',
      '.0000000000000001.log',
    ]) {
      await writeFile(join(dir, 'logs', name), 'mine')
    }
    await writeFile(join(dir, 'epochs', 'x'), '')
    await writeFile(join(dir, 'snapshots', 'x.db'), '')
    expect((await store.logs()).map(({ startFrameNo }) => startFrameNo)).toEqual([0])
    expect(await store.currentEpoch()).toBe(1)
    expect(await store.snapshots()).toEqual([])
  })
})

describe('another history', () => {
  it('does not take the place of a snapshot of the same frame', async () => {
    const dir = temporaryFolder()
    const store = openStore(dir)
    const snapshotOf = async (sql: string, pageSize = 4096) => {
      const primary = await Primary.open(await Snapshot.blank({ pageSize }))
      await primary.run(sql)
      const snapshot = await primary.snapshot(join(temporaryFolder(), 'made.db'))
      await primary.close()
      return snapshot
    }
    const own = await store.putSnapshot(await snapshotOf('CREATE TABLE a (x)'))
    const before = await contentOf(dir)
    const other = await expectCode(store.putSnapshot(await snapshotOf('CREATE TABLE b (x)')), 'ERR_LINEAGE')
    expect(other.message).toContain(own.id)
    const paged = await expectCode(
      store.putSnapshot(await snapshotOf('CREATE TABLE a (x)', 8192)),
      'ERR_PAGE_SIZE',
    )
    expect(paged.message).toContain(own.id)
    await store.close()
    expect(await contentOf(dir)).toEqual(before)
  })

  it('is not touched through objects of another store', async () => {
    const [left, right] = [openStore(temporaryFolder()), openStore(temporaryFolder())]
    const stored = await left.append(await logAt(0), 1)
    await right.append(await logAt(0), 1)
    for (const call of [() => right.remove([stored]), () => right.readLog(stored)]) {
      expect(await rejection(call())).toBeInstanceOf(TypeError)
    }
    expect(await left.logs()).toEqual([stored])
  })

  it('keeps a log that took the place of the one that is to be removed', async () => {
    const store = openStore(temporaryFolder())
    const [first, second] = await chain(2)
    const listed = await store.append(first!, 1)
    const merged = await Log.create(0, { pageSize: 512, startChecksum: 0n })
    for (const log of [first!, second!]) {
      const frames: Frame[] = []
      for await (const frame of log.frames()) frames.push(frame)
      await merged.pushFrames(frames)
    }
    const replaced = await store.replaceLog(merged)
    await store.remove([listed])
    expect(await store.logs()).toEqual([replaced])
  })
})

describe('the lock', () => {
  it('is waited for by those who replace and remove, for so long, and by nobody else', async () => {
    const folder = temporaryFolder()
    const [store, impatient] = [openStore(folder), openStore(folder, { timeoutMs: 300 })]
    const logs = await chain(3)
    const stored = await store.append(logs[0]!, 1)
    await store.append(logs[1]!, 1)
    const merged = await Log.merge([await store.readLog(stored), logs[1]!])
    const lock = openSync(join(folder, 'mylibsql-store.lock'), 'a')
    expect(native.tryLock(lock)).toBe(true)
    const error = await expectCode(impatient.replaceLog(merged), 'ERR_LOCKED')
    expect(error.message).toContain('mylibsql-store.lock')
    // One that is given up may still take place, when the lock is free: there is nothing like this to be removed.
    const removed = rejection(impatient.remove([{ ...stored, byteLength: 1 }]))
    expect((await removed).code).toMatch(/^ERR_(LOCKED|STORE)$/)
    await store.append(logs[2]!, 1)
    expect((await store.readLog((await store.logs())[0]!)).isMerged).toBe(false)
    closeSync(lock)
    await store.replaceLog(merged)
    expect(await store.logs()).toHaveLength(3)
  })
})

describe('compression', () => {
  it('is a property of each object: any mix is read', async () => {
    const dir = temporaryFolder()
    const stores = (['none', 'lz4', 'deflate', 'brotli'] as const).map((compression) =>
      openStore(dir, { compression }),
    )
    const logs = await chain(6)
    for (const [index, log] of logs.entries()) await stores[index % 4]!.append(log, 1)
    const snapshot = await Snapshot.blank()
    const sizes: number[] = []
    for (const store of stores) {
      sizes.push((await store.putSnapshot(snapshot)).byteLength)
      for (const reader of stores) {
        const read = await reader.readSnapshot((await reader.snapshots())[0]!)
        expect(read.byteLength).toBe(snapshot.byteLength)
      }
    }
    expect(sizes[1]!).toBeLessThan(sizes[0]! / 4)
    expect(sizes[2]!).toBeLessThan(sizes[0]! / 4)
    expect(sizes[3]!).toBeLessThan(sizes[0]! / 4)
    const stored = await stores[0]!.logs()
    expect(stored[1]!.byteLength).toBeLessThan(stored[0]!.byteLength)
    for (const [index, each] of stored.entries()) {
      const log = await stores[2]!.readLog(each)
      expect(log.endChecksum).toBe(logs[index]!.endChecksum)
      // A retry by a primary that compresses otherwise.
      expect(await stores[(index + 1) % 4]!.append(logs[index]!, 1)).toEqual(each)
    }
    expect((await followed(stores[0]!, 0, 6)).map(({ id }) => id)).toEqual(stored.map(({ id }) => id))
  })

  it.each(['none', 'lz4', 'deflate', 'brotli'] as const)(
    'stores nothing of a log whose file was cut short: %s',
    async (compression) => {
      const store = openStore(temporaryFolder(), { compression })
      const path = join(temporaryFolder(), '0.log')
      await (await logAt(0, { frameCount: 20 })).copyTo(path)
      const log = await Log.open(path)
      await truncate(path, (await stat(path)).size - 1)
      const error = await rejection(store.append(log, 1))
      expect(error).toMatchObject({ code: 'ERR_CORRUPT', message: expect.stringContaining(path) })
      expect(await store.logs()).toEqual([])
    },
  )

  it('leaves plain files that any tool opens', async () => {
    const store = openStore(temporaryFolder())
    const made = await logAt(0)
    const log = await Log.open((await store.append(made, 6)).id)
    expect(log).toMatchObject({ epoch: 6, endChecksum: made.endChecksum })
    const { id } = await store.putSnapshot(await Snapshot.blank())
    expect((await Snapshot.open(id)).lastFrameNo).toBeUndefined()
  })

  it.each(['lz4', 'deflate', 'brotli'] as const)(
    'does not trust what %s objects say',
    async (compression) => {
      const store = openStore(temporaryFolder(), { compression })
      const { id } = await store.append(await logAt(0, { frameCount: 20 }), 1)
      const bytes = await readFile(id)
      const payload = bytes.subarray(40)
      const rawBytes = 112 + 20 * (24 + 512)
      const spoilt = {
        'fewer bytes than it says': Buffer.concat([
          encodeObjectHeader({ method: compression, rawBytes: rawBytes + 1 }),
          payload,
        ]),
        'more bytes than it says': Buffer.concat([
          encodeObjectHeader({ method: compression, rawBytes: 112 }),
          payload,
        ]),
        'another method': Buffer.concat([
          encodeObjectHeader({ method: compression === 'deflate' ? 'brotli' : 'deflate', rawBytes }),
          payload,
        ]),
        'a stream that is cut short': bytes.subarray(0, -10),
        'a few bytes behind the stream': Buffer.concat([bytes, Buffer.alloc(7)]),
        'a second stream behind it': Buffer.concat([bytes, payload]),
        'as much as comes in several pieces': Buffer.concat([bytes, Buffer.alloc(10_000_000, 1)]),
        'no stream': bytes.subarray(0, 40),
        'a header that is cut short': bytes.subarray(0, 20),
        'gigabytes that are not there': encodeObjectHeader({ method: compression, rawBytes: 2 ** 40 }),
      }
      for (const [what, changed] of Object.entries(spoilt)) {
        await writeFile(id, changed)
        const error = await expectCode(store.readLog((await store.logs())[0]!), 'ERR_CORRUPT')
        expect(error.message, what).toContain(id)
      }
      await writeFile(id, bytes)
      expect((await store.readLog((await store.logs())[0]!)).frameCount).toBe(20)
    },
  )

  it('knows its methods', () => {
    const dir = '/nowhere'
    expect(() => new FileStore(dir, { compression: 'gzip' as never })).toThrow(TypeError)
    expect(() => new FileStore(dir, { compresion: 'none' } as never)).toThrow('did you mean "compression"')
    expect(() => new FileStore(7 as never)).toThrow(TypeError)
    const hasZstd = 'createZstdCompress' in zlib
    if (hasZstd) expect(new FileStore(dir, { compression: 'zstd' }).url).toBe('file:/nowhere')
    else expect(() => new FileStore(dir, { compression: 'zstd' })).toThrow(/zstd/)
  })
})

it.each(['none', 'lz4', 'deflate', 'brotli'] as const)(
  'opens logs that are read at once, each for itself: %s',
  async (compression) => {
    const dir = temporaryFolder()
    const store = openStore(dir, { compression })
    await store.claimEpoch('test')
    const logs = await chain(12)
    for (const log of logs) await store.append(log, 1)
    const stored = await store.logs()
    const damaged = await readFile(stored[5]!.id)
    damaged[damaged.length - 9]! ^= 1
    await writeFile(stored[5]!.id, damaged)
    await rm(stored[7]!.id)
    const closer = vi.spyOn(Log, 'from')
    const outcomes = await Promise.all(
      stored.map((one) =>
        store.readLog(one).then(
          ({ endChecksum }) => endChecksum,
          ({ code }) => code,
        ),
      ),
    )
    const expected: unknown[] = logs.map(({ endChecksum }) => endChecksum)
    expected[5] = 'ERR_CORRUPT'
    expected[7] = 'ERR_NOT_FOUND'
    expect(outcomes).toEqual(expected)
    // Only what is damaged is looked at more closely.
    expect(closer.mock.calls.length).toBeLessThanOrEqual(1)
    closer.mockRestore()
  },
)
