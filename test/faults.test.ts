/** System calls that fail: a library that is preloaded into a child process makes them, one after the other. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { Child } from './support/child.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'

interface Report {
  /** Calls, in order: name and path; "failed" before those that did. */
  readonly trace: readonly string[]
  readonly errors: readonly string[]
  readonly gaveUp?: string
  readonly problems: readonly string[]
}

/** w: what changes files. r: what reads them. `count` calls fail, from the n-th on, until the first one is noticed. */
interface Fault {
  readonly kinds: 'w' | 'r'
  readonly n: number
  readonly errno: number
  readonly count: number
}

class FaultyProcess {
  readonly #child: Child<Report>

  constructor() {
    const folder = temporaryFolder()
    const library = join(folder, 'faults.so')
    const source = fileURLToPath(new URL('programs/faults.c', import.meta.url))
    execFileSync('gcc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'])
    const lives = join(folder, 'lives')
    mkdirSync(join(lives, 'tmp'), { recursive: true })
    this.#child = new Child('faulty-life.mjs', {
      argument: { folder: lives },
      env: {
        TMPDIR: join(lives, 'tmp'),
        LD_PRELOAD: library,
        FAULTS_PREFIX: `${lives}/`,
        FAULTS_TRACE: join(folder, 'trace'),
        // libuv makes its calls itself.
        UV_USE_IO_URING: '0',
      },
    })
  }

  live(fault: Fault): Promise<Report> {
    this.#child.send(fault)
    return this.#child.expect()
  }
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

const { ENOSPC, EIO } = constants.errno

it.each([
  { name: 'one write fails for lack of space', kinds: 'w', errno: ENOSPC, count: 1, lives: 18 },
  { name: 'the disk fails from some write on', kinds: 'w', errno: EIO, count: 1e9, lives: 12 },
  { name: 'one read fails', kinds: 'r', errno: EIO, count: 1, lives: 8 },
] as const)(
  'when $name, it is told, nothing is lost, and the next attempt works',
  ({ name, lives, ...fault }) =>
    withSeed(name, async (random) => {
      const process = new FaultyProcess()
      const { trace, problems, errors } = await process.live({ ...fault, n: 1e9 })
      expect({ problems, errors }).toEqual({ problems: [], errors: [] })
      for (const n of sample(random, trace, lives)) {
        const report = await process.live({ ...fault, n })
        const failed = report.trace.find((call) => call.startsWith('failed '))
        const context = `call ${n}: ${failed}, told as ${report.errors}`
        expect(report.problems, context).toEqual([])
        // A primary that cannot read what it has committed has ended.
        if (!/^failed (pread|read) .*-wal$/.test(failed ?? '')) expect(report.gaveUp, context).toBeUndefined()
      }
    }),
)
