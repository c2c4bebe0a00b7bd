/** What a primary that keeps its history in a store is told, and the checks of it. */
import {
  archiveBytesDefault,
  archiveIntervalMsDefault,
  archiveTimeoutMsDefault,
  snapshotEveryBytesDefault,
  snapshotTimeoutMsDefault,
} from '../../protocol/limits.js'
import {
  type Check,
  checkOptions,
  checkPositiveInteger,
  checkTimeoutMs,
  withDefault,
  wrong,
} from '../arguments.js'
import type { PrimaryOptions } from '../open-database.js'
import type { Store } from './store.js'

/** When logs are stored. Whichever is reached first counts; all that is written meanwhile goes into the next log. */
export interface CheckpointSchedule {
  /** Age of the oldest write that is not stored. Default 100 ms. */
  intervalMs?: number
  /** Bytes of frames that are not stored. Default 16 MiB. */
  bytes?: number
  /** Number of frames that are not stored. Default: no limit but that of `bytes`. */
  frames?: number
  /** How long one attempt may take; then there is another one. Default 30,000 ms. */
  timeoutMs?: number
}

/** When snapshots are stored. */
export interface SnapshotSchedule {
  /** Bytes of logs since the last one; Infinity: never. Default 256 MiB. */
  everyBytes?: number
  /** How long one attempt to store one may take; then there is another one, later. Default one hour. */
  timeoutMs?: number
}

export interface ArchiveOptions {
  /** Stored logs: when. */
  checkpoint?: CheckpointSchedule
  /** Stored snapshots: when. */
  snapshot?: SnapshotSchedule
}

/** Of `Primary.open({ store, ... })`. */
export interface ArchivedPrimaryOptions extends ArchiveOptions, PrimaryOptions {
  /** Where the history is kept: it is opened from there, and everything that is written goes there. */
  store: Store
}

/** With every default filled in. */
export interface ArchiveSchedule {
  readonly checkpoint: Required<CheckpointSchedule>
  readonly snapshot: Required<SnapshotSchedule>
}

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
      },
      'checkpoint',
    ),
  snapshot: (value: unknown) =>
    checkOptions(
      value,
      {
        everyBytes: withDefault(orInfinity(checkPositiveInteger), snapshotEveryBytesDefault),
        timeoutMs: withDefault(checkTimeoutMs, snapshotTimeoutMsDefault),
      },
      'snapshot',
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
  return (value, name) => (value === Number.POSITIVE_INFINITY ? value : check(value, name))
}
