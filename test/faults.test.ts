/**
 * System calls that fail: a library that is preloaded into a child process makes them, one in each life of a database.
 * Which ones is decided by a seed that is always the same; MYLIBSQL_SEED tries others.
 */
import { mkdirSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { Child } from './support/child.js'
import { faultyEnvironment } from './support/faults.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'

/** `count` calls of these kinds fail, from the n-th on, until the first failure is noticed. Kinds: see faults.c. */
interface Fault {
  readonly kinds: string
  readonly n: number
  readonly errno: number
  readonly count: number
}

interface Report {
  /** Calls of these kinds, in order: kind, name and path; "failed" before those that did. */
  readonly trace: readonly string[]
  readonly errors: readonly string[]
  /** Files that errors with ERR_IO name. */
  readonly blamed: readonly string[]
  readonly gaveUp?: string
  readonly problems: readonly string[]
}

const { ENOSPC, EIO, EACCES } = constants.errno
const never = 1e9

class FaultyProcess {
  readonly #child: Child<Report>

  constructor() {
    const folder = temporaryFolder()
    const lives = join(folder, 'lives')
    mkdirSync(join(lives, 'tmp'), { recursive: true })
    this.#child = new Child('faulty-life.mjs', {
      argument: { folder: lives },
      env: { TMPDIR: join(lives, 'tmp'), ...faultyEnvironment(folder, lives) },
    })
  }

  live(fault: Fault): Promise<Report> {
    this.#child.send(fault)
    return this.#child.expect()
  }

  /** It ends by itself: nothing was left open. */
  end(): Promise<void> {
    return this.#child.end()
  }
}

let calls: Promise<readonly string[]> | undefined

/** What the first life in a process calls when nothing fails. */
function callsOf(kind: string): Promise<string[]> {
  calls ??= new FaultyProcess().live({ kinds: 'wrds', n: never, errno: EIO, count: 1 }).then((report) => {
    expect(report).toMatchObject({ problems: [], errors: [] })
    return report.trace
  })
  return calls.then((all) => all.filter((call) => call.startsWith(kind)))
}

/** For each run of calls of a kind on the same file, one of them; of these, `count`. */
function sample(random: Random, trace: readonly string[], count: number): number[] {
  const runs: number[][] = []
  for (const [index, call] of trace.entries()) {
    if (index > 0 && call === trace[index - 1]) runs.at(-1)!.push(index + 1)
    else runs.push([index + 1])
  }
  const all = runs.map((run) => random.pick(run))
  while (all.length > count) all.splice(random.integer(0, all.length - 1), 1)
  return all
}

/** A call on the folder of a file, or on the file under another name, is one that has to do with it. */
function concerns(path: string, call: string): boolean {
  const called = call.split(' ').at(-1)!
  return called.startsWith(path) || path.startsWith(called)
}

it.each([
  { name: 'one write fails for lack of space', kinds: 'w', errno: ENOSPC, count: 1, lives: 9, seed: 1 },
  { name: 'the disk fails from some write on', kinds: 'w', errno: EIO, count: never, lives: 6, seed: 2 },
  { name: 'one read fails', kinds: 'r', errno: EIO, count: 1, lives: 6, seed: 3 },
  { name: 'one file cannot be removed', kinds: 'd', errno: EACCES, count: 1, lives: 3, seed: 4 },
  { name: 'one lock, size or mapping is refused', kinds: 's', errno: EIO, count: 1, lives: 4, seed: 209 },
] as const)(
  'when $name, it is told, nothing is lost, and the next attempt works',
  ({ name, lives, seed, ...fault }) =>
    withSeed(
      name,
      async (random) => {
        const process = new FaultyProcess()
        for (const n of sample(random, await callsOf(fault.kinds), lives)) {
          const report = await process.live({ ...fault, n })
          const failed = report.trace.filter((call) => call.startsWith('failed '))
          const context = `call ${n}: ${failed[0]}, told as ${report.errors}`
          expect(report.problems, context).toEqual([])
          const blamedInVain = report.blamed.filter((path) => !failed.some((call) => concerns(path, call)))
          expect(blamedInVain, context).toEqual([])
          // A primary that cannot read what it has committed has ended.
          const isLost = /^failed r .*-wal$/.test(failed[0] ?? '')
          if (!isLost) expect(report.gaveUp, context).toBeUndefined()
        }
        await process.end()
      },
      seed,
    ),
)

it('when a snapshot cannot be synced, it is not trusted the next time, but copied', async () => {
  const trace = await callsOf('w')
  const renameAt = trace.findIndex((call) => /^w rename .*base\.db$/.test(call))
  expect(trace[renameAt - 1]).toMatch(/^w fsync .*\.db$/)
  const process = new FaultyProcess()
  const report = await process.live({ kinds: 'w', n: renameAt, errno: EIO, count: 1 })
  expect(report).toMatchObject({ problems: [], errors: [expect.stringMatching(/^moveTo: .* ERR_IO/)] })
  const after = report.trace.slice(renameAt, renameAt + 5)
  expect(after.map((call) => call.replace(/ \/.*(base\.db).*/, ' $1'))).toEqual(
    ['open', 'pwrite', 'pwrite', 'fsync', 'rename'].map((name) => `w ${name} base.db`),
  )
  await process.end()
})
