import type { PrimaryOptions } from './open-database.js'
import type { Snapshot } from './snapshot.js'

/** Limits of writers, and procedures, hold once the replica has become a primary. */
export type ReplicaOptions = PrimaryOptions

export interface FollowOptions extends ReplicaOptions {
  /**
   * A snapshot that is at hand, to start from instead of the newest one of the store. When logs behind it are missing
   * there, a newer snapshot of the store is taken after all.
   */
  from?: Snapshot | undefined
  /** How long a store may be silent before it is asked whether something was missed. Default 10,000 ms. */
  pollMs?: number | undefined
}

export interface WaitForOptions {
  /** Ends the wait; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Rejects with ERR_TIMEOUT after so many milliseconds. Default 30,000 ms. */
  timeoutMs?: number | undefined
}
