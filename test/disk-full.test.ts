// A disk that is full or cannot be written to: a real one of 4 MiB, in a mount namespace of the child process, where that
// is permitted; and everywhere a folder whose files a preloaded library does not let grow beyond that.
import { execFile, spawnSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { faultyEnvironment } from './support/faults.js'
import { temporaryFolder } from './support/folder.js'

const program = join(import.meta.dirname, 'programs/small-disk.mjs')
const script = `
  set -e
  mount -t tmpfs -o size=4m tmpfs "$1"
  mkdir "$1/read-only"
  mount -t tmpfs -o ro tmpfs "$1/read-only"
  shift
  exec "$@"`

// Without privileges a user namespace gives what it takes to mount.
const unshare = ['unshare', process.getuid?.() === 0 ? '-m' : '-rm']
const mount = (folder: string) => [...unshare, 'sh', '-c', script, 'sh', folder]
const [command, ...rest] = [...unshare, 'sh', '-c', 'mount -t tmpfs tmpfs /mnt']
const mountIsPermitted = spawnSync(command!, rest).status === 0

/** What the program saw. `onSmallDisk`: its temporary files are there too. */
async function run(
  way: 'mounted' | 'limited',
  scenario: string,
  onSmallDisk = false,
): Promise<Record<string, unknown>> {
  const folder = temporaryFolder()
  const disk = join(folder, 'disk')
  await mkdir(disk)
  const launcher = way === 'mounted' ? mount(disk) : []
  const faults = way === 'mounted' ? {} : faultyEnvironment(folder, disk)
  const env = { ...process.env, ...faults, ...(onSmallDisk ? { TMPDIR: disk } : {}) }
  const [file, ...args] = [...launcher, process.execPath, program, disk, scenario]
  const { stdout } = await promisify(execFile)(file!, args, { env, timeout: 200_000 })
  return JSON.parse(stdout) as Record<string, unknown>
}

const ways = mountIsPermitted ? (['mounted', 'limited'] as const) : (['limited'] as const)

describe.each(ways)('a small disk, %s,', (way) => {
  it('fails the write that does not fit, and no other; goes on when there is room', async () => {
    const { group, ...rest } = await run(way, 'writes')
    expect(group).toEqual(['ok', expect.stringMatching(/^SqliteError SQLITE_(FULL|IOERR)/), 'ok'])
    expect(rest).toEqual({ rows: 2, again: 'ok', isSame: true, integrity: 'ok' })
  })

  it('empties a WAL that alone has filled it, and goes on', async () => {
    expect(await run(way, 'walFills')).toEqual({
      codes: ['ok', 'SqliteError SQLITE_FULL'],
      again: 'ok',
      integrity: 'ok',
    })
  })

  it('empties the WAL of a replica, likewise', async () => {
    expect(await run(way, 'replicaFills')).toEqual({
      code: 'ERR_IO',
      cause: 'ENOSPC',
      again: 'ok',
      isSame: true,
    })
  })

  it('loses no frame when a log cannot be sealed', async () => {
    const seen = await run(way, 'seals', true)
    expect(seen).toMatchObject({ checkpoint: 'MylibsqlError ERR_IO', savedWhenFull: 0, again: 'ok' })
    expect(seen.frameCount).toBe(seen.expectedFrameCount)
    // Nor is anything left of logs that could not be merged.
    expect(seen).toMatchObject({ merge: 'MylibsqlError ERR_IO', left: [] })
  })

  it('applies nothing of a log that does not fit, and leaves no half file', async () => {
    expect(await run(way, 'replicates')).toEqual({
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
    const { codes, ...rest } = await run(way, 'refuses')
    expect(codes).toEqual(Array.from({ length: 7 }, () => 'MylibsqlError ERR_IO'))
    expect(rest).toEqual({ left: [], goesOn: 'ok' })
  })
})
