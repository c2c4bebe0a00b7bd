/** Visits every state that a model can reach, breadth first: what is found is found by the fewest steps. */

import { Contents } from './contents.js'

export interface Search<S extends object> {
  readonly first: S
  /** Every state that one step leads to, with the name of the step. */
  readonly steps: (state: S) => Iterable<[string, S]>
  /** What must not be, if it is. */
  readonly problemOf: (state: S) => string | undefined
}

export interface Explored {
  readonly stateCount: number
  readonly found?: { readonly problem: string; readonly path: readonly string[] }
}

interface Path {
  readonly name: string
  readonly before: Path | undefined
}

export function exploreStates<S extends object>({ first, steps, problemOf }: Search<S>): Explored {
  const contents = new Contents()
  const seen = new Set([contents.textOf(first)])
  let level: { state: S; path: Path | undefined }[] = [{ state: first, path: undefined }]
  while (level.length > 0) {
    const next: typeof level = []
    for (const { state, path } of level) {
      for (const [name, reached] of steps(state)) {
        const key = contents.textOf(reached)
        if (seen.has(key)) continue
        seen.add(key)
        const pathThere = { name, before: path }
        const problem = problemOf(reached)
        if (problem !== undefined)
          return { stateCount: seen.size, found: { problem, path: namesOf(pathThere) } }
        next.push({ state: contents.ofFirsts(reached), path: pathThere })
      }
    }
    level = next
  }
  return { stateCount: seen.size }
}

function namesOf(path: Path | undefined): string[] {
  return path === undefined ? [] : [...namesOf(path.before), path.name]
}
