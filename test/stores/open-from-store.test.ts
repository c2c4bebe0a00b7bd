/** Primaries and replicas are opened from what a store holds, and what it holds may change, or be far away, meanwhile. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { type CallLimits, type Log, Primary, Replica, restore, type Store, type StoredLog } from 'mylibsql'
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
