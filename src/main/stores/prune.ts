/** Removes what no restore needs any more. */
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, nextFrameNoAfter } from '../../protocol/frame.js'
import type { Position } from '../../protocol/wire.js'
import { checkSignal, optional } from '../arguments.js'
import { Log } from '../log.js'
import { startOf } from './history.js'
import { HistoryChain } from './history-chain.js'
import { keyOf } from './log-facts.js'
import { canTake } from './log-positions.js'
import { checkPruneOptions, type PruneOptions } from './prune-options.js'
import type { CallLimits, Store, StoredLog, StoredSnapshot } from './store.js'
import { isUnusable } from './unusable.js'

export interface PruneResult {
  readonly snapshotCount: number
  readonly logCount: number
  /** Bytes of what was removed, as it was stored. */
  readonly byteCount: number
}

/**
 * Removes snapshots and logs that neither the newest state, nor a restore within the last `keepMs`, nor the newest
 * `keepSnapshots` (2) need. One of the two has to be given: { keepMs: 0 } keeps little more than the newest state.
 *
 * What stays begins with one snapshot, the anchor: it is at least as old as the window, `keepSnapshots` count from it,
 * and it was read and found whole, and the logs to go on from it, before anything older goes; otherwise the anchor is an
 * older one. A log that it stands in the midst of is given a boundary there (see `Log.merge`). Logs that end before the
 * anchor go, and are read for it; logs behind it stay. The newest epochs stay: a primary that was paused and appends where
 * something was pruned is not acknowledged, because its epoch is no longer the newest, and what it wrote there is in no
 * chain (the next prune removes it). Safe beside a running primary, followers and other prunes; interrupted, it leaves at
 * most logs that the next one removes. A store without snapshots is left as it is.
 *
 * @example
 * await prune(store, { keepMs: 7 * 24 * 3600 * 1000, keepSnapshots: 2 })
 * @throws TypeError without keepMs and keepSnapshots; ERR_NOT_FOUND without a store; ERR_STORE; the signal's reason
 */
export async function prune(store: Store, options: PruneOptions): Promise<PruneResult> {
  const { keepMs, keepSnapshots, signal } = checkPruneOptions(
    options,
    { signal: optional(checkSignal) },
    'prune',
  )
  const limits: CallLimits = signal === undefined ? {} : { signal }
  const snapshots = await store.snapshots(limits)
  const windowStartMs = Date.now() - keepMs
  const oldEnough = snapshots.map(({ storedAt }) => storedAt.getTime() <= windowStartMs).lastIndexOf(true)
  const logs = new PrunedLogs(store, limits)
  const newest = Math.min(oldEnough, snapshots.length - keepSnapshots)
  const anchorAt = await anchorFrom(store, snapshots, newest, logs, limits)
  const anchor = snapshots[anchorAt]
  if (anchor === undefined) return { snapshotCount: 0, logCount: 0, byteCount: 0 }

  const oldSnapshots = snapshots.slice(0, anchorAt)
  // Snapshots first: one whose logs are gone would promise what cannot be restored. Whoever compacts looks at them too.
  await store.remove(oldSnapshots, limits)
  const oldLogs = await logs.before(nextFrameNoAfter(anchor.lastFrameNo))
  await store.remove(oldLogs, limits)
  const byteCount = [...oldSnapshots, ...oldLogs].reduce((sum, { byteLength }) => sum + byteLength, 0)
  return { snapshotCount: oldSnapshots.length, logCount: oldLogs.length, byteCount }
}

/** The newest snapshot at or before the index that is whole, and that the logs go on from, for good; -1: there is none. */
async function anchorFrom(
  store: Store,
  snapshots: readonly StoredSnapshot[],
  from: number,
  logs: PrunedLogs,
  limits: CallLimits,
): Promise<number> {
  for (let index = from; index >= 0; index -= 1) {
    const snapshot = await unlessUnusable(() => store.readSnapshot(snapshots[index]!, limits))
    if (snapshot === undefined) continue
    const chain = new HistoryChain(store, startOf(snapshot), { ...limits, snapshots })
    try {
      if (!(await logs.pin(startOf(snapshot)))) continue
      const isGoingOn = await unlessUnusable(() => chain.begin().then(() => true))
      if (isGoingOn === true) return index
    } finally {
      await Promise.all([chain.close(), snapshot.close()])
    }
  }
  return -1
}

/** Logs before an anchor. Where each of them ends is read: merged ones, and such in no chain, go beyond the next one. */
class PrunedLogs {
  readonly #store: Store
  readonly #limits: CallLimits
  #ends = new Map<string, FrameNo | undefined>()

  constructor(store: Store, limits: CallLimits) {
    this.#store = store
    this.#limits = limits
  }

  /**
   * Whoever merges logs just now may not know of the snapshot, and nobody could go on from it then. So the log that it
   * stands in the midst of gets a boundary there, which every log keeps that takes its place. False when it cannot.
   */
  async pin(at: Position): Promise<boolean> {
    for (const isPinned of [false, true]) {
      const crossing = await this.#crossing(at)
      const plain: StoredLog[] = []
      for (const { stored, isMerged, canBeTaken } of crossing) {
        // A plain one that does not have the position is of no interest: it is in no chain.
        if (isMerged && !canBeTaken) return false
        if (!isMerged && canBeTaken) plain.push(stored)
      }
      if (plain.length === 0) return true
      if (isPinned) return false
      for (const stored of plain) await this.#giveBoundary(stored, at.nextFrameNo)
    }
    return false
  }

  /** Those that end there or before. The newest one stays, so that whoever lists logs sees that there are some. */
  async before(frameNo: FrameNo): Promise<StoredLog[]> {
    const logs = await this.#store.logs(this.#limits)
    const old: StoredLog[] = []
    for (const [index, stored] of logs.entries()) {
      const next = logs[index + 1]
      // The primary still adds to the file of an open one, and of those behind it.
      if (next === undefined || stored.startFrameNo >= frameNo || stored.isOpen === true) break
      const nextFrameNo = await this.#end(stored)
      // A damaged one is of use to nobody.
      if (nextFrameNo === undefined ? next.startFrameNo <= frameNo : nextFrameNo <= frameNo) old.push(stored)
    }
    return old
  }

  async #crossing(at: Position): Promise<{ stored: StoredLog; isMerged: boolean; canBeTaken: boolean }[]> {
    const crossing = []
    for (const stored of await this.#store.logs(this.#limits)) {
      if (stored.startFrameNo >= at.nextFrameNo) break
      const end = this.#ends.get(keyOf(stored))
      if (end !== undefined && end <= at.nextFrameNo) continue
      const log = await this.#read(stored)
      try {
        if (log === undefined || log.nextFrameNo <= at.nextFrameNo) continue
        crossing.push({ stored, isMerged: log.isMerged, canBeTaken: await canTake(log, at) })
      } finally {
        await log?.close()
      }
    }
    return crossing
  }

  async #end(stored: StoredLog): Promise<FrameNo | undefined> {
    if (this.#ends.has(keyOf(stored))) return this.#ends.get(keyOf(stored))
    const log = await this.#read(stored)
    await log?.close()
    return log?.nextFrameNo
  }

  async #read(stored: StoredLog): Promise<Log | undefined> {
    const log = await unlessUnusable(() => this.#store.readLog(stored, this.#limits))
    this.#ends.set(keyOf(stored), log?.nextFrameNo)
    return log
  }

  async #giveBoundary(stored: StoredLog, frameNo: FrameNo): Promise<void> {
    const log = await this.#read(stored)
    let merged: Log | undefined
    try {
      merged = log && (await Log.merge([log], { at: [frameNo] }))
      if (merged !== undefined) await this.#store.replaceLog(merged, this.#limits)
    } catch (error) {
      // Others have replaced it; or the store cannot replace anything, and keeps an older snapshot.
      if (!(error instanceof MylibsqlError)) throw error
    } finally {
      await merged?.close()
      await log?.close()
    }
  }
}

/** Undefined when the object is damaged or gone. */
async function unlessUnusable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (isUnusable(error)) return undefined
    throw error
  }
}
