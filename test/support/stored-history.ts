/** The history that a store holds, read whole. */
import type { Log, MylibsqlError, Snapshot, Store } from 'mylibsql'
import { chooseHistory, type HistoryOptions, withProblems } from '../../dist/main/stores/history.js'

export interface StoredLogs {
  readonly snapshot: Snapshot
  /** In order, each behind the one before. */
  readonly logs: readonly Log[]
  readonly problems: readonly MylibsqlError[]
  close(): Promise<void>
}

/** The newest usable snapshot at or before the target, and the logs behind it. */
export async function readHistory(store: Store, options: HistoryOptions = {}): Promise<StoredLogs> {
  const { snapshot, chain, problems } = await chooseHistory(store, options)
  const logs: Log[] = []
  const close = async () => {
    await Promise.all([snapshot, ...logs].map((each) => each.close()))
  }
  try {
    for (let log = await chain.next(); log !== undefined; log = await chain.next()) logs.push(log)
    return { snapshot, logs, problems, close }
  } catch (error) {
    await close()
    throw withProblems(error, problems)
  } finally {
    await chain.close()
  }
}
