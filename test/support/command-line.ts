/** The built command line in child processes, as users run it, and folders for it; for one test file each. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach } from 'vitest'

export const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

interface Run {
  readonly child: ChildProcess
  readonly output: { out: string; err: string }
  readonly code: Promise<number | null>
}

export class CommandLine {
  /** TMPDIR of the children. */
  temporary = ''
  /** A place beside it for what a test keeps. */
  folder = ''
  readonly #children = new Set<ChildProcess>()

  constructor() {
    beforeEach(async () => {
      this.temporary = await mkdtemp(join(tmpdir(), 'cli-test-temporary-'))
      this.folder = await mkdtemp(join(tmpdir(), 'cli-test-'))
    })
    afterEach(async () => {
      for (const child of this.#children) if (child.exitCode === null) child.kill('SIGKILL')
      this.#children.clear()
      await rm(this.temporary, { recursive: true, force: true })
      await rm(this.folder, { recursive: true, force: true })
    })
  }

  start(...args: string[]): Run {
    const child = spawn(process.execPath, [main, ...args], {
      env: { ...process.env, TMPDIR: this.temporary },
    })
    this.#children.add(child)
    const output = { out: '', err: '' }
    child.stdout.on('data', (chunk) => {
      output.out += chunk
    })
    child.stderr.on('data', (chunk) => {
      output.err += chunk
    })
    return { child, output, code: once(child, 'close').then(([code]) => code as number | null) }
  }

  async run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    const { output, code } = this.start(...args)
    return { code: await code, ...output }
  }
}

/** Throws when the command has ended before. */
export async function until({ child, output }: Run, isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) {
    if (child.exitCode !== null) throw new Error(`It has ended with code ${child.exitCode}: ${output.err}`)
    await delay(20)
  }
}
