// Every state that primaries on one store can come to, within bounds: whoever opens the store finds what was
// acknowledged, each write once and in order. Each rule that is left out is found to be needed.
import { expect, it } from 'vitest'
import type { Bounds, Broken } from './model.js'
import { explore } from './model-search.js'

/** Milliseconds, on a machine that has much else to do. */
const timeoutMs = 300_000

/** MYLIBSQL_MODEL=full: twice the states, in twice the time. */
const isFull = process.env.MYLIBSQL_MODEL === 'full'

const few = { openCountMax: 1, snapshotCountMax: 0, copyCountMax: 1 }
const compacted = { ...few, prunes: false }
const pruned = { ...few, snapshotCountMax: 1, hasEarlySnapshots: true }

it.each<[string, Bounds]>([
  ['two primaries', { ...few, primaryCount: 2, openCountMax: 2, writeCountMax: isFull ? 2 : [2, 1] }],
  [
    'two primaries and snapshots',
    { ...few, primaryCount: 2, writeCountMax: isFull ? 2 : [2, 1], snapshotCountMax: 1 },
  ],
  ['three primaries', { ...few, primaryCount: 3, writeCountMax: 1 }],
  [
    'two primaries, two compactors',
    { ...compacted, primaryCount: 2, writeCountMax: [3, 1], compactCountsMax: [1, 1] },
  ],
  [
    'three primaries, one compactor',
    { ...compacted, primaryCount: 3, writeCountMax: [2, 1, 1], compactCountsMax: [1] },
  ],
  [
    'one primary, snapshots, two compactors',
    { ...pruned, primaryCount: 1, writeCountMax: 4, compactCountsMax: [1, 1] },
  ],
  [
    'two primaries, snapshots, one compactor',
    { ...pruned, primaryCount: 2, writeCountMax: [2, 1], compactCountsMax: [1] },
  ],
])(
  '%s: no acknowledged write is lost, made twice or out of order',
  (name, bounds) => {
    const { stateCount, found } = explore(bounds)
    console.log(`${name}: ${stateCount} states`)
    expect(found?.path.concat(found.problem)).toBeUndefined()
  },
  timeoutMs,
)

function expectFound(broken: Broken, bounds: Bounds): void {
  const { stateCount, found } = explore({ ...bounds, broken })
  console.log(`${broken}: ${stateCount} states\n  ${found?.path.join('\n  ')}\n  ${found?.problem}`)
  expect(found).toBeDefined()
}

it.each<[Broken, number]>([
  ['lists before it claims', 1],
  ['does not look at the epoch', 0],
  ['looks at the epoch before it appends', 0],
  ['overwrites logs', 0],
  ['goes on when it is fenced', 0],
  ['stores snapshots of unsaved writes', 1],
  ['ignores lineage', 1],
  ['prunes the newest log', 1],
])(
  'writes are lost when it %s',
  (broken, snapshotCountMax) => {
    expectFound(broken, { ...few, primaryCount: 2, writeCountMax: 2, snapshotCountMax })
  },
  timeoutMs,
)

const three = { ...compacted, primaryCount: 3, writeCountMax: [2, 1, 1], compactCountsMax: [1] }
const two = { ...compacted, primaryCount: 2, writeCountMax: [3, 1], compactCountsMax: [1] }
const twice = { ...compacted, primaryCount: 1, writeCountMax: 5, compactCountsMax: [1, 1] }

it.each<[Broken, Bounds]>([
  ['frees places of logs behind which the newest primary may be', three],
  ['compacts the newest log', two],
  ['takes any log that begins at its position', two],
  ['replaces whatever begins there', twice],
  ['does not look again before it removes', twice],
  ['removes what its own log covers though another one covers that', twice],
  ['forgets where the log could be taken that it replaces', { ...twice, ...pruned, prunes: true }],
  [
    'removes what its own log covers though that may be pruned',
    { ...twice, writeCountMax: 4, snapshotCountMax: 1, prunes: true },
  ],
  [
    'removes remains that could be taken where nothing else can',
    { ...twice, ...pruned, writeCountMax: 4, compactCountsMax: [1, 2], prunes: true },
  ],
  ['prunes up to any snapshot', { ...twice, ...pruned, prunes: true }],
])(
  'writes are lost when compaction or a reader %s',
  (broken, bounds) => {
    expectFound(broken, bounds)
  },
  timeoutMs,
)
