import type { FrameNo } from '../protocol/frame.js'

export interface LogOpenOptions {
  /** Check every checksum, not only the header and the last frame. Default: true. */
  verify?: boolean | undefined
}

export interface LogCreateOptions {
  /** Bytes, a power of two from 512 to 65536. Default: 4096. */
  pageSize?: number | undefined
  /**
   * Checksum of the frame before the first one. Default: 0n, and the first frames that are pushed decide which
   * history the log belongs to.
   */
  startChecksum?: bigint | undefined
}

export interface LogMergeOptions {
  /**
   * Numbers of frames before which the merged log is to be taken too, besides its start and the starts of `logs`: of the
   * frame behind each snapshot, for example. Where no transaction ends before a frame, or a log that is merged already has
   * no boundary, it is passed over.
   */
  at?: readonly FrameNo[] | undefined
}

export interface LogCopyOptions {
  /** Format version: 3 is this library's, 2 the Rust crate's (4096-byte pages only). Default: the log's own. */
  version?: 2 | 3 | undefined
}
