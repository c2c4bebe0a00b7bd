/** Where a chain of logs starts and ends, and what it goes through (history-chain.ts). */
import type { FrameNo } from '../../protocol/frame.js'
import type { Position } from '../../protocol/wire.js'
import type { CallLimits, StoredLog, StoredSnapshot } from './store.js'

/** Where a restore ends. Default: with the newest frame. */
export interface Target {
  /** The last whole transaction at or before this frame. */
  readonly to?: FrameNo | undefined
  /** The last log that was sealed at or before this time. */
  readonly at?: Date | undefined
}

export interface ChainStart extends Position {
  /** Bytes. */
  readonly pageSize: number
  /** Of the last log before, 0: not known. */
  readonly epoch: number
  /** It stands behind a snapshot of the store, which keeps the logs behind it as long as the snapshot. */
  readonly isKept: boolean
}

export interface ChainOptions extends CallLimits {
  readonly target?: Target
  /** Listed before the logs are. The chain has to reach them, or there is a hole in it. Default: asked of the store. */
  readonly snapshots?: readonly StoredSnapshot[]
  /** The logs to look at, which begin at the start or behind it. Default: all that the store has now. */
  readonly logs?: readonly StoredLog[]
  /**
   * Whoever asks for the next log takes those that are files by himself, where he can, or those too whose bytes the store asks
   * for: see `upcoming`. Default: none.
   */
  readonly takes?: 'files' | 'all'
}
