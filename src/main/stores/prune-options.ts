/** What pruning keeps, and the checks of it. */
import { checkNonNegativeInteger, checkPositiveInteger, withDefault } from '../arguments.js'
import type { CallLimits } from './store.js'

export interface PruneOptions extends CallLimits {
  /** A restore to any moment of the last `keepMs` milliseconds stays possible. Default 0: only to the newest state. */
  readonly keepMs?: number
  /** So many of the newest snapshots stay, and the logs behind them. Default 2: when one is damaged there is another. */
  readonly keepSnapshots?: number
}

const keepSnapshotsDefault = 2

export const pruneChecks = {
  keepMs: withDefault(checkNonNegativeInteger, 0),
  keepSnapshots: withDefault(checkPositiveInteger, keepSnapshotsDefault),
}
