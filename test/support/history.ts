/** A primary that a test saves to a store by hand, log by log. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Log, Snapshot, Store, StoredSnapshot } from 'mylibsql'
import { openPrimary, type TestPrimary } from './database.js'
import { temporaryFolder } from './folder.js'

export const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'

export interface StoredHistory<S> {
  readonly source: TestPrimary
  readonly store: S
  /** Some transactions in a log, which is stored. */
  write(options?: { readonly transactions?: number; readonly rows?: number }): Promise<Log>
  /** Of the primary as it is, stored. */
  snapshot(): Promise<Snapshot>
  /** Removes what a store that has this snapshot needs no more. */
  prune(snapshot: Snapshot): Promise<void>
}

type Writable = Pick<Store, 'append' | 'putSnapshot' | 'claimEpoch' | 'currentEpoch' | 'remove' | 'logs'> & {
  snapshots(): Promise<readonly StoredSnapshot[]>
}

let rowCount = 0

export async function startHistory<S extends Writable>(store: S): Promise<StoredHistory<S>> {
  const source = await openPrimary(numbers)
  const epoch = () => store.currentEpoch()
  await store.putSnapshot(source.blank)
  await store.claimEpoch('test')
  await store.append(source.logs[0]!, await epoch())
  const folder = temporaryFolder()
  return {
    source,
    store,
    write: async ({ transactions = 2, rows = 1 } = {}) => {
      for (let count = 0; count < transactions; count++) {
        const statements = Array.from({ length: rows }, () => ({
          sql: 'INSERT INTO numbers VALUES (?, ?)',
          params: [rowCount++, 'x'.repeat(3000)],
        }))
        await source.primary.batch(statements)
      }
      await source.save()
      const log = source.logs.at(-1)!
      await store.append(log, await epoch())
      return log
    },
    snapshot: async () => {
      const snapshot = await source.primary.snapshot(join(folder, `${randomUUID()}.db`))
      await store.putSnapshot(snapshot)
      return snapshot
    },
    prune: async (snapshot) => {
      const frameNo = snapshot.lastFrameNo!
      const snapshots = await store.snapshots()
      const logs = await store.logs()
      await store.remove(snapshots.filter(({ lastFrameNo }) => (lastFrameNo ?? -1) < frameNo))
      await store.remove(logs.filter(({ startFrameNo }) => startFrameNo <= frameNo))
    },
  }
}
