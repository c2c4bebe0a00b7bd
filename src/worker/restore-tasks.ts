/** What the task threads do for a restore: the file grows beside its place, and gets its name when it is complete. */
import { existsSync, fsyncSync, ftruncateSync, linkSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { MylibsqlError } from '../protocol/errors.js'
import { ioError } from '../protocol/io-error.js'
import { type LogHeader, logRecordsByteLength } from '../protocol/log-format.js'
import type { TaskOf, TaskResult } from '../protocol/tasks.js'
import type { RestoredFile } from '../protocol/wire.js'
import { attempt, syncPath, withFile } from './file-io.js'
import { applyChecked, type OpenedLog } from './log-source.js'
import { native } from './native.js'
import { LastFile, undoubtedLog } from './stored-logs.js'
import { copyPages, snapshotPosition } from './working-copy.js'

/** The snapshot's own file, when it may be taken and is on the same file system; otherwise a copy. */
export function beginRestore({ snapshot, mayTake, path }: TaskOf<'beginRestore'>): RestoredFile {
  const { trailer } = snapshot
  const isTaken = mayTake && tryRename(snapshot.path, path)
  if (!isTaken) withFile(path, 'wx+', (fd) => copyPages(snapshot, fd))
  const { pageSize, pageCount } = trailer
  return { path, pageSize, pageCount, position: snapshotPosition(trailer) }
}

/** Throws as planLog, ERR_CORRUPT, ERR_IO. All frames are checked before the first is written. */
export function restoreLog({ file, log }: TaskOf<'restoreLog'>): RestoredFile {
  return withFile(file.path, 'r+', (fd) => withLog(file, log, fd))
}

/** Whoever looks closer at the log that was not applied finds out why. Throws ERR_IO when the file cannot be opened. */
export function restoreStoredLogs({
  file,
  logs: { locations, behind, epochMin },
  until,
}: TaskOf<'restoreStoredLogs'>): TaskResult<'restoreStoredLogs'> {
  const files = new LastFile()
  const restoreAll = (fd: number): TaskResult<'restoreStoredLogs'> => {
    let restored = file
    let last: LogHeader | undefined
    let logBytes = 0
    for (const [index, location] of locations.entries()) {
      const expected = { ...restored.position, pageSize: file.pageSize, epochMin, until }
      const log = undoubtedLog(location, expected, locations[index + 1] ?? behind, files)
      const next = log && unlessRefused(() => withLog(restored, log, fd))
      if (next === undefined) return { file: restored, appliedCount: index, last, logBytes, isDoubtful: true }
      restored = next
      last = log!.header
      logBytes += logRecordsByteLength(last)
    }
    return { file: restored, appliedCount: locations.length, last, logBytes, isDoubtful: false }
  }
  try {
    return withFile(file.path, 'r+', restoreAll)
  } finally {
    files.close()
  }
}

function withLog(file: RestoredFile, log: OpenedLog, fd: number): RestoredFile {
  const outcome = applyChecked(log, file.position, file.pageSize, (source, run) =>
    native.applyFrames(source, run, fd),
  )
  return outcome === undefined ? file : { ...file, pageCount: outcome.applied, position: outcome.next }
}

/** What was written of it in part is written again, or not there when the restore has failed. */
function unlessRefused<T>(apply: () => T): T | undefined {
  try {
    return apply()
  } catch {
    return undefined
  }
}

/** Synced, then named: nothing is there under that name before, and nothing that is there is replaced. */
export function endRestore({ file, target }: TaskOf<'endRestore'>): void {
  const { path, pageSize, pageCount } = file
  withFile(path, 'r+', (fd) => {
    // Behind the last page a snapshot has its trailer.
    ftruncateSync(fd, pageSize * pageCount)
    fsyncSync(fd)
  })
  attempt('write', target, () => {
    if (!tryLink(path, target)) renameSync(path, target)
    rmSync(path, { force: true })
    syncPath(dirname(target))
  })
}

function tryRename(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EXDEV') return false
    throw ioError(error, 'write', to)
  }
}

/** False where the file system has no links, and nothing is at `target`. */
function tryLink(path: string, target: string): boolean {
  try {
    linkSync(path, target)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' || existsSync(target)) {
      throw new MylibsqlError('ERR_PATH_EXISTS', `${target} exists: it is left alone`, { path: target })
    }
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') return false
    throw error
  }
}
