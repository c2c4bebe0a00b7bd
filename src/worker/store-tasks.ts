/**
 * What a thread does for a FileStore: all steps of storing a log at once, in the order that main/stores/store-folder.ts
 * describes. Going back to the event loop between them would take longer than most of them do.
 */
import { closeSync, fdatasyncSync, fstatSync, linkSync, openSync, readdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { newestEpoch } from '../protocol/epoch-name.js'
import { segmentPadding } from '../protocol/segment-format.js'
import { storeError } from '../protocol/store-error.js'
import type { StoredFile, TaskOf } from '../protocol/tasks.js'
import { discardFile, syncPath, writeAll, writeZeros } from './file-io.js'
import { packedLogObject, plainLogBytes } from './plain-log.js'

/** Undefined when there is a file of that name: it stays. Throws ERR_STORE. */
export function storeFile(task: TaskOf<'storeFile'>): StoredFile | undefined {
  const { fileBytes, temporaryPath, isMade, path, epochsPath } = task
  try {
    const bytes = (task.packs ? packedLogObject(task.log) : undefined) ?? plainLogBytes(task.log)
    const fd = openSync(temporaryPath, isMade ? 'r+' : 'wx', 0o644)
    try {
      if (!isMade && fileBytes > bytes.length) writeZeros(fd, fileBytes)
      writeAll(fd, bytes, 0)
      if (fileBytes > bytes.length) writeAll(fd, segmentPadding(bytes, bytes.length), bytes.length)
      fdatasyncSync(fd)
      if (!gaveName(temporaryPath, path)) return undefined
      const storedAtMs = fstatSync(fd).mtime.getTime()
      syncPath(dirname(path))
      // Behind the append: that is what decides whether it may be acknowledged.
      return {
        byteLength: bytes.length,
        storedAtMs,
        newestEpoch: newestEpoch(readdirSync(epochsPath)),
      }
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw storeError(error, 'write', path)
  }
}

/**
 * Removes what has its name by now, and makes the file that the next log goes to: to find room for one takes time, and
 * to write into room for the first time takes a commit of the file system's journal.
 */
export function tidyStore({ temporaryPath, next }: TaskOf<'tidyStore'>): undefined {
  discardFile(temporaryPath)
  if (next === undefined) return
  const fd = openSync(next.path, 'wx', 0o644)
  try {
    writeZeros(fd, next.byteLength)
    if (next.byteLength > 0) fdatasyncSync(fd)
  } catch (error) {
    discardFile(next.path)
    throw error
  } finally {
    closeSync(fd)
  }
}

function gaveName(temporaryPath: string, path: string): boolean {
  try {
    linkSync(temporaryPath, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}
