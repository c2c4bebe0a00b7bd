/** Primaries and replicas are opened from what a store holds, and what it holds may change, or be far away, meanwhile. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import {
  type CallLimits,
  FileStore,
  type Log,
  Primary,
  Replica,
  restore,
  Snapshot,
  type Store,
  type StoredLog,
} from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, integrityCheck } from '../support/database.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { startHistory } from '../support/history.js'
import { MemoryStore, stamped } from '../support/memory-store.js'

const texts = 'SELECT text FROM numbers ORDER BY n'

/** The texts that each of the three has. */
const openings: [string, (store: Store) => Promise<unknown[]>][] = [
  ['a primary', async (store) => closedAfterTest(await Primary.open({ store })).all(texts)],
  ['a replica', async (store) => closedAfterTest(await Replica.follow(store)).all(texts)],
  [
    'a restored file',
    async (store) => {
      const path = join(temporaryFolder(), 'restored.db')
      await restore(store, path)
      integrityCheck(path)
      const database = closedAfterTest(new Database(path, { readonly: true }))
      return database.prepare(texts).all()
    },
  ],
]

describe.each(openings)('%s', (_, textsOf) => {
  it('has nothing of a fenced primary whose log came late, where one was pruned meanwhile', async () => {
    const store = new MemoryStore()
    const { source, write } = await startHistory(store)
    const [first] = source.logs
    // Paused before its append, which goes on behind the first log.
    const fenced = closedAfterTest(await Primary.open(source.blank, [first!]))
    for (let n = 0; n < 9; n++) await fenced.run("INSERT INTO numbers VALUES (?, 'fenced')", [n])
    let bytes: Uint8Array | undefined
    await fenced.checkpoint(async (log) => {
      bytes = await log.bytes()
    })
    await store.claimEpoch()
    const second = await write({ transactions: 1 })
    store.before = async (call, object) => {
      if (call !== 'readLog' || object!.id !== store.logObjects.get(first!.startFrameNo)!.id) return
      store.before = () => {}
      await store.putSnapshot(await source.primary.snapshot(join(temporaryFolder(), 'newer.db')))
      await store.remove([
        store.snapshotObjects.get(-1)!,
        store.logObjects.get(first!.startFrameNo)!,
        store.logObjects.get(second.startFrameNo)!,
      ])
      store.put(stamped(bytes!, 1))
    }
    expect(await textsOf(store)).toEqual(await source.primary.all(texts))
  })

  it.each(['by nobody', 'in vain'])('reads logs ahead whose bytes are asked for %s', async (when) => {
    let readingCount = 0
    let readingMax = 0
    class FarStore extends MemoryStore {
      readonly fencesAppends = true
      logLocation() {
        return when === 'by nobody' ? undefined : Promise.resolve(undefined)
      }
      override async readLog(stored: StoredLog, limits?: CallLimits): Promise<Log> {
        readingCount += 1
        readingMax = Math.max(readingMax, readingCount)
        await delay(20)
        readingCount -= 1
        return super.readLog(stored, limits)
      }
    }
    const store = new FarStore()
    const { source, write } = await startHistory(store)
    for (let n = 0; n < 12; n++) await write({ transactions: 1 })
    expect(await textsOf(store)).toEqual(await source.primary.all(texts))
    expect(readingMax).toBeGreaterThan(4)
  })
})

it('a working file of an earlier opening stays until what replaces it is there', async () => {
  const path = join(temporaryFolder(), 'working.db')
  const store = new MemoryStore()
  const { source, write } = await startHistory(store)
  await write()
  await (await Replica.follow(store, { path })).close()
  const before = readFileSync(path)
  const hole = await write()
  await write()
  store.before = (call) => {
    if (call === 'readLog') expect(readFileSync(path).equals(before)).toBe(true)
  }
  await store.remove([store.logObjects.get(hole.startFrameNo)!])
  await expectCode(Replica.follow(store, { path }), 'ERR_LOG_GAP')
  await expectCode(Primary.open({ store, path }), 'ERR_LOG_GAP')
  expect(readFileSync(path).equals(before)).toBe(true)
  expect(existsSync(`${path}-restoring`)).toBe(false)
  store.before = () => {}
  store.put(stamped(await hole.bytes(), 1))
  const replica = closedAfterTest(await Replica.follow(store, { path }))
  await expectSameBytes(source.primary, replica)
})

describe('Primary.open({ store, create: true })', () => {
  it.each(['has no folder yet', 'is an empty folder'])(
    'begins the history of a store that %s, and goes on with it',
    async (which) => {
      const folder = which === 'is an empty folder' ? temporaryFolder() : join(temporaryFolder(), 'store')
      const open = async () => {
        const store = closedAfterTest(new FileStore(folder))
        return closedAfterTest(await Primary.open({ store, create: true }))
      }
      const primary = await open()
      await primary.run('CREATE TABLE t (a)')
      await (await primary.run('INSERT INTO t VALUES (1)')).durable()
      await primary.close()
      const again = await open()
      expect(await again.all('SELECT a FROM t')).toEqual([{ a: 1 }])
      const replica = closedAfterTest(await Replica.follow(new FileStore(folder)))
      expect(await replica.all('SELECT a FROM t')).toEqual([{ a: 1 }])
      await expectSameBytes(again, replica)
    },
  )

  it('by several at once: one is left, and one history', async () => {
    const folder = join(temporaryFolder(), 'store')
    const openings = Array.from({ length: 4 }, () =>
      Primary.open({ store: new FileStore(folder), create: true }),
    )
    const opened = (await Promise.allSettled(openings)).flatMap((outcome) => {
      if (outcome.status === 'fulfilled') return [closedAfterTest(outcome.value)]
      expect(outcome.reason).toMatchObject({ code: 'ERR_FENCED' })
      return []
    })
    const acks = await Promise.allSettled(
      opened.map(async (primary, index) => {
        await (await primary.run(`CREATE TABLE t${index} (a)`)).durable()
        return index
      }),
    )
    const durable = acks.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    expect(durable).toHaveLength(1)
    const replica = closedAfterTest(await Replica.follow(new FileStore(folder)))
    const tables = await replica.all("SELECT name FROM sqlite_schema WHERE type = 'table'")
    expect(tables).toEqual([{ name: `t${durable[0]}` }])
  })

  it('begins nothing where logs are left of a history, nor in a store that may not be made', async () => {
    const store = new MemoryStore()
    await startHistory(store)
    store.snapshotObjects.clear()
    await expectCode(Primary.open({ store, create: true }), 'ERR_NOT_FOUND')
    expect(store.snapshotObjects.size).toBe(0)
    const folder = join(temporaryFolder(), 'store')
    const unmade = new FileStore(folder, { create: false })
    await expectCode(Primary.open({ store: unmade, create: true }), 'ERR_NOT_FOUND')
    expect(existsSync(folder)).toBe(false)
  })

  it('begins nothing where it is not asked to, and says how to', async () => {
    const folder = temporaryFolder()
    const error = await expectCode(Primary.open({ store: new FileStore(folder) }), 'ERR_NOT_FOUND')
    expect(error.message).toContain('Primary.open({ store, create: true })')
    const taken = Primary.open(await Snapshot.blank(), [], { create: true } as never)
    await expect(taken).rejects.toThrow(TypeError)
  })
})
