/** How a history is read from the logs of a store, in the model: src/main/stores/history-chain.ts without the reading. */
import type { Broken } from './model.js'

export interface Log {
  readonly before: string
  readonly writes: string
  readonly epoch: number
  /** Of a merged log: where it may be taken besides at its start, as lengths of the history. */
  readonly boundaries?: readonly number[]
}

export interface Chained {
  readonly logs: readonly Log[]
  /** The newest, asked for after the logs were listed. */
  readonly epoch: number
  /** Of the newest snapshot; 0 for who starts from a snapshot of the store. */
  readonly snapshotLength: number
}

export const startOf = ({ before }: Log) => before.length
export const endOf = ({ before, writes }: Log) => before.length + writes.length

export interface Reached {
  readonly history: string
  /** Why it does not go on, though there is more. */
  readonly error?: Error
}

const missing = new Error('logs are missing')
const foreign = new Error('a log is of another history')
const late = new Error('the log may be a late one')

/** Applies log after log to a part of the history. */
export function chainFrom(start: string, chained: Chained, broken: Broken | undefined): Reached {
  let history = start
  for (;;) {
    const next = continuation(history, chained, broken)
    if (next instanceof Error) return { history, error: next }
    if (next === undefined) return { history }
    history += (next.before + next.writes).slice(history.length)
  }
}

/** The log that a chain goes on with. */
export function continuation(
  history: string,
  { logs, epoch, snapshotLength }: Chained,
  broken: Broken | undefined,
): Log | undefined | Error {
  const ignoresLineage = broken === 'ignores lineage'
  // Who does not look takes the first one that goes on.
  const any = ignoresLineage ? coveringOf(history, logs, true) : undefined
  if (any !== undefined) return any
  const found = logs.find((log) => startOf(log) === history.length)
  if (found === undefined) {
    const covering = coveringOf(history, logs, ignoresLineage)
    const isHole = logs.some((log) => startOf(log) > history.length)
    return covering ?? (isHole ? missing : undefined)
  }
  if (found.before !== history && !ignoresLineage) return foreign
  const isContinued = logs.some(({ before }) => before === found.before + found.writes)
  if (found.epoch >= epoch || isContinued || broken === 'takes any log that begins at its position')
    return found
  // A late one, maybe: at a place that compaction freed, or pruning.
  const isLast = !logs.some((log) => startOf(log) > startOf(found))
  const covering = isLast ? undefined : coveringOf(history, logs, ignoresLineage)
  if (covering !== undefined) return covering
  return snapshotLength > history.length ? late : found
}

function coveringOf(history: string, logs: readonly Log[], ignoresLineage: boolean): Log | undefined {
  const { length } = history
  return logs.find((log) => {
    if (startOf(log) >= length || endOf(log) <= length) return false
    if (log.boundaries !== undefined && !log.boundaries.includes(length)) return false
    return ignoresLineage || (log.before + log.writes).startsWith(history)
  })
}
