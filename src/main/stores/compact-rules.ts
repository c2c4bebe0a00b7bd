/** Which logs of a store are merged, and the checks of it. */
import { checkNonNegativeInteger, checkPositiveInteger, withDefault } from '../arguments.js'

export interface CompactRules {
  /** Logs that were sealed in the last `keepMs` milliseconds stay as they are. Default 300,000. */
  keepMs?: number
  /** Logs of one span of so many milliseconds, by the clock, become one; only when it is over. Default 300,000. */
  spanMs?: number
  /** Bytes, as stored, that are merged into one log at most. Default 64 MiB. */
  maxBytes?: number
}

export const compactChecks = {
  keepMs: withDefault(checkNonNegativeInteger, 300_000),
  spanMs: withDefault(checkPositiveInteger, 300_000),
  maxBytes: withDefault(checkPositiveInteger, 64 * 1024 * 1024),
}
