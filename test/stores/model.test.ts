// Every state that primaries on one store can come to, within bounds: whoever opens the store finds what was
// acknowledged, each write once and in order. Each rule that is left out is found to be needed.
import { expect, it } from 'vitest'
import { type Bounds, type Broken, historyOf, initialState, type State, steps } from './model.js'

interface Found {
  readonly problem: string
  readonly path: readonly string[]
}

/** Breadth first: what is found is found by the fewest steps. */
function explore(bounds: Bounds): { stateCount: number; found?: Found } {
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
  if (kept === state.acknowledged) return undefined
  return `acknowledged were ${state.acknowledged}, in the history are ${history || 'none'}`
}

it.each<[string, Bounds]>([
  [
    'two primaries',
    { primaryCount: 2, openCountMax: 2, writeCountMax: 2, snapshotCountMax: 0, copyCountMax: 1 },
  ],
  [
    'two primaries and snapshots',
    { primaryCount: 2, openCountMax: 1, writeCountMax: 2, snapshotCountMax: 1, copyCountMax: 1 },
  ],
  [
    'three primaries',
    { primaryCount: 3, openCountMax: 1, writeCountMax: 1, snapshotCountMax: 0, copyCountMax: 1 },
  ],
])('%s: no acknowledged write is lost, made twice or out of order', (name, bounds) => {
  const { stateCount, found } = explore(bounds)
  console.log(`${name}: ${stateCount} states`)
  expect(found).toBeUndefined()
})

it.each<[Broken, number]>([
  ['lists before it claims', 1],
  ['does not look at the epoch', 0],
  ['looks at the epoch before it appends', 0],
  ['overwrites logs', 0],
  ['goes on when it is fenced', 0],
  ['stores snapshots of unsaved writes', 1],
  ['ignores lineage', 1],
  ['prunes the newest log', 1],
])('writes are lost when it %s', (broken, snapshotCountMax) => {
  const bounds = {
    primaryCount: 2,
    openCountMax: 1,
    writeCountMax: 2,
    copyCountMax: 1,
    snapshotCountMax,
    broken,
  }
  const { stateCount, found } = explore(bounds)
  console.log(`${broken}: ${stateCount} states\n  ${found?.path.join('\n  ')}\n  ${found?.problem}`)
  expect(found).toBeDefined()
})
