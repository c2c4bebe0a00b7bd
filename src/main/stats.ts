import type { Histogram } from 'node:perf_hooks'
import type { FrameNo } from '../protocol/frame.js'
import type { ActorStats, Position } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'

export interface PrimaryStats {
  readonly lastFrameNo: FrameNo | undefined
  readonly savedFrameNo: FrameNo | undefined
  /** Bytes. */
  readonly pageSize: number
  readonly walBytes: number
  /** Bytes of frames that are in no saved log. */
  readonly unsavedBytes: number
  /** Transactions committed since opening; requests that shared one count once. */
  readonly transactionCount: number
  readonly requestCount: number
  readonly pendingRequestCount: number
  /** perf_hooks histograms since opening, in microseconds: one value for each group of requests. */
  readonly queueWaitUs: Histogram
  readonly executeUs: Histogram
  readonly commitUs: Histogram
  /** One value for each call of `saveLog` that resolved. */
  readonly saveUs: Histogram
  /** Why the WAL could not be kept small the last time, for example a full disk; undefined when all is well. */
  readonly walError: unknown
}

export interface ReplicaStats {
  readonly lastFrameNo: FrameNo | undefined
  /** Bytes. */
  readonly pageSize: number
  readonly walBytes: number
  /** Logs and batches applied since opening. */
  readonly appliedCount: number
  /** perf_hooks histogram since opening, in microseconds: one value for each log or batch. */
  readonly applyUs: Histogram
  /** Why the WAL could not be kept small the last time; undefined when all is well. */
  readonly walError: unknown
}

/** Puts together what the actor knows and what the main thread does. */
export function primaryStats(
  actor: ActorStats,
  main: Pick<PrimaryStats, 'savedFrameNo' | 'pendingRequestCount' | 'saveUs'>,
): PrimaryStats {
  const { position, pageSize, walBytes, unsavedBytes, transactionCount, requestCount, times } = actor
  return {
    ...main,
    lastFrameNo: lastFrameNo(position),
    pageSize,
    walBytes,
    unsavedBytes,
    transactionCount,
    requestCount,
    queueWaitUs: times.queueWaitUs,
    executeUs: times.executeUs,
    commitUs: times.commitUs,
    walError: actor.lastWalError && reviveError(actor.lastWalError),
  }
}

export function replicaStats({
  position,
  pageSize,
  walBytes,
  requestCount,
  times,
  lastWalError,
}: ActorStats): ReplicaStats {
  return {
    lastFrameNo: lastFrameNo(position),
    pageSize,
    walBytes,
    appliedCount: requestCount,
    applyUs: times.applyUs,
    walError: lastWalError && reviveError(lastWalError),
  }
}

function lastFrameNo({ nextFrameNo }: Position): FrameNo | undefined {
  return nextFrameNo === 0 ? undefined : nextFrameNo - 1
}
