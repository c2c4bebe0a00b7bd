/** The search through all states of the model, and what must hold in each of them. */
import { type Bounds, followedFrom, historyOf, initialState, openedFrom, type State, steps } from './model.js'

interface Found {
  readonly problem: string
  readonly path: readonly string[]
}

/** Breadth first: what is found is found by the fewest steps. */
export function explore(bounds: Bounds): { stateCount: number; found?: Found } {
  const first = initialState(bounds)
  const seen = new Set([JSON.stringify(first)])
  let level: { state: State; path: Path | undefined }[] = [{ state: first, path: undefined }]
  while (level.length > 0) {
    const next: typeof level = []
    for (const { state, path } of level) {
      for (const [name, reached] of steps(state, bounds)) {
        const key = JSON.stringify(reached)
        if (seen.has(key)) continue
        seen.add(key)
        const pathThere = { name, before: path }
        const problem = problemOf(reached, bounds)
        if (problem !== undefined)
          return { stateCount: seen.size, found: { problem, path: namesOf(pathThere) } }
        next.push({ state: reached, path: pathThere })
      }
    }
    level = next
  }
  return { stateCount: seen.size }
}

interface Path {
  readonly name: string
  readonly before: Path | undefined
}

function namesOf(path: Path | undefined): string[] {
  return path === undefined ? [] : [...namesOf(path.before), path.name]
}

function problemOf(state: State, { broken }: Bounds): string | undefined {
  const history = historyOf(state, broken)
  if (typeof history !== 'string') return `nothing can be opened: ${history.message}`
  const kept = [...history].filter((write) => state.acknowledged.includes(write)).join('')
  if (kept !== state.acknowledged)
    return `acknowledged were ${state.acknowledged}, in the history are ${history || 'none'}`
  if (state.compactors.length === 0) return undefined
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
