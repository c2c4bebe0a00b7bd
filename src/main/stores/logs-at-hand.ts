/** Logs of a store whose bytes are at hand: a thread takes many of them in one step, without anybody having opened them. */
import { offeredLogsMax, stepBytesMax } from '../../protocol/limits.js'
import type { LogLocation } from '../../protocol/log-format.js'
import type { LogsAtHand } from '../../protocol/wire.js'
import type { ReadableStore } from './patient-store.js'
import type { CallLimits, StoredLog } from './store.js'

interface Step extends LogsAtHand {
  /** One for each location. */
  readonly logs: readonly StoredLog[]
  /** The one behind them is not at hand. */
  readonly isCut: boolean
}

/** The first ones of these, as many as are offered at once; undefined when the first one is not at hand. Throws ERR_STORE. */
export async function nextAtHand(
  store: ReadableStore,
  logs: readonly StoredLog[],
  limits: CallLimits,
): Promise<Step | undefined> {
  const next = firstOf(logs)
  const locations = await locationsOf(store, next, limits)
  if (locations.length === 0) return undefined
  // Asked for after the logs were seen: those of an older epoch could not have been written any more.
  const epochMin = store.fencesAppends === true ? 0 : await store.currentEpoch(limits)
  const isCut = locations.length < next.length
  const further = logs[locations.length]
  const isLooked = epochMin > 0 && !isCut && further !== undefined && store.keepsFiles === true
  const behind = isLooked ? (await locationsOf(store, [further], limits))[0] : undefined
  return { logs: next.slice(0, locations.length), locations, behind, epochMin, isCut }
}

/** One at least. */
function firstOf(logs: readonly StoredLog[]): readonly StoredLog[] {
  let byteCount = 0
  const end = logs.findIndex(({ byteLength }, index) => {
    byteCount += byteLength
    return index > 0 && byteCount > stepBytesMax
  })
  return logs.slice(0, Math.min(end === -1 ? logs.length : end, offeredLogsMax))
}

/** Of those before the first one that is not at hand. */
async function locationsOf(
  store: ReadableStore,
  logs: readonly StoredLog[],
  limits: CallLimits,
): Promise<LogLocation[]> {
  const asked: (LogLocation | Promise<LogLocation | undefined>)[] = []
  for (const stored of logs) {
    const location = store.logLocation?.(stored, limits)
    if (location === undefined) break
    // Whoever looks closer at the log is told why it cannot be had.
    asked.push(location instanceof Promise ? location.catch(() => undefined) : location)
  }
  const locations: LogLocation[] = []
  for (const one of asked) {
    const location = await one
    if (location === undefined) break
    locations.push(location)
  }
  return locations
}
