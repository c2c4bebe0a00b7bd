/** Locks and removal of the directories for temporary files; main/temporary-files.ts has the rules. */
import { closeSync, constants, lstatSync, openSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TaskOf } from '../protocol/tasks.js'
import { lockFileName, temporaryDirectoryPrefix } from '../protocol/temporary.js'
import { attempt } from './file-io.js'
import { native } from './native.js'

/** A directory without a lock file is being made, unless it is older than this. */
const makingMs = 60_000

export function lockFile({ fd, path }: TaskOf<'lockFile'>): boolean {
  return attempt('lock', path, () => native.tryLock(fd))
}

/** Failures are passed over: what cannot be removed now is somebody else's, or is removed the next time. */
export function sweepTemporaryDirectories({ root }: TaskOf<'sweepTemporaryDirectories'>): void {
  for (const name of readdirSync(root)) {
    if (!name.startsWith(temporaryDirectoryPrefix)) continue
    try {
      sweep(join(root, name))
    } catch {}
  }
}

function sweep(directory: string): void {
  const stats = lstatSync(directory)
  if (!stats.isDirectory() || stats.uid !== process.getuid?.()) return
  const fd = openLock(directory)
  if (fd === undefined) {
    if (Date.now() - stats.mtimeMs > makingMs) rmdirSync(directory)
    return
  }
  try {
    if (native.tryLock(fd)) rmSync(directory, { recursive: true, force: true })
  } finally {
    closeSync(fd)
  }
}

function openLock(directory: string): number | undefined {
  try {
    return openSync(
      join(directory, lockFileName),
      constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
