/** The search through all states of the model, and what must hold in each of them. */
import { Contents } from './contents.js'
import { type Bounds, followedFrom, historyOf, initialState, openedFrom, type State, steps } from './model.js'
import { type Explored, exploreStates } from './state-search.js'

export function explore(bounds: Bounds): Explored {
  // Of many states that differ in what is under way only.
  const problems = new Map<string, string | undefined>()
  const contents = new Contents()
  return exploreStates<State>({
    first: initialState(bounds),
    steps: (state) => steps(state, bounds),
    problemOf: ({ epoch, logs, snapshots, acknowledged }) => {
      const stored = { epoch, logs, snapshots, acknowledged }
      const key = contents.textOf(stored)
      if (!problems.has(key)) problems.set(key, problemOf(stored, bounds))
      return problems.get(key)
    },
  })
}

type Seen = Pick<State, 'epoch' | 'logs' | 'snapshots' | 'acknowledged'>

function problemOf(state: Seen, { broken, compactCountsMax = [] }: Bounds): string | undefined {
  const history = historyOf(state, broken)
  if (typeof history !== 'string') return `nothing can be opened: ${history.message}`
  const kept = [...history].filter((write) => state.acknowledged.includes(write)).join('')
  if (kept !== state.acknowledged)
    return `acknowledged were ${state.acknowledged}, in the history are ${history || 'none'}`
  if (compactCountsMax.length === 0) return undefined
  // From no snapshot anything else; and a replica, wherever it stands, waits rather than apply anything else.
  for (const snapshot of state.snapshots) {
    const found = openedFrom(state, snapshot, broken)
    if (typeof found === 'string' && found !== history)
      return `from snapshot ${snapshot || 'none'} the history is ${found || 'empty'}, not ${history}`
  }
  for (let length = 0; length < history.length; length++) {
    const found = followedFrom(state, history.slice(0, length), broken)
    if (!history.startsWith(found))
      return `a replica at ${length} comes to ${found}, the history is ${history}`
  }
  return undefined
}
