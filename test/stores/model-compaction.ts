/**
 * Compaction in the model: who compacts lists the logs, asks for the epoch, puts a merged log in the place of the first of
 * those that it holds, looks again, and has the others removed. Each step may be the last one.
 */
import { type Bounds, type Broken, byStart, isSame, type State, sent } from './model.js'
import { type Chained, continuation, endOf, type Log, startOf } from './model-chain.js'

export interface Compactor {
  readonly beginCount: number
  /** What it has listed and wants to make of it; `isReplaced`: the merged log is there. */
  readonly plan?: Plan
}

/** What it has listed and wants to make of it. */
interface Plan {
  readonly merged: Log
  readonly covered: readonly Log[]
  /** The merged log is there. */
  readonly isReplaced: boolean
  /** Lengths of the snapshots that were listed, are still there, and need the merged log. */
  readonly needing: readonly number[]
}

export const idleCompactor: Compactor = { beginCount: 0 }

export function* compactions(state: State, index: number, bounds: Bounds): Generator<[string, State]> {
  const { broken } = bounds
  const compactor = state.compactors[index]!
  const become = (change: Compactor, rest: Partial<State> = {}): State => ({
    ...state,
    ...rest,
    compactors: state.compactors.map((other, at) => (at === index ? change : other)),
  })
  const { beginCount, plan } = compactor
  if (plan === undefined) {
    if (beginCount === (bounds.compactCountsMax?.[index] ?? 0)) return
    for (const made of plans(state, broken)) {
      const name = `${made.isReplaced ? 'finds remains in' : 'merges'} ${startOf(made.merged)}-${endOf(made.merged)}`
      yield [name, become({ beginCount: beginCount + 1, plan: made })]
    }
    return
  }
  yield ['ends', become({ beginCount })]
  const there = state.logs.find((log) => startOf(log) === startOf(plan.merged))
  if (!plan.isReplaced) {
    if (there === undefined || !mayReplace(there, plan.merged, broken)) return
    const logs = byStart([...state.logs.filter((log) => log !== there), plan.merged])
    yield ['replaces', become({ beginCount, plan: { ...plan, isReplaced: true } }, { logs })]
    return
  }
  const looksAgain = broken !== 'does not look again before it removes'
  if (looksAgain && !isSame(there, plan.merged)) return
  const isCovered = state.logs.some((log) => isInside(plan.merged, log))
  if (isCovered && broken !== 'removes what its own log covers though another one covers that') return
  if (plan.needing.length === 0 && broken !== 'removes what its own log covers though that may be pruned')
    return
  const removable = plan.covered.filter(
    (log) => !looksAgain || state.logs.some((other) => isSame(other, log)),
  )
  const messages = removable.reduce(
    (list, log) => sent({ ...state, messages: list }, { removed: startOf(log) }, bounds),
    state.messages,
  )
  yield ['removes', become({ beginCount }, { messages })]
}

/** What can be merged, and what an earlier compaction has left. */
function* plans(state: State, broken: Broken | undefined): Generator<Plan> {
  const chain = chainOf(state)
  const last = chain.map(({ epoch }) => epoch).lastIndexOf(state.epoch)
  const isFree = broken === 'frees places of logs behind which the newest primary may be'
  const count = broken === 'compacts the newest log' ? chain.length : chain.length - 1
  const end = Math.min(isFree ? chain.length : last + 1, count)
  for (let from = 0; from < end; from++) {
    for (let to = from + 1; to < end; to++) {
      const sources = chain.slice(from, to + 1)
      const isJoined = sources.every((log, at) => at === 0 || startOf(log) === endOf(sources[at - 1]!))
      if (!isJoined || sources.some(({ epoch }) => epoch !== sources[0]!.epoch)) continue
      yield {
        merged: merged(sources, state.snapshots),
        covered: sources.slice(1),
        isReplaced: false,
        needing: needing(state, sources[0]!),
      }
    }
  }
  for (const log of chain) {
    if (log.boundaries === undefined) continue
    const covered = state.logs.filter((other) => {
      if (startOf(other) <= startOf(log) || startOf(other) >= endOf(log) || chain.includes(other))
        return false
      const { boundaries } = other
      const isWithin =
        endOf(other) <= endOf(log) && boundaries?.every((length) => log.boundaries!.includes(length))
      return (
        boundaries === undefined ||
        isWithin ||
        broken === 'removes remains that could be taken where nothing else can'
      )
    })
    if (covered.length > 0) yield { merged: log, covered, isReplaced: true, needing: needing(state, log) }
  }
}

function needing({ snapshots }: State, { before }: Log): number[] {
  return snapshots.map(({ length }) => length).filter((length) => length <= before.length)
}

/** A snapshot that is stored again later is another one. */
export function withoutSnapshots(compactors: readonly Compactor[], before: number): readonly Compactor[] {
  return compactors.map((compactor) => {
    const { plan } = compactor
    if (plan === undefined) return compactor
    return { ...compactor, plan: { ...plan, needing: plan.needing.filter((length) => length >= before) } }
  })
}

/** From the oldest snapshot on. */
function chainOf({ logs, epoch, snapshots }: State): Log[] {
  const chained: Chained = { logs, epoch, snapshotLength: 0 }
  const chain: Log[] = []
  for (let history = snapshots[0]!; ; ) {
    const next = continuation(history, chained, undefined)
    if (next === undefined) return chain
    if (next instanceof Error) return []
    chain.push(next)
    history = next.before + next.writes
  }
}

/** It may be taken where a source begins, and where a snapshot ends. */
function merged(sources: readonly Log[], snapshots: readonly string[]): Log {
  const first = sources[0]!
  const writes = sources.map((log) => log.writes).join('')
  const starts = sources.slice(1).map(startOf)
  const ends = snapshots.filter((snapshot) => canBeTaken(sources, snapshot)).map(({ length }) => length)
  const all = new Set([...starts, ...sources.flatMap(({ boundaries = [] }) => boundaries), ...ends])
  return { ...first, writes, boundaries: [...all].sort((a, b) => a - b) }
}

function canBeTaken(sources: readonly Log[], { length }: string): boolean {
  return sources.some((log) => log.boundaries === undefined && startOf(log) < length && endOf(log) > length)
}

/** Of the same history, ending where the merged log can be taken, or ends; which can be taken wherever the other one can. */
function mayReplace(there: Log, made: Log, broken: Broken | undefined): boolean {
  if (broken === 'replaces whatever begins there') return true
  const text = there.before + there.writes
  const isBoundary = endOf(there) === endOf(made) || made.boundaries!.includes(endOf(there))
  const isHistory = there.before === made.before && (made.before + made.writes).startsWith(text)
  const keepsAll = (there.boundaries ?? []).every((length) => made.boundaries!.includes(length))
  return (
    isHistory &&
    isBoundary &&
    (keepsAll || broken === 'forgets where the log could be taken that it replaces')
  )
}

function isInside(log: Log, other: Log): boolean {
  return startOf(other) < startOf(log) && endOf(other) > startOf(log)
}
