import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  compact,
  FileStore,
  type Log,
  MylibsqlError,
  Primary,
  Replica,
  type RestoreProgress,
  restore,
  Snapshot,
  type Store,
} from 'mylibsql'
import { describe, expect, it, vi } from 'vitest'
import { stepLogsMax } from '../../src/protocol/limits.js'
import { decodeLogHeader } from '../../src/protocol/log-format.js'
import { applyChecked } from '../../src/worker/log-source.js'
import { native } from '../../src/worker/native.js'
import { closedAfterTest, integrityCheck, pagesOf } from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { numbers, type StoredHistory, startHistory } from '../support/history.js'
import { MemoryStore } from '../support/memory-store.js'

/** A history with a snapshot in the middle, and a folder to restore into. */
async function open<S extends Store>(store: S) {
  const history = await startHistory(store)
  const logs: Log[] = []
  for (let n = 0; n < 3; n++) logs.push(await history.write())
  const middle = await history.snapshot()
  for (let n = 0; n < 3; n++) logs.push(await history.write({ transactions: 3, rows: 3 }))
  const folder = temporaryFolder()
  return { ...history, logs, middle, folder, target: join(folder, 'restored.db') }
}

/** The pages that a replica has at the end of these logs. */
async function expectedPages({ source }: StoredHistory<Store>, logs: readonly Log[]): Promise<Buffer> {
  const replica = closedAfterTest(await Replica.open(source.blank, logs))
  return pagesOf(await replica.snapshot(join(temporaryFolder(), 'expected.db')))
}

function expectPages(path: string, expected: Buffer): void {
  integrityCheck(path)
  expect(readFileSync(path).equals(expected), 'the pages are the same').toBe(true)
}

const stores: [string, () => Store][] = [
  ['a FileStore', () => closedAfterTest(new FileStore(join(temporaryFolder(), 'store')))],
  [
    'a FileStore that compresses',
    () => closedAfterTest(new FileStore(join(temporaryFolder(), 'store'), { compression: 'deflate' })),
  ],
  ['a store in memory', () => new MemoryStore()],
]

describe.each(stores)('restore from %s', (_, make) => {
  it('gives the newest state, as a plain database, and nothing besides', async () => {
    const history = await open(make())
    const { source, store, target, folder } = history
    const result = await restore(store, target)
    expect(result).toEqual({
      frameNo: source.primary.lastFrameNo,
      byteLength: readFileSync(target).byteLength,
      problems: [],
    })
    expectPages(target, await expectedPages(history, source.logs))
    expect(readdirSync(folder).filter((name) => !/-(wal|shm)$/.test(name))).toEqual(['restored.db'])
  })

  it('gives the state after each log and each transaction, before and behind the snapshot', async () => {
    const history = await open(make())
    const { source, store, folder, logs } = history
    for (const [index, log] of [logs[0]!, logs[2]!, logs[4]!].entries()) {
      const path = join(folder, `${index}.db`)
      expect((await restore(store, path, { at: log.lastFrameNo! })).frameNo).toBe(log.lastFrameNo)
      expectPages(path, await expectedPages(history, source.logs.slice(0, source.logs.indexOf(log) + 1)))
    }
    const commits: number[] = []
    for await (const frame of logs[4]!.frames()) if (frame.sizeAfter !== 0) commits.push(frame.frameNo)
    expect(commits.length).toBe(3)
    for (const commit of commits) {
      const path = join(folder, `to-${commit}.db`)
      expect((await restore(store, path, { at: commit })).frameNo).toBe(commit)
      integrityCheck(path)
    }
  })

  it('gives the state of a time', async () => {
    const { store, target, logs } = await open(make())
    const at = logs[4]!.createdAt!
    const expected = logs.filter((log) => log.createdAt! <= at).at(-1)!
    expect((await restore(store, target, { at })).frameNo).toBe(expected.lastFrameNo)
    integrityCheck(target)
  })
})

describe('restore from the files of a FileStore', () => {
  /** Of several primaries, more than one step takes, and how many of them are read one by one. */
  async function openMany(compression: 'none' | 'lz4') {
    const store = closedAfterTest(new FileStore(join(temporaryFolder(), 'store'), { compression }))
    const read = vi.spyOn(store, 'readLog')
    const history = await startHistory(store)
    const logs: Log[] = []
    for (let n = 0; n < 150; n++) {
      if (n % 40 === 39) await store.claimEpoch('another')
      logs.push(await history.write({ transactions: 1 }))
    }
    read.mockClear()
    const folder = temporaryFolder()
    return { ...history, logs, read, folder, target: join(folder, 'restored.db') }
  }

  it.each(['none', 'lz4'] as const)('takes many of them at once: %s', async (compression) => {
    const history = await openMany(compression)
    const { source, store, target, read } = history
    expect((await restore(store, target)).frameNo).toBe(source.primary.lastFrameNo)
    expectPages(target, await expectedPages(history, source.logs))
    // The first one, to see whether the snapshot goes on, and the last one, whether it goes beyond the end.
    expect(read.mock.calls.length).toBeLessThanOrEqual(2)
  })

  it('takes none behind the frame or the moment that was asked for', async () => {
    const history = await openMany('none')
    const { source, store, folder, logs } = history
    for (const index of [30, 39, 64, 148]) {
      const log = logs[index]!
      const target = join(folder, `${index}.db`)
      await restore(store, target, { at: log.lastFrameNo! })
      const expected = await expectedPages(history, source.logs.slice(0, source.logs.indexOf(log) + 1))
      expectPages(target, expected)
      const { frameNo } = await restore(store, join(folder, `at-${index}.db`), { at: log.createdAt! })
      // Others may have been sealed in the same millisecond.
      const last = logs.filter(({ createdAt }) => createdAt! <= log.createdAt!).at(-1)!
      expect(frameNo).toBe(last.lastFrameNo)
    }
  })

  it('names the one that is damaged, and goes on behind merged ones', async () => {
    const history = await openMany('none')
    const { source, store, folder, target, read, write } = history
    expect((await compact(store, { keepMs: 0, spanMs: 100 })).mergedCount).toBeGreaterThan(1)
    const mergedCount = (await store.logs()).length
    for (let n = 0; n < 100; n++) await write({ transactions: 1 })
    read.mockClear()
    await restore(store, join(folder, 'whole.db'))
    expectPages(join(folder, 'whole.db'), await expectedPages(history, source.logs))
    // Some are read ahead of their turn.
    expect(read.mock.calls.length).toBeLessThan(mergedCount + 50)
    const { id } = (await store.logs()).at(-3)!
    const bytes = readFileSync(id)
    bytes[500]! ^= 1
    writeFileSync(id, bytes)
    const error = await expectCode(restore(store, target), 'ERR_CORRUPT')
    expect(error.details.path).toBe(id)
    expect(existsSync(target)).toBe(false)
  })
})

it('a log is checked and applied out of one open file, whatever takes its name in between', async () => {
  const { logs, source, folder } = await open(
    closedAfterTest(new FileStore(join(temporaryFolder(), 'store'))),
  )
  const [log, other] = logs as [Log, Log]
  const [path, otherPath] = [join(folder, 'one.log'), join(folder, 'other.log')]
  await log.copyTo(path)
  await other.copyTo(otherPath)
  const { pageSize, startFrameNo: nextFrameNo, startChecksum: checksum } = log
  const header = decodeLogHeader(await log.bytes(), {}, log.byteLength)
  const applied = applyChecked(
    { location: { path }, header },
    { nextFrameNo, checksum },
    pageSize,
    (from, run) => {
      renameSync(otherPath, path)
      return native.checkFrames(from, run)
    },
  )
  expect(applied?.next).toEqual({ nextFrameNo: log.nextFrameNo, checksum: log.endChecksum })
  expect(applied?.applied).toMatchObject({ badIndex: -1, endChecksum: log.endChecksum })
  await source.primary.close()
})

describe('restore', () => {
  it('tells its progress', async () => {
    const { store, target } = await open(new FileStore(join(temporaryFolder(), 'store')))
    const seen: RestoreProgress[] = []
    await restore(store, target, { onProgress: (progress) => seen.push(progress) })
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['snapshot', 'logs', 'sync'])
    const done = seen.map(({ bytesDone }) => bytesDone)
    expect(done).toEqual([...done].sort((a, b) => a - b))
    expect(new Set(seen.map(({ bytesTotal }) => bytesTotal)).size).toBe(1)
    expect(seen.at(-1)).toEqual({
      phase: 'sync',
      bytesDone: seen[0]!.bytesTotal,
      bytesTotal: seen[0]!.bytesTotal,
    })
  })

  it('applies many small logs in one step, also far behind the start of a segment', async () => {
    const store = closedAfterTest(new FileStore(join(temporaryFolder(), 'store')))
    await store.putSnapshot(await Snapshot.blank())
    const primary = closedAfterTest(await Primary.open({ store, checkpoint: { intervalMs: 1 } }))
    await primary.run(numbers)
    const logCount = 400
    for (let n = 0; n < logCount; n++) {
      await (await primary.run('INSERT INTO numbers VALUES (?, NULL)', [n])).durable()
    }
    const seen: RestoreProgress[] = []
    const target = join(temporaryFolder(), 'restored.db')
    const { frameNo } = await restore(store, target, { onProgress: (progress) => seen.push(progress) })
    expect(frameNo).toBe(primary.lastFrameNo)
    const stepCount = seen.filter(({ phase }) => phase === 'logs').length
    expect(stepCount).toBeLessThan(2 * Math.ceil(logCount / stepLogsMax))
  })

  it('names the oldest moment, or frame, when asked for an earlier one', async () => {
    const { store, target, middle, prune } = await open(new MemoryStore())
    const early = await expectCode(restore(store, target, { at: new Date(0) }), 'ERR_NOT_FOUND')
    const oldest = /no snapshot at or before 1970-.* The oldest usable one was made at (\S+Z)$/.exec(
      early.message,
    )
    await restore(store, target, { at: new Date(oldest![1]!) })
    await prune(middle)
    await expect(restore(store, `${target}-2`, { at: 0 })).rejects.toThrow(
      `no snapshot at or before frame 0 that can be used. The oldest one ends with frame ${middle.lastFrameNo}`,
    )
  })

  it('names a folder that is missing, or is none, before it reads anything', async () => {
    const { store, folder, target } = await open(new MemoryStore())
    writeFileSync(target, 'a file')
    store.calls.length = 0
    for (const path of [join(folder, 'missing', 'restored.db'), join(target, 'restored.db')]) {
      const error = await expectCode(restore(store, path), 'ERR_IO')
      expect(error.message).toMatch(new RegExp(`^Cannot restore to ${path}: (ENOENT|.* is no folder$)`))
      expect(error.details).toEqual({ path })
    }
    expect(store.calls).toEqual([])
    expect(readdirSync(folder)).toEqual(['restored.db'])
  })

  it('replaces nothing: neither a file nor what is beside one', async () => {
    const { store, target } = await open(new MemoryStore())
    for (const taken of [target, `${target}-wal`, `${target}-journal`]) {
      writeFileSync(taken, 'mine')
      const error = await expectCode(restore(store, target), 'ERR_PATH_EXISTS')
      expect(error.details.path).toBe(taken)
      expect(readFileSync(taken, 'utf8')).toBe('mine')
      rmSync(taken)
    }
    // One that comes while it works.
    const late = rejection(restore(store, target, { onProgress: () => writeFileSync(target, 'mine') }))
    expect(await late).toMatchObject({ code: 'ERR_PATH_EXISTS' })
    expect(readFileSync(target, 'utf8')).toBe('mine')
    await expectCode(restore(store, join(target, 'below.db')), 'ERR_IO')
  })

  it('leaves nothing behind when a log is damaged, when it is aborted, and when the caller throws', async () => {
    const { store, target, folder, logs } = await open(new MemoryStore())
    const object = store.logObjects.get(logs[4]!.startFrameNo)!
    const good = object.bytes
    object.bytes = good.slice()
    object.bytes[good.length - 50]! ^= 4
    const error = await expectCode(restore(store, target), 'ERR_CORRUPT')
    expect(error.message).toContain(object.id)
    object.bytes = good

    for (const phase of ['snapshot', 'logs', 'sync']) {
      const controller = new AbortController()
      const onProgress = (progress: RestoreProgress) => {
        if (progress.phase === phase) controller.abort(new Error('enough'))
      }
      const outcome = restore(store, target, { onProgress, signal: controller.signal })
      expect((await rejection(outcome)).message).toBe('enough')
      expect(readdirSync(folder)).toEqual([])
    }
    const thrown = restore(store, target, {
      onProgress: () => {
        throw new Error('mine')
      },
    })
    expect((await rejection(thrown)).message).toBe('mine')
    await expectCode(restore(store, target, { at: 1_000_000 }), 'ERR_NOT_FOUND')
    expect(readdirSync(folder)).toEqual([])
  })

  it('goes on after failures of the store, and from a newer snapshot when its own was pruned', async () => {
    const { source, store, target, snapshot, prune } = await open(new MemoryStore())
    let failures = 3
    let isPruned = false
    store.before = async (call) => {
      if (call === 'snapshots' || isPruned) return
      if (failures-- > 0) throw new MylibsqlError('ERR_STORE', 'connection reset')
      if (call !== 'readLog') return
      isPruned = true
      await prune(await snapshot())
    }
    expect((await restore(store, target)).frameNo).toBe(source.primary.lastFrameNo)
    expect(isPruned).toBe(true)
    integrityCheck(target)
  })

  it('says when it had to take an older snapshot', async () => {
    const history = await open(new MemoryStore())
    const { source, store, target, middle } = history
    const object = store.snapshotObjects.get(middle.lastFrameNo!)!
    object.bytes[5000]! ^= 1
    const { frameNo, problems } = await restore(store, target)
    expect(frameNo).toBe(source.primary.lastFrameNo)
    expect(problems).toEqual([expect.objectContaining({ code: 'ERR_CORRUPT' })])
    expect(problems[0]!.message).toContain(object.id)
    expectPages(target, await expectedPages(history, source.logs))
  })

  it('checks its arguments', async () => {
    const { store, target } = await open(new MemoryStore())
    for (const options of [
      { at: -1 },
      { at: 'today' },
      { at: new Date(Number.NaN) },
      { to: 3 },
      { signal: 1 },
    ]) {
      // @ts-expect-error: JavaScript callers
      expect(await rejection(restore(store, target, options))).toBeInstanceOf(TypeError)
    }
    // @ts-expect-error: JavaScript callers
    const { message } = await rejection(restore(store, target, { at: '2026-01-31' }))
    expect(message).toBe(`Option "at" of restore must be a frame number or a Date, got string '2026-01-31'`)
    // @ts-expect-error: JavaScript callers
    expect(await rejection(restore({}, target))).toBeInstanceOf(TypeError)
    expect(existsSync(target)).toBe(false)
  })
})
