/**
 * Compaction: many small logs of a store become few larger ones, which hold the last version of each page only.
 *
 * In this order, so that it may end anywhere, and others may compact and prune at the same time:
 *
 *     list snapshots, then logs, then ask for the epoch
 *     put each merged log in the place of the first log that it covers, if that is still what it was
 *     list both again
 *     remove what a merged log covers, if it is what was merged, and nobody can be about to remove the merged log: no
 *     other log covers it, and a snapshot that needs it, and was there at first, is there still
 *
 * Of two that merge overlapping logs the one who looks later sees the log of the other one, and removes nothing. Where
 * the order was cut off, the next call removes what is left.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import { nextFrameNoAfter } from '../../protocol/frame.js'
import { checkFunction, checkOptions, checkSignal, optional } from '../arguments.js'
import { Log } from '../log.js'
import { checkStore } from './archive-options.js'
import { type CompactRules, compactChecks } from './compact-rules.js'
import { type CompactionPlan, planCompaction } from './compaction-plan.js'
import { KnownLogs, keyOf, type LogFacts } from './log-facts.js'
import { readChecked } from './read-ahead.js'
import type { CallLimits, Store, StoredLog, StoredSnapshot } from './store.js'

export interface CompactOptions extends CompactRules, CallLimits {
  onProgress?: ((progress: CompactProgress) => void) | undefined
}

export interface CompactProgress {
  /** Of logs to be merged, as stored. */
  readonly bytesDone: number
  readonly bytesTotal: number
}

export interface CompactResult {
  /** Merged logs that were made. */
  readonly mergedCount: number
  /** Logs that were removed, those of an earlier call that was cut off too. */
  readonly removedCount: number
  /** Bytes, as stored, of the logs that were replaced or removed. */
  readonly byteCountBefore: number
  /** Of the merged logs. */
  readonly byteCountAfter: number
}

/** Others may remove what was listed before it is read. */
const plansMax = 5

/**
 * Merges logs of a store. What can be restored becomes coarser: inside a merged log there are no states any more, only
 * before and after it, and where snapshots are. Every log is verified. A call with a larger `spanMs` merges merged logs
 * again. Nothing is merged across primaries, and only once the newest primary has stored a log behind it; the newest log
 * stays as it is. Safe beside primaries, followers, restores, prunes and other calls; interrupted, it leaves at most logs
 * that the next call removes. Reading and merging happen off the main thread.
 *
 * @example
 * await compact(store)
 * await compact(store, { keepMs: 7 * 24 * 3600_000, spanMs: 3600_000 })
 * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_NOT_A_LOG naming the object: nothing is changed then;
 * ERR_STORE (S3: also when the service ignores `If-Match`); ERR_LOCKED; the signal's reason
 */
export async function compact(store: Store, options?: CompactOptions): Promise<CompactResult> {
  checkStore(store, 'store')
  const known = { ...compactChecks, onProgress: optional(checkFunction), signal: optional(checkSignal) }
  const { signal, onProgress: _onProgress, ...rules } = checkOptions(options, known, 'compact')
  const limits: CallLimits = signal === undefined ? {} : { signal }
  return new Compactor(store, rules).run({ ...limits, onProgress: options?.onProgress })
}

/** One that compacts again and again: logs that it has read once it does not read again. */
export class Compactor {
  readonly #store: Store
  readonly #rules: Required<CompactRules>
  readonly #known: KnownLogs

  constructor(store: Store, rules: Required<CompactRules>) {
    this.#store = store
    this.#rules = rules
    this.#known = new KnownLogs(store)
  }

  /** `at`: frames besides those of snapshots that merged logs are to be takable before: of snapshots under way. */
  async run({
    onProgress,
    at = [],
    ...limits
  }: CallLimits & {
    readonly onProgress?: CompactOptions['onProgress'] | undefined
    readonly at?: readonly number[]
  }): Promise<CompactResult> {
    const { snapshots, groups, remains } = await this.#plan(limits)
    const frameNos = [...snapshots.map(({ lastFrameNo }) => nextFrameNoAfter(lastFrameNo)), ...at]
    const bytesTotal = groups.flat().reduce((sum, { stored }) => sum + stored.byteLength, 0)
    let bytesDone = 0
    const covers: Cover[] = remains.map(({ cover, logs }) => ({ stored: cover.stored, covered: logs }))
    const made: StoredLog[] = []
    let byteCountBefore = 0
    for (const group of groups) {
      const stored = await this.#merge(group, frameNos, limits)
      bytesDone += bytesOf(group.map((log) => log.stored))
      onProgress?.({ bytesDone, bytesTotal })
      if (stored === undefined) continue
      made.push(stored)
      byteCountBefore += group[0]!.stored.byteLength
      covers.push({ stored, covered: group.slice(1) })
    }
    const removed = covers.length === 0 ? [] : await this.#remove(covers, snapshots, limits)
    byteCountBefore += bytesOf(removed)
    const counts = { mergedCount: made.length, removedCount: removed.length }
    return { ...counts, byteCountBefore, byteCountAfter: bytesOf(made) }
  }

  async #plan(
    limits: CallLimits,
  ): Promise<CompactionPlan & { readonly snapshots: readonly StoredSnapshot[] }> {
    for (let planNo = 1; ; planNo++) {
      const snapshots = await this.#store.snapshots(limits)
      const listed = await this.#store.logs(limits)
      const epoch = await this.#store.currentEpoch(limits)
      // One that was stored when what comes behind it had been pruned already is of no use to anybody.
      const oldest = snapshots.find(
        (one) => (listed[0]?.startFrameNo ?? 0) <= nextFrameNoAfter(one.lastFrameNo),
      )
      if (oldest === undefined) return { snapshots, groups: [], remains: [] }
      try {
        const { keepMs, spanMs, maxBytes } = this.#rules
        const sizes = { beforeMs: Date.now() - keepMs, spanMs, maxBytes }
        const rules = { epoch, firstFrameNo: nextFrameNoAfter(oldest.lastFrameNo), ...sizes }
        return { snapshots, ...planCompaction(await this.#known.of(listed, limits), rules) }
      } catch (error) {
        if (!isGap(error) || planNo === plansMax) throw error
      }
    }
  }

  /** Undefined: others have changed something there. */
  async #merge(
    group: readonly LogFacts[],
    at: readonly number[],
    limits: CallLimits,
  ): Promise<StoredLog | undefined> {
    const logs: Log[] = []
    try {
      for (const { stored } of group) logs.push(await readChecked(this.#store, stored, limits))
      limits.signal?.throwIfAborted()
      const first = group[0]!.startFrameNo
      const end = group.at(-1)!.nextFrameNo
      if (logs[0]!.startFrameNo !== first || logs.at(-1)!.nextFrameNo !== end) return undefined
      const merged = await Log.merge(logs, { at: at.filter((frameNo) => frameNo > first && frameNo < end) })
      logs.push(merged)
      return await this.#store.replaceLog(merged, limits)
    } catch (error) {
      if (isGap(error)) return undefined
      throw error
    } finally {
      await Promise.all(logs.map((log) => log.close()))
    }
  }

  async #remove(
    covers: readonly Cover[],
    needing: readonly StoredSnapshot[],
    limits: CallLimits,
  ): Promise<StoredLog[]> {
    const listed = await this.#store.logs(limits)
    const snapshots = new Set((await this.#store.snapshots(limits)).map(keyOf))
    const kept = needing.filter((snapshot) => snapshots.has(keyOf(snapshot)))
    const facts = await this.#known.of(listed, limits).catch((error: unknown) => {
      // Somebody else is at it.
      if (isGap(error)) return []
      throw error
    })
    const present = new Set(facts.map(({ stored }) => keyOf(stored)))
    const removable = covers.filter(({ stored }) => {
      const isCovered = facts.some(
        ({ startFrameNo, nextFrameNo }) =>
          startFrameNo < stored.startFrameNo && nextFrameNo > stored.startFrameNo,
      )
      const isNeeded = kept.some((snapshot) => nextFrameNoAfter(snapshot.lastFrameNo) <= stored.startFrameNo)
      return present.has(keyOf(stored)) && !isCovered && isNeeded
    })
    const objects = removable
      .flatMap(({ covered }) => covered.map(({ stored }) => stored))
      .filter((stored) => present.has(keyOf(stored)))
    await this.#store.remove(objects, limits)
    return objects
  }
}

interface Cover {
  /** The merged log. */
  readonly stored: StoredLog
  readonly covered: readonly LogFacts[]
}

function bytesOf(list: readonly StoredLog[]): number {
  return list.reduce((sum, { byteLength }) => sum + byteLength, 0)
}

/** What was listed has been removed or replaced since. */
function isGap(error: unknown): boolean {
  const codes = ['ERR_LOG_GAP', 'ERR_NOT_FOUND']
  return error instanceof MylibsqlError && codes.includes(error.code)
}
