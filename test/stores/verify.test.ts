/** What `verify` finds in a store: all of it whole, or what is damaged, missing, or of another history. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { FileStore, Log, restore, type Store, type VerifyProgress, verify } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest } from '../support/database.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { startHistory } from '../support/history.js'
import { MemoryStore } from '../support/memory-store.js'
import { withSeed } from '../support/random.js'

const fileStore = (options = {}) => closedAfterTest(new FileStore(join(temporaryFolder(), 'store'), options))

/** Logs, a snapshot, logs, a snapshot, logs. */
async function open<S extends Store>(store: S) {
  const history = await startHistory(store)
  const logs: Log[] = [history.source.logs[0]!]
  const write = async (count: number) => {
    for (let n = 0; n < count; n += 1) logs.push(await history.write())
  }
  await write(2)
  const first = await history.snapshot()
  await write(2)
  const second = await history.snapshot()
  await write(1)
  return { ...history, logs, first, second, lastFrameNo: history.source.primary.lastFrameNo! }
}

const folderOf = (store: FileStore) => store.url.replace('file:', '')
const filesOf = (store: FileStore, kind: 'logs' | 'snapshots') =>
  readdirSync(join(folderOf(store), kind))
    .sort()
    .map((name) => join(folderOf(store), kind, name))

const blankOf = (store: FileStore) => filesOf(store, 'snapshots').find((path) => !/\d\.db$/.test(path))!

function flip(path: string, byteOffset: number): void {
  const bytes = readFileSync(path)
  bytes[byteOffset]! ^= 1
  writeFileSync(path, bytes)
}

const stores: [string, () => Store][] = [
  ['a FileStore', () => fileStore()],
  ['a FileStore that compresses', () => fileStore({ compression: 'lz4' })],
  ['a store in memory', () => new MemoryStore()],
]

describe.each(stores)('of %s', (_, make) => {
  it('finds all of it whole, in one span, and tells how far it is', async () => {
    const { store, logs, lastFrameNo } = await open(make())
    const progress: VerifyProgress[] = []
    expect(await verify(store, { onProgress: (now) => progress.push(now) })).toEqual({
      snapshotCount: 3,
      logCount: logs.length,
      spans: [{ from: undefined, to: lastFrameNo }],
      problems: [],
    })
    const { bytesDone, bytesTotal } = progress.at(-1)!
    expect([bytesDone, bytesTotal > 0]).toEqual([bytesTotal, true])
    expect(progress.map((now) => now.bytesDone)).toEqual(
      progress.map((now) => now.bytesDone).sort((a, b) => a - b),
    )
  })

  it('finds it whole when logs were merged', async () => {
    const { store, logs, lastFrameNo } = await open(make())
    const stored = (await store.logs()).slice(1, 3)
    const parts = await Promise.all(stored.map((one) => store.readLog(one)))
    const merged = await Log.merge(parts)
    await store.replaceLog(merged)
    await store.remove(stored.slice(1))
    await Promise.all([...parts, merged].map((log) => log.close()))
    expect(await verify(store)).toMatchObject({
      snapshotCount: 3,
      logCount: logs.length - 1,
      spans: [{ from: undefined, to: lastFrameNo }],
      problems: [],
    })
  })

  it('finds it whole when the beginning was pruned', async () => {
    const { store, first, logs, prune, lastFrameNo } = await open(make())
    await prune(first)
    expect(await verify(store)).toEqual({
      snapshotCount: 2,
      logCount: logs.filter(({ startFrameNo }) => startFrameNo > first.lastFrameNo!).length,
      spans: [{ from: first.lastFrameNo, to: lastFrameNo }],
      problems: [],
    })
  })

  it('names a log that is missing, and the spans beside it', async () => {
    const { store, logs, first, second, lastFrameNo } = await open(make())
    const lost = logs[3]!
    await store.remove((await store.logs()).filter(({ startFrameNo }) => startFrameNo === lost.startFrameNo))
    const { snapshotCount, logCount, spans, problems } = await verify(store)
    expect([snapshotCount, logCount]).toEqual([3, 4])
    expect(spans).toEqual([
      { from: undefined, to: first.lastFrameNo },
      { from: second.lastFrameNo, to: lastFrameNo },
    ])
    expect(problems.map(({ code }) => code)).toEqual(['ERR_LOG_GAP'])
    expect(problems[0]!.message).toContain(`Frame ${lost.startFrameNo} `)
  })

  it('ends when it is told to, before it begins and meanwhile', async () => {
    const { store } = await open(make())
    const reason = new Error('enough')
    await expect(verify(store, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const verifying = verify(store, { signal: controller.signal, onProgress: () => controller.abort(reason) })
    await expect(verifying).rejects.toBe(reason)
  })
})

describe('of a FileStore with damage', () => {
  it('names the file, whichever byte of an object was changed', () =>
    withSeed('verify', async (random) => {
      const { store } = await open(fileStore())
      for (const path of [...filesOf(store, 'logs'), ...filesOf(store, 'snapshots')]) {
        const byteOffset = random.integer(0, readFileSync(path).byteLength - 1)
        flip(path, byteOffset)
        const { problems } = await verify(store)
        const messages = problems.map(({ message }) => message).join('\n')
        expect(messages, `byte ${byteOffset} of ${path}`).toContain(path)
        flip(path, byteOffset)
      }
      expect((await verify(store)).problems).toEqual([])
    }))

  it('goes on behind the damaged log at the next snapshot, and on through a damaged snapshot', async () => {
    const { store, first, second, lastFrameNo, logs } = await open(fileStore())
    const [logPath] = filesOf(store, 'logs').slice(-2)
    flip(logPath!, readFileSync(logPath!).byteLength - 1)
    const blank = blankOf(store)
    flip(blank, 20)
    const { spans, problems, snapshotCount } = await verify(store)
    expect(problems.map(({ code }) => code)).toEqual(['ERR_CORRUPT', 'ERR_CORRUPT'])
    expect(problems[0]!.message).toContain(blank)
    expect(problems[1]!.message).toContain(logPath!)
    expect(snapshotCount).toBe(2)
    expect(spans).toEqual([
      { from: first.lastFrameNo, to: logs[3]!.lastFrameNo },
      { from: second.lastFrameNo, to: lastFrameNo },
    ])
    // What it says can be restored can be, and the rest cannot.
    const target = (frameNo: number) => join(temporaryFolder(), `${frameNo}.db`)
    for (const { from, to } of spans) {
      for (const at of [from!, to!]) expect((await restore(store, target(at), { at })).frameNo).toBe(at)
    }
    await expectCode(restore(store, target(0), { at: 0 }), 'ERR_NOT_FOUND')
    await expectCode(restore(store, target(1), { at: second.lastFrameNo! - 1 }), 'ERR_CORRUPT')
  })

  it('finds snapshots of another history, where logs go on behind them and where they end', async () => {
    const [ours, theirs] = [await open(fileStore()), await open(fileStore())]
    await Promise.all([ours.snapshot(), theirs.snapshot()])
    const foreign = filesOf(theirs.store, 'snapshots')
    for (const [index, path] of filesOf(ours.store, 'snapshots').entries()) {
      // It is the same in both.
      if (path === blankOf(ours.store)) continue
      expect(basename(path)).toBe(basename(foreign[index]!))
      const bytes = readFileSync(path)
      copyFileSync(foreign[index]!, path)
      const { problems } = await verify(ours.store)
      expect(problems.map(({ code }) => code)).toEqual(['ERR_LINEAGE'])
      writeFileSync(path, bytes)
    }
    expect((await verify(ours.store)).problems).toEqual([])
  })
})

/** Merges stored logs from `from` up to, not including, `to`; what was merged may stay beside it, as compactions do that are cut off. */
async function mergeStored(store: Store, from: number, to: number, keepsLeftovers: boolean): Promise<void> {
  const stored = (await store.logs()).slice(from, to)
  const parts = await Promise.all(stored.map((one) => store.readLog(one)))
  const snapshots = await store.snapshots()
  const inside = snapshots.map(({ lastFrameNo }) => (lastFrameNo ?? -1) + 1)
  const at = parts.slice(1).map(({ startFrameNo }) => startFrameNo)
  const merged = await Log.merge(parts, { at: at.filter((frameNo) => inside.includes(frameNo)) })
  await store.replaceLog(merged)
  if (!keepsLeftovers) await store.remove(stored.slice(1))
  await Promise.all([...parts, merged].map((log) => log.close()))
}

describe('of a FileStore with merged logs, what was merged still beside them', () => {
  it('looks at what a restore from a snapshot inside would take', async () => {
    const { store, first, second, logs, lastFrameNo } = await open(fileStore())
    await store.remove(
      (await store.snapshots()).filter((stored) => stored.lastFrameNo === second.lastFrameNo),
    )
    await mergeStored(store, 1, 5, true)
    expect(await verify(store)).toMatchObject({ spans: [{ from: undefined, to: lastFrameNo }], problems: [] })
    // The merged log covers it; behind the snapshot it is still taken.
    const leftover = filesOf(store, 'logs')[4]!
    flip(leftover, readFileSync(leftover).byteLength - 1)
    const { spans, problems } = await verify(store)
    expect(problems.map(({ code, details }) => [code, details.path])).toEqual([['ERR_CORRUPT', leftover]])
    expect(spans).toEqual([{ from: undefined, to: logs[3]!.lastFrameNo }])
    const target = join(temporaryFolder(), 'newest.db')
    await expectCode(restore(store, target), 'ERR_CORRUPT')
    expect((await restore(store, target, { at: first.lastFrameNo! })).frameNo).toBe(first.lastFrameNo)
  })
})

describe('of a store with objects that cannot be read', () => {
  it('goes on, and names them', async () => {
    const { store, logs, first, second, lastFrameNo } = await open(fileStore())
    const path = filesOf(store, 'logs')[3]!
    rmSync(path)
    mkdirSync(path)
    const { spans, problems } = await verify(store)
    expect(problems.map(({ code }) => code)).toEqual(['ERR_STORE'])
    expect(problems[0]!.message).toContain(path)
    expect(spans).toEqual([
      { from: undefined, to: first.lastFrameNo },
      { from: second.lastFrameNo, to: lastFrameNo },
    ])
    expect(logs[3]!.startFrameNo).toBe(first.lastFrameNo! + 1)
  })

  it('says that the store cannot be reached, when that is so', async () => {
    const { store } = await open(fileStore())
    rmSync(folderOf(store), { recursive: true })
    await expectCode(verify(store), 'ERR_STORE')
  })
})

describe('of random histories with random damage', () => {
  it('tells just the frames that can be restored', () =>
    withSeed('verify against restore', async (random) => {
      for (let round = 0; round < 6; round += 1) {
        const { store, snapshot, write } = await startHistory(fileStore())
        const stale = await startHistory(fileStore())
        for (let step = 0; step < 8; step += 1) {
          await Promise.all([write(), stale.write()])
          if (random.chance(0.3)) await Promise.all([snapshot(), stale.snapshot()])
        }
        const logCount = (await store.logs()).length
        const from = random.integer(1, logCount - 2)
        if (random.chance(0.5))
          await mergeStored(store, from, random.integer(from + 2, logCount), random.chance(0.5))
        const ends = new Set<number>()
        for (const { startFrameNo } of await store.logs()) if (startFrameNo > 0) ends.add(startFrameNo - 1)
        for (const { lastFrameNo } of await store.snapshots())
          if (lastFrameNo !== undefined) ends.add(lastFrameNo)
        const damages = random.integer(0, 2)
        for (let count = 0; count < damages; count += 1) {
          const path = random.pick([...filesOf(store, 'logs'), ...filesOf(store, 'snapshots')])
          const foreign = filesOf(stale.store, 'snapshots').find(
            (other) => basename(other) === basename(path),
          )
          if (foreign !== undefined && random.chance(0.3)) copyFileSync(foreign, path)
          else if (random.chance(0.3)) rmSync(path)
          else flip(path, random.integer(0, readFileSync(path).byteLength - 1))
        }
        if ((await store.snapshots()).length === 0) continue
        const { spans, problems } = await verify(store)
        const described = JSON.stringify({ round, spans, problems: problems.map(({ message }) => message) })
        for (const at of ends) {
          const isInSpan = spans.some(({ from: first = -1, to = -1 }) => first <= at && at <= to)
          const restored = await restore(store, join(temporaryFolder(), 'restored.db'), { at }).then(
            ({ frameNo }) => frameNo,
            (error: Error) => error,
          )
          if (restored instanceof Error && /inside a merged log/.test(restored.message)) continue
          expect(isInSpan ? restored : restored instanceof Error, `frame ${at}, ${described}`).toBe(
            isInSpan ? at : true,
          )
        }
      }
    }))
})

describe('of a store that is pruned meanwhile', () => {
  it('looks again, and misses nothing that was removed by right', async () => {
    const { store, second, prune, lastFrameNo } = await open(new MemoryStore())
    let isPruned = false
    const { spans, problems } = await verify(store, {
      onProgress: () => {
        if (isPruned) return
        isPruned = true
        void prune(second)
      },
    })
    expect(problems).toEqual([])
    expect(spans).toEqual([{ from: second.lastFrameNo, to: lastFrameNo }])
  })
})

describe('of what is no history', () => {
  it('says that there is no snapshot', async () => {
    await expectCode(verify(fileStore()), 'ERR_NOT_FOUND')
  })

  it('tells wrong arguments', async () => {
    await expect(verify({} as Store)).rejects.toThrow(TypeError)
    await expect(verify(fileStore(), { at: 5 } as object)).rejects.toThrow(/at/)
  })
})
