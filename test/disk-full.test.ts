// A disk that is full or cannot be written to: a real one of 4 MiB, in a mount namespace of the child process.
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const program = join(import.meta.dirname, 'programs/small-disk.mjs')
const script = `
  set -e
  mount -t tmpfs -o size=4m tmpfs "$1"
  mkdir "$1/read-only"
  mount -t tmpfs -o ro tmpfs "$1/read-only"
  exec "$2" "$3" "$1" "$4"`

/** What the program saw. `onSmallDisk`: its temporary files are there too. */
async function run(scenario: string, onSmallDisk = false): Promise<Record<string, unknown>> {
  const folder = await mkdtemp(join(tmpdir(), 'small-disk-'))
  // Without privileges a user namespace gives what it takes to mount.
  const isRoot = process.getuid?.() === 0
  const args = [isRoot ? '-m' : '-rm', 'sh', '-c', script, 'sh', folder, process.execPath, program, scenario]
  const env = { ...process.env, ...(onSmallDisk ? { TMPDIR: folder } : {}) }
  try {
    const { stdout } = await promisify(execFile)('unshare', args, { env, timeout: 50_000 })
    return JSON.parse(stdout) as Record<string, unknown>
  } finally {
    await rm(folder, { recursive: true })
  }
}

it('fails the write that does not fit, and no other; goes on when there is room', async () => {
  const { group, ...rest } = await run('writes')
  expect(group).toEqual(['ok', expect.stringMatching(/^SqliteError SQLITE_(FULL|IOERR)/), 'ok'])
  expect(rest).toEqual({ rows: 2, again: 'ok', isSame: true, integrity: 'ok' })
})

it('loses no frame when a log cannot be sealed', async () => {
  const seen = await run('seals', true)
  expect(seen).toMatchObject({ checkpoint: 'MylibsqlError ERR_IO', savedWhenFull: 0, again: 'ok' })
  expect(seen.frameCount).toBe(seen.expectedFrameCount)
})

it('applies nothing of a log that does not fit, and leaves no half file', async () => {
  expect(await run('replicates')).toEqual({
    replicate: 'MylibsqlError ERR_IO',
    rows: 0,
    snapshot: 'MylibsqlError ERR_IO',
    copyTo: 'MylibsqlError ERR_IO',
    left: [],
    again: 'ok',
    isSame: true,
  })
})

it('says ERR_IO where nothing can be written or found, and goes on', async () => {
  const { codes, ...rest } = await run('refuses')
  expect(codes).toEqual(Array.from({ length: 7 }, () => 'MylibsqlError ERR_IO'))
  expect(rest).toEqual({ left: [], goesOn: 'ok' })
})
