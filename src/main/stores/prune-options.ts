/** What pruning keeps, and the checks of it. */
import {
  type Check,
  checkNonNegativeInteger,
  checkOptions,
  checkPositiveInteger,
  optional,
} from '../arguments.js'
import type { CallLimits } from './store.js'

interface KeptMoments {
  /** A restore to any moment of the last `keepMs` milliseconds stays possible. Default 0: only to the newest state. */
  readonly keepMs: number
}

interface KeptSnapshots {
  /** So many of the newest snapshots stay, and the logs behind them. Default 2: when one is damaged there is another. */
  readonly keepSnapshots: number
}

/** One of the two at least: nobody removes a history by leaving out an argument. */
export type KeptHistory = (KeptMoments & Partial<KeptSnapshots>) | (Partial<KeptMoments> & KeptSnapshots)

export type PruneOptions = CallLimits & KeptHistory

const keepSnapshotsDefault = 2

/** Checks the options of `method`: these, and others with checks of their own. */
export function checkPruneOptions<C extends Record<string, Check<unknown>>>(
  options: unknown,
  others: C,
  method: string,
): { [K in keyof C]: ReturnType<C[K]> } & { keepMs: number; keepSnapshots: number } {
  const known = { keepMs: optional(checkNonNegativeInteger), keepSnapshots: optional(checkPositiveInteger) }
  const checked = checkOptions(options, { ...others, ...known }, method)
  const { keepMs, keepSnapshots } = checked
  if (keepMs === undefined && keepSnapshots === undefined) {
    throw new TypeError(
      `${method} has to be told what to keep: { keepMs }, so that every moment of so many milliseconds can be restored, or ` +
        '{ keepSnapshots }, so many of the newest ones and the logs behind them, or both',
    )
  }
  return { ...checked, keepMs: keepMs ?? 0, keepSnapshots: keepSnapshots ?? keepSnapshotsDefault }
}
