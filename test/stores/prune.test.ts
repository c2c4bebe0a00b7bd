import { readdirSync, truncateSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, type Log, prune, Replica } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, openPrimary, type TestPrimary } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'

const schema = 'CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL)'

/** A store that a primary was saved to, in steps of a log each, with snapshots where the test wants them. */
class Kept {
  readonly folder = temporaryFolder()
  readonly store = closedAfterTest(new FileStore(this.folder))
  readonly source: TestPrimary

  private constructor(source: TestPrimary) {
    this.source = source
  }

  /** 's' in `steps` is a snapshot, 'l' a log of three rows, 'w' three rows that are saved by the log after. */
  static async make(steps: string): Promise<Kept> {
    const kept = new Kept(await openPrimary())
    await kept.store.claimEpoch('test')
    await kept.source.primary.withConnection((connection) => connection.exec(schema))
    for (const step of steps) await kept.#step(step)
    return kept
  }

  async #step(step: string): Promise<void> {
    const { primary } = this.source
    if (step === 's') {
      const snapshot = await primary.snapshot(join(temporaryFolder(), 'now.db'))
      await this.store.putSnapshot(snapshot)
      return
    }
    for (let row = 0; row < 3; row += 1) await primary.run('INSERT INTO t (text) VALUES (?)', ['text'])
    if (step === 'l') await primary.checkpoint(async (log) => void (await this.store.append(log, 1)))
  }

  /** Fails unless what the store holds gives the primary's bytes. */
  async expectWhole(): Promise<void> {
    const newest = (await this.store.snapshots()).at(-1)!
    const snapshot = closedAfterTest(await this.store.readSnapshot(newest))
    const from = snapshot.lastFrameNo === undefined ? 0 : snapshot.lastFrameNo + 1
    const logs: Log[] = []
    for (const stored of await this.store.logs({ from }))
      logs.push(closedAfterTest(await this.store.readLog(stored)))
    await expectSameBytes(closedAfterTest(await Replica.open(snapshot, logs)), this.source.primary)
  }

  names(): Record<string, string[]> {
    const list = (kind: string) => readdirSync(join(this.folder, kind)).sort()
    return { logs: list('logs'), snapshots: list('snapshots') }
  }

  /** As if the first `count` snapshots had been stored so long ago. */
  ageSnapshots(count: number, ageMs: number): void {
    const then = new Date(Date.now() - ageMs)
    for (const name of this.names().snapshots!.slice(0, count))
      utimesSync(join(this.folder, 'snapshots', name), then, then)
  }
}

describe('prune', () => {
  it('keeps the newest snapshots that it is told to, and the logs behind them', async () => {
    const kept = await Kept.make('slslsll')
    const before = kept.names()
    const result = await prune(kept.store, { keepSnapshots: 1 })
    const { logs, snapshots } = kept.names()
    expect(snapshots).toEqual(before.snapshots!.slice(-1))
    expect(logs).toEqual(before.logs!.slice(-2))
    expect(result).toMatchObject({ snapshotCount: 2, logCount: before.logs!.length - 2 })
    expect(result.byteCount).toBeGreaterThan(0)
    await kept.expectWhole()
  })

  it('keeps two snapshots when it is not told how many, and does nothing the second time', async () => {
    const kept = await Kept.make('slslsl')
    const before = kept.names()
    await prune(kept.store, { keepMs: 0 })
    expect(kept.names().snapshots).toEqual(before.snapshots!.slice(-2))
    expect(await prune(kept.store, { keepMs: 0 })).toEqual({ snapshotCount: 0, logCount: 0, byteCount: 0 })
    await kept.expectWhole()
  })

  it('keeps a log that the anchor stands in the midst of', async () => {
    const kept = await Kept.make('slwsl')
    const before = kept.names()
    await prune(kept.store, { keepSnapshots: 1 })
    expect(kept.names().logs).toEqual(before.logs!.slice(-1))
    await kept.expectWhole()
  })

  it('keeps it too when a late log that is in no chain begins before the anchor', async () => {
    const kept = await Kept.make('slwsl')
    const needed = (await kept.store.logs()).at(-1)!
    const late = await openPrimary(schema)
    const stray = await lateLog(late, needed.startFrameNo + 1)
    await kept.store.append(stray, 1)
    await prune(kept.store, { keepSnapshots: 1 })
    expect((await kept.store.logs()).map(({ id }) => id)).toContain(needed.id)
  })

  it('keeps what a restore within the window needs', async () => {
    const kept = await Kept.make('slslsl')
    kept.ageSnapshots(2, 60_000)
    const before = kept.names()
    await prune(kept.store, { keepMs: 30_000, keepSnapshots: 1 })
    expect(kept.names().snapshots).toEqual(before.snapshots!.slice(1))
    await prune(kept.store, { keepMs: 3_600_000, keepSnapshots: 1 })
    expect(kept.names().snapshots).toEqual(before.snapshots!.slice(1))
    await kept.expectWhole()
  })

  it('removes nothing that stands before a damaged snapshot', async () => {
    const kept = await Kept.make('slsl')
    const before = kept.names()
    truncateSync(join(kept.folder, 'snapshots', before.snapshots!.at(-1)!), 1000)
    expect(await prune(kept.store, { keepSnapshots: 1 })).toMatchObject({ snapshotCount: 0 })
    expect(kept.names()).toEqual(before)
  })

  it('leaves a store without snapshots as it is', async () => {
    const kept = await Kept.make('ll')
    const before = kept.names()
    await prune(kept.store, { keepSnapshots: 1 })
    expect(kept.names()).toEqual(before)
  })

  it.each([
    [{ keepMs: -1 }, /"keepMs" of prune must be an integer from 0/],
    [{ keepSnapshots: 0 }, /"keepSnapshots" of prune must be a positive integer/],
    [{ keep: 1 }, /Unknown option "keep" of prune/],
    [{}, /^prune has to be told what to keep: \{ keepMs \},/],
    [undefined, /^prune has to be told what to keep: /],
    [{ signal: AbortSignal.timeout(1) }, /^prune has to be told what to keep: /],
  ])('refuses %o', async (options, message) => {
    const { store, names } = await Kept.make('slslsl').then((kept) => ({
      store: kept.store,
      names: () => kept.names(),
    }))
    const before = names()
    await expect(prune(store, options as never)).rejects.toThrow(message)
    expect(names()).toEqual(before)
  })

  it('a primary that was paused appends where something was pruned: that is no part of the history', async () => {
    const kept = await Kept.make('slsl')
    const first = (await kept.store.logs())[0]!
    const log = closedAfterTest(await kept.store.readLog(first))
    await kept.store.claimEpoch('newer')
    await prune(kept.store, { keepSnapshots: 1 })
    await kept.store.append(log, 1)
    expect(await kept.store.currentEpoch()).toBe(2)
    await kept.expectWhole()
    await prune(kept.store, { keepSnapshots: 1 })
    expect((await kept.store.logs()).map(({ startFrameNo }) => startFrameNo)).not.toContain(
      first.startFrameNo,
    )
  })
})

/** A log of another primary that begins at the frame. */
async function lateLog({ primary }: TestPrimary, startFrameNo: number): Promise<Log> {
  while ((primary.lastFrameNo ?? -1) < startFrameNo - 1) {
    await primary.run('INSERT INTO t (text) VALUES (?)', ['late'])
    await primary.checkpoint(() => {})
  }
  let late: Log | undefined
  await primary.run('INSERT INTO t (text) VALUES (?)', ['late'])
  await primary.checkpoint((log) => {
    late = log
  })
  return closedAfterTest(late!)
}
