/**
 * Temporary files: one directory for each process (or thread that uses the library), made when first needed and
 * removed at its exit. A process that was killed leaves its directory behind; the next one removes it.
 *
 * Whether the owner of a directory lives is asked of the lock on its `lock` file, never of a process number,
 * which may be in use again. The order that makes this safe:
 *
 *     maker     mkdtemp, open `lock`, take the lock, see that `lock` is still the file that was opened
 *     sweeper   open `lock`, take the lock, remove the directory
 *
 * Only one of them gets the lock. A maker that loses, or finds its file gone, starts over with another name. A
 * directory without a lock file is one that is just being made, or an old one.
 */
import { closeSync, constants, fstatSync, openSync, rmSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ioError } from '../protocol/io-error.js'
import { lockFileName, temporaryDirectoryPrefix } from '../protocol/temporary.js'
import { runBriefTask, runTask } from './task-pool.js'

let directory: Promise<string> | undefined
let fileCount = 0

/** The directory of this process. Throws ERR_IO. */
function temporaryDirectory(): Promise<string> {
  directory ??= makeDirectory().catch((error: unknown) => {
    directory = undefined
    throw ioError(error, 'make a directory for temporary files in', tmpdir())
  })
  return directory
}

/** A path in it that is not in use, such as `temporaryPath('.log')`. Nothing is made there. */
export async function temporaryPath(suffix: string): Promise<string> {
  return join(await temporaryDirectory(), `${fileCount++}${suffix}`)
}

/** Removes a temporary file when `owner` is garbage collected, if nothing else did before. */
export function removeWhenCollected(owner: object, path: string): void {
  abandoned.register(owner, path, owner)
}

/** `owner` has no temporary file any more, or another one. */
export function keepWhenCollected(owner: object): void {
  abandoned.unregister(owner)
}

/** The temporary file of `owner`, one at a time: it goes with it, on remove() or when it is garbage collected. */
export class OwnedFile {
  readonly #owner: object
  #path: string | undefined

  constructor(owner: object) {
    this.#owner = owner
  }

  get path(): string | undefined {
    return this.#path
  }

  /** This file instead of the one before, which is removed. */
  take(path: string): void {
    if (path === this.#path) return
    if (this.#path !== undefined) {
      keepWhenCollected(this.#owner)
      removeTemporaryFile(this.#path)
    }
    removeWhenCollected(this.#owner, path)
    this.#path = path
  }

  async remove(): Promise<void> {
    if (this.#path === undefined) return
    keepWhenCollected(this.#owner)
    await removeTemporaryFile(this.#path)
  }
}

/** Never rejects: what cannot be removed now goes with the directory. */
export async function removeTemporaryFile(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => {})
}

const abandoned = new FinalizationRegistry<string>(removeTemporaryFile)

const attemptsMax = 10

async function makeDirectory(): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const made = await tryMakeDirectory()
    if (made !== undefined) {
      process.on('exit', () => rmSync(made, { recursive: true, force: true }))
      // Nobody waits for the sweep, and a failed one is no failure of what the caller does.
      runTask({ kind: 'sweepTemporaryDirectories', root: tmpdir() }).catch(() => {})
      return made
    }
    if (attempt === attemptsMax) throw new Error('the lock on a new directory was taken by others each time')
  }
}

async function tryMakeDirectory(): Promise<string | undefined> {
  const made = await mkdtemp(join(tmpdir(), `${temporaryDirectoryPrefix}${process.pid}-`))
  // Held open, and with it the lock, until the process or thread ends.
  const path = join(made, lockFileName)
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
  let isOurs = false
  try {
    isOurs = (await runBriefTask({ kind: 'lockFile', fd, path })) && isStillThere(path, fd)
  } finally {
    // Without the lock the directory is anybody's to remove.
    if (!isOurs) closeSync(fd)
  }
  return isOurs ? made : undefined
}

function isStillThere(path: string, fd: number): boolean {
  return statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino
}
