// Every state that primaries on a FileStore can come to with segments, within bounds: whoever opens it finds what was
// acknowledged, and what a reader was told to be there stays. Each rule that is left out is found to be needed.
import { expect, it } from 'vitest'
import {
  type BrokenSegments,
  initialSegments,
  type SegmentBounds,
  segmentProblem,
  segmentSteps,
} from './segment-model.js'
import { exploreStates } from './state-search.js'

const timeoutMs = 300_000

function explore(bounds: SegmentBounds) {
  return exploreStates({
    first: initialSegments(bounds),
    steps: (state) => segmentSteps(state, bounds),
    problemOf: (state) => segmentProblem(state, bounds),
  })
}

/** MYLIBSQL_MODEL=full: twenty times the states. */
const isFull = process.env.MYLIBSQL_MODEL === 'full'

const two = { primaryCount: 2, openCountMax: 1, writeCountsMax: isFull ? [3, 2] : [2, 2], readerCount: 1 }
const three = { primaryCount: 3, openCountMax: 1, writeCountsMax: [2, 1, 1], readerCount: 0 }
const again = { primaryCount: 2, openCountMax: 2, writeCountsMax: [2, 1], readerCount: 0 }

it.each<[string, SegmentBounds]>([
  ['two primaries, a reader', two],
  ['three primaries', three],
  ['two primaries that open again', again],
  ['three primaries, a reader', { ...three, writeCountsMax: isFull ? [2, 1, 0] : [1, 0, 0], readerCount: 1 }],
])(
  '%s: no acknowledged log is lost, and none that was told to be there',
  (name, bounds) => {
    const { stateCount, found } = explore(bounds)
    console.log(`${name}: ${stateCount} states`)
    expect(found?.path.concat(found.problem)).toBeUndefined()
  },
  timeoutMs,
)

it.each<[BrokenSegments, SegmentBounds]>([
  ['does not end segments', three],
  ['looks at the newest segment before it claims', two],
  ['opens though a newer epoch was claimed', two],
  ['replaces ends', { ...three, writeCountsMax: [2, 0, 0], readerCount: 1 }],
  ['ends segments of newer primaries', two],
  ['takes what is in a segment though a newer epoch was claimed', two],
  ['looks at the epoch before it puts a log', two],
  ['goes on with a segment after a log elsewhere', { ...two, writeCountsMax: [3, 0] }],
  ['ends its segment while it adds to it', two],
  ['takes logs behind the start of the next file', two],
])(
  'logs are lost when a primary or a reader %s',
  (broken, bounds) => {
    const { stateCount, found } = explore({ ...bounds, broken })
    console.log(`${broken}: ${stateCount} states\n  ${found?.path.join('\n  ')}\n  ${found?.problem}`)
    expect(found).toBeDefined()
  },
  timeoutMs,
)
