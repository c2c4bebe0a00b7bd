import { join } from 'node:path'
import { type CallLimits, Log, Replica, restore, type Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import type { Target } from '../../dist/main/stores/chain-options.js'
import {
  closedAfterTest,
  expectSameBytes,
  integrityCheck,
  openPrimary,
  type TestPrimary,
} from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { MemoryStore, stamped } from '../support/memory-store.js'
import { readHistory } from '../support/stored-history.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'

interface Archived {
  readonly source: TestPrimary
  readonly store: MemoryStore
  /** Some transactions in a log, which is stored. */
  write(options?: { transactions?: number; createdAtMs?: number; rows?: number }): Promise<Log>
  snapshot(): Promise<Snapshot>
}

let rowCount = 0

async function archived(store = new MemoryStore()): Promise<Archived> {
  const source = await openPrimary(numbers)
  await store.claimEpoch()
  const put = async (log: Log, createdAtMs?: number) => {
    store.put(stamped(await log.bytes(), store.epoch, createdAtMs))
  }
  for (const log of source.logs) await put(log)
  await store.putSnapshot(source.blank)
  return {
    source,
    store,
    write: async ({ transactions = 2, createdAtMs, rows = 1 } = {}) => {
      for (let count = 0; count < transactions; count++) {
        const statements = Array.from({ length: rows }, () => ({
          sql: 'INSERT INTO numbers VALUES (?, ?)',
          params: [rowCount++, 'x'.repeat(3000)],
        }))
        await source.primary.batch(statements)
      }
      await source.save()
      const log = source.logs.at(-1)!
      await put(log, createdAtMs)
      return log
    },
    snapshot: async () => {
      const snapshot = await source.primary.snapshot(`${temporaryFolder()}/snapshot.db`)
      await store.putSnapshot(snapshot)
      return snapshot
    },
  }
}

async function open(store: MemoryStore, options?: Target & CallLimits) {
  return closedAfterTest(await readHistory(store, options))
}

/** The last frame of what is restored from it. */
async function restoredAt(store: MemoryStore, { to, at }: Target = {}): Promise<number | undefined> {
  const target = join(temporaryFolder(), 'restored.db')
  const moment = at ?? to
  const { frameNo } = await restore(store, target, moment === undefined ? {} : { at: moment })
  integrityCheck(target)
  return frameNo
}

const flip = (bytes: Uint8Array, at: number) => {
  bytes[at]! ^= 16
}

describe('a history', () => {
  it('gives the newest snapshot and the logs behind it', async () => {
    const { source, store, write, snapshot } = await archived()
    for (let n = 0; n < 3; n++) await write()
    const newest = await snapshot()
    const logs = [await write(), await write()]
    const history = await open(store)
    expect(history.snapshot.lastFrameNo).toBe(newest.lastFrameNo)
    expect(history.logs.map((log) => log.startFrameNo)).toEqual(logs.map((log) => log.startFrameNo))
    expect(history.problems).toEqual([])
    await expectSameBytes(source.primary, closedAfterTest(await Replica.open(history.snapshot, history.logs)))
  })

  it('begins inside a log that goes on beyond the snapshot', async () => {
    const { source, store, snapshot } = await archived()
    await source.primary.run('INSERT INTO numbers VALUES (-1, NULL)')
    const ahead = await snapshot()
    await source.primary.run('INSERT INTO numbers VALUES (-2, NULL)')
    await source.save()
    store.put(stamped(await source.logs.at(-1)!.bytes(), 1))
    expect(source.logs.at(-1)!.startFrameNo).toBeLessThan(ahead.lastFrameNo! + 1)
    expect(await restoredAt(store)).toBe(source.primary.lastFrameNo)
  })

  it('gives a frame of the past: the last whole transaction up to it', async () => {
    const { store, write } = await archived()
    await write()
    const log = await write({ transactions: 2, rows: 3 })
    await write()
    const commits = [log.startFrameNo - 1]
    for await (const frame of log.frames()) if (frame.sizeAfter !== 0) commits.push(frame.frameNo)
    expect(log.frameCount).toBeGreaterThan(commits.length)
    for (let to = log.startFrameNo - 1; to < log.nextFrameNo; to++) {
      expect(await restoredAt(store, { to }), `to ${to}`).toBe(
        commits.filter((commit) => commit <= to).at(-1),
      )
    }
  })

  it('gives a time of the past, by the logs that were sealed by then', async () => {
    const { store, write, snapshot } = await archived()
    const timeMs = Date.now() + 1_000_000
    const logs: Log[] = []
    for (let n = 0; n < 3; n++) logs.push(await write({ createdAtMs: timeMs + 1000 * n }))
    const late = await snapshot()
    expect(late.createdAt!.getTime()).toBeLessThan(timeMs)
    await store.remove([store.snapshotObjects.get(late.lastFrameNo!)!])
    for (const [index, log] of logs.entries()) {
      for (const afterMs of [0, 999]) {
        const at = new Date(timeMs + 1000 * index + afterMs)
        expect(await restoredAt(store, { at })).toBe(log.lastFrameNo)
      }
    }
    expect(await restoredAt(store, { at: new Date(timeMs - 1) })).toBe(logs[0]!.startFrameNo - 1)
  })

  it('takes a snapshot that was made by then, whenever it was stored', async () => {
    const { store, write, snapshot } = await archived()
    await write()
    const middle = await snapshot()
    await write({ createdAtMs: Date.now() + 1_000_000 })
    await new Promise((resolve) => setTimeout(resolve, 2))
    await snapshot()
    const at = middle.createdAt!
    // As in a copy of the store: everything was stored much later.
    for (const [key, object] of store.snapshotObjects) {
      store.snapshotObjects.set(key, { ...object, storedAt: new Date(Date.now() + 1_000_000) })
    }
    expect(await restoredAt(store, { at })).toBe(middle.lastFrameNo)
  })

  it('says when the store has not come to the frame, and when it has nothing that old', async () => {
    const { store, write, snapshot } = await archived()
    const last = (await write()).lastFrameNo!
    const error = await expectCode(open(store, { to: last + 1 }), 'ERR_NOT_FOUND')
    expect(error.details.frameNo).toBe(last + 1)
    const newest = await snapshot()
    await store.remove([store.snapshotObjects.get(-1)!])
    await expectCode(open(store, { to: newest.lastFrameNo! - 1 }), 'ERR_NOT_FOUND')
    await expectCode(open(store, { at: new Date(0) }), 'ERR_NOT_FOUND')
    await expectCode(open(new MemoryStore()), 'ERR_NOT_FOUND')
  })

  it('falls back to an older snapshot when the newest is damaged or gone, and says so', async () => {
    const { source, store, write, snapshot } = await archived()
    await write()
    const middle = await snapshot()
    await write()
    const newest = await snapshot()
    flip(store.snapshotObjects.get(newest.lastFrameNo!)!.bytes, 5000)
    const history = await open(store)
    expect(history.snapshot.lastFrameNo).toBe(middle.lastFrameNo)
    expect(history.problems.map(({ code, message }) => [code, message])).toEqual([
      ['ERR_CORRUPT', expect.stringContaining(`snapshots/${newest.lastFrameNo}`)],
    ])
    expect(await restoredAt(store)).toBe(source.primary.lastFrameNo)

    // The logs behind the older one have to come to where the newer one was.
    store.logObjects.delete(source.logs.at(-1)!.startFrameNo)
    const gap = await expectCode(open(store), 'ERR_LOG_GAP')
    expect(gap.message).toContain(`snapshots/${newest.lastFrameNo}`)
    expect(gap.cause).toMatchObject({ code: 'ERR_CORRUPT' })
  })

  it('names the object when the only snapshot is damaged', async () => {
    const { store } = await archived()
    flip(store.snapshotObjects.get(-1)!.bytes, 100)
    const error = await expectCode(open(store), 'ERR_NOT_FOUND')
    expect(error.message).toContain('snapshots/-1')
    expect(error.cause).toMatchObject({ code: 'ERR_CORRUPT' })
  })

  it('refuses a hole, and names what is behind it', async () => {
    const { store, write } = await archived()
    const missing = await write()
    const next = await write()
    store.logObjects.delete(missing.startFrameNo)
    const error = await expectCode(open(store), 'ERR_LOG_GAP')
    expect(error.message).toContain(store.logObjects.get(next.startFrameNo)!.id)
    expect(error.details.expected).toBe(missing.startFrameNo)
  })

  it('refuses a damaged log of the chain, an empty one, and one that is not what its name says', async () => {
    const { store, write } = await archived()
    const log = await write()
    await write()
    const object = store.logObjects.get(log.startFrameNo)!
    const good = object.bytes
    for (const at of [0, 20, 112, 200, good.length - 1]) {
      object.bytes = good.slice()
      flip(object.bytes, at)
      const error = await rejection(open(store))
      expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(CORRUPT|NOT_A_LOG)$/) })
      expect(error.message).toContain(object.id)
    }
    object.bytes = good.subarray(0, good.length - 1)
    await expectCode(open(store), 'ERR_CORRUPT')
    object.bytes = await (await Log.create(log.startFrameNo, { startChecksum: log.startChecksum })).bytes()
    await expectCode(open(store), 'ERR_LOG_GAP')
    object.bytes = await (await Log.create(0)).bytes()
    expect((await expectCode(open(store), 'ERR_CORRUPT')).message).toContain(object.id)
    object.bytes = good
    await open(store)
  })

  it('refuses a log of another history and of another page size', async () => {
    const { store, write } = await archived()
    const log = await write()
    const other = await openPrimary(numbers.replace('numbers', 'letters'))
    await other.primary.run('INSERT INTO letters VALUES (1, NULL)')
    await other.save()
    const foreign = other.logs.at(-1)!
    expect(foreign.startFrameNo).toBe(log.startFrameNo)
    store.put(stamped(await foreign.bytes(), 1))
    const lineage = await expectCode(open(store), 'ERR_LINEAGE')
    expect(lineage.message).toContain(store.logObjects.get(log.startFrameNo)!.id)

    const { logs: wide } = await openPrimary(numbers, { pageSize: 1024 })
    store.logObjects.clear()
    store.put(stamped(await wide[0]!.bytes(), 1))
    expect((await expectCode(open(store), 'ERR_PAGE_SIZE')).details).toMatchObject({
      expected: 4096,
      actual: 1024,
    })
  })

  it('goes on with a log of an older epoch that continues the chain', async () => {
    // Its primary claimed epoch 1, was paused, and looked at the history when epoch 2 had stored a log.
    const { store, write } = await archived()
    const [log, next] = [await write(), await write()]
    store.put(stamped(await log.bytes(), 2))
    store.put(stamped(await next.bytes(), 1))
    const { logs } = await open(store)
    expect(logs.slice(-2).map(({ epoch }) => epoch)).toEqual([2, 1])
  })

  it('passes over what an older primary stored late where a log had been pruned', async () => {
    const { source, store, write, snapshot } = await archived()
    const before = await write()
    // The older primary goes on from here with frames of its own.
    const fork = closedAfterTest(
      await closedAfterTest(await Replica.open(source.blank, source.logs)).intoPrimary(),
    )
    await fork.run('INSERT INTO numbers VALUES (-7, NULL)')
    for (let n = 0; n < 20; n++) await fork.run('INSERT INTO numbers VALUES (?, NULL)', [-100 - n])
    let late!: Log
    await fork.checkpoint((log) => {
      late = log
    })
    await store.claimEpoch()
    const pruned = await write()
    expect(pruned.startFrameNo).toBe(before.nextFrameNo)
    const newest = await snapshot()
    expect(late.nextFrameNo).toBeGreaterThan(newest.lastFrameNo! + 1)
    await store.remove([
      store.snapshotObjects.get(-1)!,
      ...[...store.logObjects.values()].filter(({ startFrameNo }) => startFrameNo <= pruned.startFrameNo),
    ])
    store.put(stamped(await late.bytes(), 1))
    // Without and with logs behind the snapshot.
    expect(await restoredAt(store)).toBe(newest.lastFrameNo)
    const after = await write()
    expect(await restoredAt(store)).toBe(after.lastFrameNo)
    await store.remove([store.logObjects.get(late.startFrameNo)!])
    expect(await restoredAt(store)).toBe(after.lastFrameNo)
  })

  it('finds the log that covers the snapshot behind leftovers of compaction', async () => {
    const { source, store, write, snapshot } = await archived()
    const logs = [await write(), await write(), await write()]
    const merged = await Log.from(await logs[0]!.bytes())
    for (const log of logs.slice(1)) {
      const frames = []
      for await (const frame of log.frames()) frames.push(frame)
      await merged.pushFrames(frames)
    }
    const newest = await snapshot()
    const last = await write()
    const frames = []
    for await (const frame of last.frames()) frames.push(frame)
    await merged.pushFrames(frames)
    store.put(stamped(await merged.bytes(), 1))
    for (const log of [logs[2]!, last]) store.logObjects.delete(log.startFrameNo)
    const history = await open(store)
    expect(history.snapshot.lastFrameNo).toBe(newest.lastFrameNo)
    expect(history.logs.map((log) => log.startFrameNo)).toEqual([merged.startFrameNo])
    expect(await restoredAt(store)).toBe(source.primary.lastFrameNo)
  })

  it('plans again when a log is pruned while it is read', async () => {
    const { source, store, write, snapshot } = await archived()
    await write()
    await write()
    let isPruned = false
    store.before = async (call) => {
      if (call !== 'readLog' || isPruned) return
      isPruned = true
      await snapshot()
      store.logObjects.clear()
      await store.remove([store.snapshotObjects.get(-1)!])
    }
    expect(await restoredAt(store)).toBe(source.primary.lastFrameNo)
    expect(isPruned).toBe(true)
  })

  it('gives up when it is aborted, and says what the store says when it fails', async () => {
    const { store, write } = await archived()
    await write()
    const controller = new AbortController()
    store.before = (call) => {
      if (call === 'readLog') controller.abort(new Error('enough'))
    }
    expect((await rejection(open(store, { signal: controller.signal }))).message).toBe('enough')
    store.before = (call) => {
      if (call === 'logs') throw new Error('no network')
    }
    expect((await rejection(open(store))).message).toBe('no network')
  })
})
