/** What a primary that keeps its history in a store is told, and the checks of it. */
import {
  archiveBytesDefault,
  archiveIntervalMsDefault,
  archiveTimeoutMsDefault,
  compactEveryMsDefault,
  fenceCheckMsDefault,
  pruneEveryMsDefault,
  snapshotEveryBytesDefault,
  snapshotTimeoutMsDefault,
} from '../../protocol/limits.js'
import {
  type Check,
  checkOptions,
  checkPositiveInteger,
  checkTimeoutMs,
  optional,
  withDefault,
  wrong,
} from '../arguments.js'
import type { PrimaryOptions } from '../open-database.js'
import { Snapshot } from '../snapshot.js'
import { type CompactRules, compactChecks } from './compact-rules.js'
import { checkPruneOptions, type KeptHistory } from './prune-options.js'
import type { Store } from './store.js'

/** When logs are stored. Whichever is reached first counts; all that is written meanwhile goes into the next log. */
export interface CheckpointSchedule {
  /** Age of the oldest write that is not stored. Default 100 ms. */
  intervalMs?: number | undefined
  /** Bytes of frames that are not stored. Default 16 MiB. */
  bytes?: number | undefined
  /** Number of frames that are not stored. Default: no limit but that of `bytes`. */
  frames?: number | undefined
  /** How long one attempt may take; then there is another one. Default 30,000 ms. */
  timeoutMs?: number | undefined
  /**
   * Time without a look at the newest epoch after which a primary that has nothing to store takes one, so that it soon
   * learns of a newer primary; Infinity: never. Default 5,000 ms.
   */
  fenceCheckMs?: number | undefined
}

/** When snapshots are stored. */
export interface SnapshotSchedule {
  /** Bytes of logs since the last one; Infinity: never. Default 256 MiB. */
  everyBytes?: number | undefined
  /** Milliseconds since the last one, if something was written since; Infinity: never. Default Infinity. */
  everyMs?: number | undefined
  /** How long one attempt to store one may take; then there is another one, later. Default 3,600,000 ms. */
  timeoutMs?: number | undefined
}

/** When logs of the store are merged, as `compact(store)` does. */
export interface CompactionSchedule extends CompactRules {
  /** Pause between two runs. Default 60,000 ms. */
  everyMs?: number | undefined
}

/** When the store is pruned, as `prune(store, options)` does. */
export type RetentionSchedule = KeptHistory & {
  /** Pause between two runs. Default 3,600,000 ms. */
  everyMs?: number
}

export interface ArchiveOptions {
  /** Stored logs: when. */
  checkpoint?: CheckpointSchedule | undefined
  /** Stored snapshots: when. */
  snapshot?: SnapshotSchedule | undefined
  /** Merged logs: when. Default: never. */
  compaction?: CompactionSchedule | undefined
  /** What no restore needs is removed: when, and what is kept (`keepMs` or `keepSnapshots`). Default: never. */
  retention?: RetentionSchedule | undefined
}

/** Of `Primary.open({ store, ... })`. */
export interface ArchivedPrimaryOptions extends ArchiveOptions, PrimaryOptions {
  /** Where the history is kept: it is opened from there, and everything that is written goes there. */
  store: Store
  /**
   * Begins the history with the blank database, pages of 4096 bytes, when the store holds nothing. Default false: then that is
   * ERR_NOT_FOUND, because it may be the wrong place.
   */
  create?: boolean | undefined
}

/** With its defaults. */
type Filled<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> }

/** With every default filled in. */
export interface ArchiveSchedule {
  readonly checkpoint: Filled<CheckpointSchedule>
  readonly snapshot: Filled<SnapshotSchedule>
  readonly compaction?: Filled<CompactionSchedule> | undefined
  readonly retention?: Filled<RetentionSchedule> | undefined
}

const scheduleNotSnapshot =
  'a schedule { everyBytes, everyMs, timeoutMs } (a first snapshot: store.putSnapshot)'

/** For checkOptions, as those of other options. */
export const archiveChecks = {
  checkpoint: (value: unknown) =>
    checkOptions(
      value,
      {
        intervalMs: withDefault(checkTimeoutMs, archiveIntervalMsDefault),
        bytes: withDefault(checkPositiveInteger, archiveBytesDefault),
        frames: withDefault(orInfinity(checkPositiveInteger), Number.POSITIVE_INFINITY),
        timeoutMs: withDefault(checkTimeoutMs, archiveTimeoutMsDefault),
        fenceCheckMs: withDefault(orInfinity(checkTimeoutMs), fenceCheckMsDefault),
      },
      'checkpoint',
    ),
  snapshot: (value: unknown) => {
    // A snapshot has no property of its own, and would pass for options without any.
    if (value instanceof Snapshot)
      throw wrong('Option "snapshot" of Primary.open', scheduleNotSnapshot, value)
    return checkOptions(
      value,
      {
        everyBytes: withDefault(orInfinity(checkPositiveInteger), snapshotEveryBytesDefault),
        everyMs: withDefault(orInfinity(checkTimeoutMs), Number.POSITIVE_INFINITY),
        timeoutMs: withDefault(checkTimeoutMs, snapshotTimeoutMsDefault),
      },
      'snapshot',
    )
  },
  compaction: optional((value: unknown) =>
    checkOptions(
      value,
      { ...compactChecks, everyMs: withDefault(checkTimeoutMs, compactEveryMsDefault) },
      'compaction',
    ),
  ),
  retention: optional((value: unknown) =>
    checkPruneOptions(value, { everyMs: withDefault(checkTimeoutMs, pruneEveryMsDefault) }, 'retention'),
  ),
}

const storeMethods = [
  'claimEpoch',
  'currentEpoch',
  'append',
  'logs',
  'readLog',
  'putSnapshot',
  'snapshots',
] as const

/** Anything that fulfils the contract is a store: it needs no base class. */
export function checkStore(value: unknown, name: string): Store {
  const methods = (value ?? {}) as Record<string, unknown>
  if (!storeMethods.every((method) => typeof methods[method] === 'function')) {
    throw wrong(name, 'a store (FileStore, NatsStore, S3Store, or anything that fulfils its contract)', value)
  }
  return value as Store
}

function orInfinity(check: Check<number>): Check<number> {
  return (value, name) => {
    if (value === Number.POSITIVE_INFINITY) return value
    try {
      return check(value, name)
    } catch (error) {
      throw new TypeError(`${(error as TypeError).message} (or Infinity)`)
    }
  }
}
