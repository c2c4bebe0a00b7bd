import type { FrameNo } from '../protocol/frame.js'

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
  /** Why the WAL could not be kept small the last time; undefined when all is well. */
  readonly walError: unknown
}
