import type { Histogram } from 'node:perf_hooks'
import { type FrameNo, lastFrameNoBefore } from '../protocol/frame.js'
import { reviveError } from './actor-thread.js'
import type { KnownStats } from './last-stats.js'
import type { FollowStats } from './stores/follower.js'

export interface PrimaryStats {
  /**
   * How old is what the writer's thread counts, in milliseconds: 0, or more than 1,000 while it is busy with one statement or
   * procedure. What this side of it knows is as of now: `savedFrameNo`, `pendingRequestCount`, `saveUs`, `archive`.
   */
  readonly ageMs: number
  readonly lastFrameNo: FrameNo | undefined
  readonly savedFrameNo: FrameNo | undefined
  /** Bytes. */
  readonly pageSize: number
  readonly walBytes: number
  /** Times, since opening, that reads had to wait so that the WAL could be folded, because they overlapped all the time, ... */
  readonly readerGapCount: number
  /** ... and how long in all, in milliseconds: until it was folded, or that was given up. */
  readonly readerGapMs: number
  /** Bytes of frames that are in no saved log. */
  readonly unsavedBytes: number
  /** Transactions committed since opening; requests that shared one count once. */
  readonly transactionCount: number
  readonly requestCount: number
  readonly pendingRequestCount: number
  /** perf_hooks histograms since opening, in microseconds, exact to two figures: one value for each group of requests. */
  readonly queueWaitUs: Histogram
  readonly executeUs: Histogram
  readonly commitUs: Histogram
  /** One value for each call of `saveLog` that resolved. */
  readonly saveUs: Histogram
  /** Why the WAL could not be kept small the last time, for example a full disk; undefined when all is well. */
  readonly walError: unknown
  /** Undefined for a primary that keeps its history in no store. */
  readonly archive: ArchiveStats | undefined
}

/** How a primary stands with its store. */
export interface ArchiveStats {
  /** Of the store. */
  readonly url: string
  /** Claimed when the primary was opened. */
  readonly epoch: number
  /** Milliseconds since it was last seen to be the newest. */
  readonly epochAgeMs: number
  /** Looks at the newest epoch, while there was nothing to store, that failed since opening. */
  readonly fenceCheckFailureCount: number
  /** Why the last one failed; undefined once it was seen again. */
  readonly lastFenceCheckError: unknown
  /** Frames that are committed and not known to be in the store. */
  readonly lagFrames: number
  /** Age of the oldest of them; 0 when there are none. */
  readonly lagMs: number
  /** Logs stored since opening, and their bytes. */
  readonly appendCount: number
  readonly appendedBytes: number
  /** Attempts to store a log that failed since opening. */
  readonly failureCount: number
  /** Why the last attempt failed; undefined once one has succeeded. ERR_FENCED: there are no more. */
  readonly lastError: unknown
  /** Bytes of logs in the store since the last snapshot there. */
  readonly logBytes: number
  /** Snapshots stored since opening. */
  readonly snapshotCount: number
  readonly lastSnapshotFrameNo: FrameNo | undefined
  /** Why the last attempt to make and store one failed; undefined once one has succeeded. */
  readonly lastSnapshotError: unknown
  /** Compactions and prunings on the schedule since opening. */
  readonly compactCount: number
  readonly pruneCount: number
  /** Why the last one of them failed; undefined once one has succeeded. */
  readonly lastMaintenanceError: unknown
}

export interface ReplicaStats {
  /** How old is what the replica's thread counts, in milliseconds: 0, or more than 1,000 while it is busy. `follow` is as of now. */
  readonly ageMs: number
  readonly lastFrameNo: FrameNo | undefined
  /** Bytes. */
  readonly pageSize: number
  readonly walBytes: number
  /** Times, since opening, that reads had to wait so that the WAL could be folded, because they overlapped all the time, ... */
  readonly readerGapCount: number
  /** ... and how long in all, in milliseconds: until it was folded, or that was given up. */
  readonly readerGapMs: number
  /** Logs and batches applied since opening. */
  readonly appliedCount: number
  /** perf_hooks histogram since opening, in microseconds: one value for each log or batch. */
  readonly applyUs: Histogram
  /** Why the WAL could not be kept small the last time; undefined when all is well. */
  readonly walError: unknown
  /** Undefined for a replica that follows no store. */
  readonly follow: FollowStats | undefined
}

interface HasArchiveStats {
  stats(nextFrameNo: FrameNo): ArchiveStats
}

/** Puts together what the actor knows and what the main thread does. */
export function primaryStats(
  { actor, ageMs }: KnownStats,
  main: Pick<PrimaryStats, 'savedFrameNo' | 'pendingRequestCount' | 'saveUs'>,
  archiver: HasArchiveStats | undefined,
): PrimaryStats {
  const { position, pageSize, walBytes, unsavedBytes, transactionCount, requestCount, times } = actor
  const { readerGapCount, readerGapMs } = actor
  return {
    ...main,
    ageMs,
    lastFrameNo: lastFrameNoBefore(position.nextFrameNo),
    pageSize,
    walBytes,
    readerGapCount,
    readerGapMs,
    unsavedBytes,
    transactionCount,
    requestCount,
    queueWaitUs: times.queueWaitUs,
    executeUs: times.executeUs,
    commitUs: times.commitUs,
    walError: actor.lastWalError && reviveError(actor.lastWalError),
    archive: archiver?.stats(position.nextFrameNo),
  }
}

export function replicaStats({ actor, ageMs }: KnownStats, follow: FollowStats | undefined): ReplicaStats {
  const { position, pageSize, walBytes, requestCount, times, lastWalError } = actor
  const { readerGapCount, readerGapMs } = actor
  return {
    ageMs,
    lastFrameNo: lastFrameNoBefore(position.nextFrameNo),
    pageSize,
    walBytes,
    readerGapCount,
    readerGapMs,
    appliedCount: requestCount,
    applyUs: times.applyUs,
    walError: lastWalError && reviveError(lastWalError),
    follow,
  }
}
