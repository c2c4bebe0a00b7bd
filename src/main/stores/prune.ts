/** Removes what no restore needs any more. */
import { MylibsqlError } from '../../protocol/errors.js'
import {
  checkNonNegativeInteger,
  checkOptions,
  checkPositiveInteger,
  checkSignal,
  optional,
  withDefault,
} from '../arguments.js'
import type { CallLimits, Store, StoredLog, StoredSnapshot } from './store.js'

export interface PruneOptions extends CallLimits {
  /** A restore to any moment of the last `keepMs` milliseconds stays possible. Default 0: only to the newest state. */
  readonly keepMs?: number
  /** So many of the newest snapshots stay, and the logs behind them. Default 2: when one is damaged there is another. */
  readonly keepSnapshots?: number
}

export interface PruneResult {
  readonly snapshotCount: number
  readonly logCount: number
  /** Bytes of what was removed, as it was stored. */
  readonly byteCount: number
}

const keepSnapshotsDefault = 2
/** What says that an object cannot be relied on, as against a store that does not answer. */
const unusable = new Set<unknown>([
  'ERR_NOT_FOUND',
  'ERR_NOT_A_SNAPSHOT',
  'ERR_NOT_A_LOG',
  'ERR_CORRUPT',
  'ERR_VERSION',
])

/**
 * Removes snapshots and logs that neither the newest state nor a restore within the last `keepMs` needs.
 *
 * What stays begins with one snapshot, the anchor: it is at least as old as the window, `keepSnapshots` count from it,
 * and it was read and found whole before anything older goes; a damaged one makes the anchor an older one. Logs that
 * end before the anchor go, logs behind it stay. Epochs stay for ever: a primary that was paused and appends where
 * something was pruned is not acknowledged, because its epoch is no longer the newest, and what it wrote there is in no
 * chain (the next prune removes it). Safe beside a running primary, followers and other prunes; interrupted, it leaves at
 * most logs that the next one removes. A store without snapshots is left as it is.
 *
 * @example
 * await prune(store, { keepMs: 7 * 24 * 3600 * 1000, keepSnapshots: 2 })
 * @throws ERR_STORE, the signal's reason
 */
export async function prune(store: Store, options: PruneOptions = {}): Promise<PruneResult> {
  const { keepMs, keepSnapshots, signal } = checkOptions(
    options,
    {
      keepMs: withDefault(checkNonNegativeInteger, 0),
      keepSnapshots: withDefault(checkPositiveInteger, keepSnapshotsDefault),
      signal: optional(checkSignal),
    },
    'prune',
  )
  const limits: CallLimits = signal === undefined ? {} : { signal }
  const snapshots = await store.snapshots(limits)
  const windowStartMs = Date.now() - keepMs
  const oldEnough = snapshots.map(({ storedAt }) => storedAt.getTime() <= windowStartMs).lastIndexOf(true)
  const anchorAt = await usableAt(
    store,
    snapshots,
    Math.min(oldEnough, snapshots.length - keepSnapshots),
    limits,
  )
  const anchor = snapshots[anchorAt]
  if (anchor === undefined) return { snapshotCount: 0, logCount: 0, byteCount: 0 }

  const oldSnapshots = snapshots.slice(0, anchorAt)
  // Snapshots first: one whose logs are gone would promise what cannot be restored.
  await store.remove(oldSnapshots, limits)
  const oldLogs = await logsBefore(store, anchor, limits)
  await store.remove(oldLogs, limits)
  const byteCount = [...oldSnapshots, ...oldLogs].reduce((sum, { byteLength }) => sum + byteLength, 0)
  return { snapshotCount: oldSnapshots.length, logCount: oldLogs.length, byteCount }
}

/** The newest snapshot at or before the index that can be read and is whole; -1 when there is none. */
async function usableAt(
  store: Store,
  snapshots: readonly StoredSnapshot[],
  from: number,
  limits: CallLimits,
): Promise<number> {
  for (let index = from; index >= 0; index -= 1) {
    const snapshot = await unlessUnusable(() => store.readSnapshot(snapshots[index]!, limits))
    await snapshot?.close()
    if (snapshot !== undefined) return index
  }
  return -1
}

/**
 * Those that end before the anchor does. A log ends where the next one begins, so the last one always stays; but a log
 * that is in no chain can begin in the midst of one that is needed, so where the last of them ends is looked up.
 */
async function logsBefore(
  store: Store,
  { lastFrameNo }: StoredSnapshot,
  limits: CallLimits,
): Promise<StoredLog[]> {
  const neededFrameNo = lastFrameNo === undefined ? 0 : lastFrameNo + 1
  const logs = await store.logs(limits)
  const old = logs.filter((_, index) => {
    const next = logs[index + 1]
    return next !== undefined && next.startFrameNo <= neededFrameNo
  })
  while (old.length > 0 && !(await endsBefore(store, old.at(-1)!, neededFrameNo, limits))) old.pop()
  return old
}

async function endsBefore(
  store: Store,
  stored: StoredLog,
  neededFrameNo: number,
  limits: CallLimits,
): Promise<boolean> {
  const log = await unlessUnusable(() => store.readLog(stored, limits))
  await log?.close()
  return log !== undefined && log.nextFrameNo <= neededFrameNo
}

/** Undefined when the object is damaged or gone. */
async function unlessUnusable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof MylibsqlError && unusable.has(error.code)) return undefined
    throw error
  }
}
