import { join } from 'node:path'
import { compact, Log, Primary, prune, Replica, restore, type Snapshot, type Store } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import {
  closedAfterTest,
  expectSameBytes,
  integrityCheck,
  openPrimary,
  pagesOf,
} from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { MemoryStore, stamped } from '../support/memory-store.js'
import { readHistory } from '../support/stored-history.js'

const second = 1000
/** Long ago. */
const beginMs = 1_600_000_000_000

/** A primary whose logs are stored by hand, one for each second. */
class Compacted {
  readonly store = new MemoryStore()
  readonly #source: Awaited<ReturnType<typeof openPrimary>>
  #count = 0
  #epoch = 0

  private constructor(source: Awaited<ReturnType<typeof openPrimary>>) {
    this.#source = source
  }

  static async open(logCount: number): Promise<Compacted> {
    const made = new Compacted(await openPrimary())
    await made.store.putSnapshot(made.#source.blank)
    await made.claim()
    await made.primary.run('CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, text TEXT)')
    await made.write(logCount)
    return made
  }

  get primary(): Primary {
    return this.#source.primary
  }

  /** From now on logs are of a newer epoch. */
  async claim(): Promise<void> {
    this.#epoch = await this.store.claimEpoch()
  }

  async write(logCount: number): Promise<Log[]> {
    const logs: Log[] = []
    for (let index = 0; index < logCount; index++) {
      this.#count += 1
      const text = 'x'.repeat(1000)
      await this.primary.run('INSERT OR REPLACE INTO t VALUES (?, ?, ?)', [
        this.#count % 5,
        this.#count,
        text,
      ])
      await this.primary.run('UPDATE t SET n = n + 1')
      await this.#source.save()
      const bytes = await this.#source.logs.at(-1)!.bytes()
      logs.push(await Log.from(stamped(bytes, this.#epoch, beginMs + this.#count * second)))
      await this.append(logs.at(-1)!, this.#epoch)
    }
    return logs
  }

  append(log: Log, epoch: number): Promise<unknown> {
    return this.store.append(log, epoch)
  }

  async snapshot(isStored = true): Promise<Snapshot> {
    const snapshot = await this.primary.snapshot(join(temporaryFolder(), 'now.db'))
    if (isStored) await this.store.putSnapshot(snapshot)
    return snapshot
  }

  /** Merges spans of four seconds. */
  compact(options: Parameters<typeof compact>[1] = {}) {
    return compact(this.store as unknown as Store, { keepMs: 0, spanMs: 4 * second, ...options })
  }

  ranges(): Promise<string[]> {
    const read = async (bytes: Uint8Array) => {
      const log = await Log.from(bytes.slice())
      return `${log.startFrameNo}-${log.nextFrameNo - 1}${log.isMerged ? ' merged' : ''}`
    }
    const list = [...this.store.logObjects.values()].sort((a, b) => a.startFrameNo - b.startFrameNo)
    return Promise.all(list.map(({ bytes }) => read(bytes)))
  }

  /** Fails unless whoever opens the store gets what the primary has. */
  async expectWhole(): Promise<void> {
    const replica = await Replica.follow(this.store as unknown as Store)
    await expectSameBytes(replica, this.primary)
    await replica.close()
    const target = join(temporaryFolder(), 'restored.db')
    const { frameNo } = await restore(this.store as unknown as Store, target)
    expect(frameNo).toBe(this.primary.lastFrameNo)
    integrityCheck(target)
  }
}

describe('compact', () => {
  it('merges the logs of each span that is over, once', async () => {
    const made = await Compacted.open(14)
    const before = await made.ranges()
    const result = await made.compact()
    const after = await made.ranges()
    // Seconds 1 to 14, in spans from 0 on; the newest log stays.
    expect(after).toHaveLength(4 + 1)
    expect(after.at(-1)).toBe(before.at(-1))
    expect(after.slice(0, -1).every((range) => range.endsWith('merged'))).toBe(true)
    expect(result).toMatchObject({ mergedCount: 4, removedCount: 13 - 4 })
    expect(result.byteCountAfter).toBeLessThan(result.byteCountBefore / 2)
    await made.expectWhole()
    expect(await made.compact()).toMatchObject({ mergedCount: 0, removedCount: 0 })
    expect(await made.ranges()).toEqual(after)
    // A larger span merges them again.
    const progress: number[] = []
    const onProgress = ({ bytesDone }: { bytesDone: number }) => progress.push(bytesDone)
    await made.compact({ spanMs: 1000 * second, onProgress })
    expect(await made.ranges()).toHaveLength(2)
    expect(progress).toHaveLength(1)
    await made.expectWhole()
  })

  it('leaves young logs, and makes no log larger than it is told', async () => {
    const made = await Compacted.open(12)
    const before = await made.ranges()
    await made.compact({ keepMs: Date.now() - beginMs - 6 * second })
    expect((await made.ranges()).slice(-8)).toEqual(before.slice(-8))
    expect(await made.ranges()).toHaveLength(1 + 9)
    await made.compact({ spanMs: 1000 * second, maxBytes: 1000 })
    expect(await made.ranges()).toHaveLength(1 + 9)
    await made.expectWhole()
  })

  it('merges nothing across primaries, and nothing before the newest one has stored a log', async () => {
    const made = await Compacted.open(3)
    await made.claim()
    expect(await made.compact({ spanMs: 1000 * second })).toMatchObject({ mergedCount: 0 })
    await made.write(3)
    await made.compact({ spanMs: 1000 * second })
    expect(await made.ranges()).toHaveLength(3)
    await made.expectWhole()
  })

  it('leaves a store as it is that is damaged, has a hole, or holds what is no part of its history', async () => {
    const spoilt: ((made: Compacted) => Promise<unknown>)[] = [
      async ({ store }) => store.logObjects.delete([...store.logObjects.keys()][3]!),
      async ({ store }) => {
        const object = [...store.logObjects.values()][3]!
        store.put(object.bytes.slice().fill(0, 300, 310), object.startFrameNo)
      },
      async (made) => {
        const [start] = [...made.store.logObjects.keys()].slice(3)
        const other = await openPrimary('CREATE TABLE t (n)')
        await other.save()
        const log = await Log.create(start! + 1, { pageSize: 4096, startChecksum: 5n })
        for await (const frame of other.logs[0]!.frames()) void frame
        await log.close()
        const bytes = await other.logs[0]!.bytes()
        made.store.put(stamped(bytes, 1), start! + 1)
      },
    ]
    const codes = ['ERR_LOG_GAP', 'ERR_CORRUPT', 'ERR_CORRUPT']
    for (const [index, spoil] of spoilt.entries()) {
      const made = await Compacted.open(10)
      await spoil(made)
      const before = [...made.store.logObjects.values()]
      const error = await expectCode(made.compact(), codes[index] as never)
      expect(error.message).toContain('logs/')
      expect([...made.store.logObjects.values()]).toEqual(before)
    }
  })

  it('ends what a call before began, also when it was cut off between replacing and removing', async () => {
    const made = await Compacted.open(10)
    const remove = made.store.remove.bind(made.store)
    made.store.remove = () => Promise.reject(new Error('cut off'))
    expect((await rejection(made.compact())).message).toBe('cut off')
    await made.expectWhole()
    made.store.remove = remove
    // Some were removed, some not: whatever there is, the history is whole.
    for (const start of [...made.store.logObjects.keys()].slice(1, 3)) made.store.logObjects.delete(start)
    await made.expectWhole()
    expect(await made.compact()).toMatchObject({ mergedCount: 0 })
    expect((await made.ranges()).slice(0, -1).every((range) => range.endsWith('merged'))).toBe(true)
    await made.expectWhole()
  })

  it('gives up when it is told to', async () => {
    const made = await Compacted.open(10)
    const controller = new AbortController()
    const reason = new Error('enough')
    const onProgress = () => controller.abort(reason)
    expect(await rejection(made.compact({ signal: controller.signal, onProgress }))).toBe(reason)
    await made.expectWhole()
    expect(await rejection(made.compact({ signal: AbortSignal.abort(reason) }))).toBe(reason)
  })
})

describe('a compacted history', () => {
  it('is restored as of where logs were merged to, and of snapshots; elsewhere it is told what can be', async () => {
    const made = await Compacted.open(6)
    const snapshot = await made.snapshot()
    const pages = await pagesOf(snapshot)
    await made.write(6)
    await made.compact({ spanMs: 1000 * second })
    const at = async (frameNo: number) => {
      const target = join(temporaryFolder(), 'at.db')
      return { ...(await restore(made.store as unknown as Store, target, { at: frameNo })), target }
    }
    const last = snapshot.lastFrameNo!
    expect((await at(last)).frameNo).toBe(last)
    const error = await expectCode(at(last + 1), 'ERR_NOT_FOUND')
    const end = Number(/frame (\d+)$/.exec(error.message)![1])
    expect(error.message).toContain(`after frame ${last}`)
    expect((await at(end)).frameNo).toBe(end)
    expect(pages.length).toBeGreaterThan(0)
    // From the snapshot, which is at a boundary, to the end.
    const history = await readHistory(made.store)
    expect(history.snapshot.lastFrameNo).toBe(last)
    expect(history.problems).toEqual([])
    await history.close()
    await made.expectWhole()
  })

  it('goes on from an older snapshot than one that was stored after its logs were merged, and is pruned up to that', async () => {
    const made = await Compacted.open(3)
    const late = await made.snapshot(false)
    await made.write(4)
    // Not where a log begins.
    await made.primary.run('UPDATE t SET n = 0')
    const between = await made.snapshot(false)
    await made.write(4)
    await made.compact({ spanMs: 1000 * second })
    await made.store.putSnapshot(late)
    await made.expectWhole()
    expect((await readHistory(made.store)).problems).toEqual([])
    await made.store.putSnapshot(between)
    const history = await readHistory(made.store)
    expect(history.snapshot.lastFrameNo).toBe(late.lastFrameNo)
    expect(history.problems[0]).toMatchObject({ code: 'ERR_LOG_GAP' })
    expect(history.problems[0]!.message).toContain('merged')
    await history.close()
    await made.expectWhole()
    await prune(made.store as unknown as Store, { keepSnapshots: 1 })
    expect([...made.store.snapshotObjects.keys()]).toEqual([late.lastFrameNo, between.lastFrameNo])
    await made.expectWhole()
  })

  it('is not mistaken for a late log, at a place that became free', async () => {
    const made = await Compacted.open(4)
    const snapshot = await made.snapshot()
    const paused = await Primary.open(snapshot)
    const [next] = await made.write(1)
    await made.claim()
    await made.write(4)
    // The same start frame and the same history before it, but of an older epoch, and not what came then.
    const stray: Log[] = []
    await paused.run('DELETE FROM t')
    await paused.checkpoint((log) => void stray.push(log))
    await paused.close()
    expect(stray[0]!.startFrameNo).toBe(next!.startFrameNo)
    // Logs of the first epoch are merged, with the one at that place.
    await made.compact({ spanMs: 1000 * second })
    expect([...made.store.logObjects.keys()]).not.toContain(next!.startFrameNo)
    await made.append(stray[0]!, 1)
    await made.expectWhole()
    const replica = closedAfterTest(await Replica.follow(made.store as unknown as Store, { from: snapshot }))
    await replica.waitFor(made.primary.lastFrameNo!)
    await expectSameBytes(replica, made.primary)
    const { removedCount } = await made.compact()
    expect(removedCount).toBe(1)
    await made.expectWhole()
  })

  it('is followed from every position that a log ended at', async () => {
    const made = await Compacted.open(2)
    const replicas: Replica[] = []
    for (let round = 0; round < 4; round++) {
      const snapshot = await made.snapshot(false)
      replicas.push(closedAfterTest(await Replica.open(snapshot)))
      await made.write(2)
    }
    await made.compact({ spanMs: 1000 * second })
    const logs = (await readHistory(made.store)).logs
    for (const replica of replicas) {
      for (const log of logs) await replica.replicate(log)
      await expectSameBytes(replica, made.primary)
    }
  })

  it('is read while it is compacted: what is removed meanwhile is in another log', async () => {
    const made = await Compacted.open(12)
    let isCompacted = false
    const starts = [...made.store.logObjects.keys()]
    made.store.before = async (call, object) => {
      if (call !== 'readLog' || isCompacted || Number(object?.id.slice(-16)) !== starts[5]) return
      isCompacted = true
      await made.compact()
    }
    await made.expectWhole()
    expect(isCompacted).toBe(true)
  })
})
