/** What the load test and the processes of its followers tell each other. */
import type { LoadOptions } from './options.js'

/** Asked of a follower, one at a time. */
export type FollowerRequest =
  /** Opens a replica that follows the store, and begins to read from it. */
  | { readonly kind: 'follow'; readonly options: LoadOptions; readonly url: string }
  /** Ends the reads and waits for a frame. */
  | { readonly kind: 'catchUp'; readonly frameNo: number | undefined }
  /** Writes a snapshot of the replica. */
  | { readonly kind: 'snapshot'; readonly path: string }

export interface CaughtUp {
  readonly readCount: number
  readonly peakRssBytes: number
}

export interface FollowerSnapshot {
  readonly path: string
  readonly pageSize: number
  readonly pageCount: number
  readonly lastFrameNo: number | undefined
}

export type FollowerNotice =
  /** What was applied since the last notice, in order. `atMs`: of the shared clock. */
  | {
      readonly kind: 'applied'
      readonly steps: readonly { readonly frameNo: number; readonly atMs: number }[]
    }
  | { readonly kind: 'answer'; readonly answer?: CaughtUp | FollowerSnapshot }
  /** The request cannot be fulfilled; or, while there is none, the follower is of no use any more. */
  | { readonly kind: 'failed'; readonly reason: string }
