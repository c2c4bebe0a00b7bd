/**
 * Entry point of the task threads (main/task-pool.ts): runs one task and answers with its outcome. Errors
 * travel as values, so that class, code and cause survive.
 */
import { toWireError } from '../protocol/errors.js'
import type { Task } from '../protocol/tasks.js'
import type { Outcome } from '../protocol/wire.js'
import { importDatabase } from './database-import.js'
import { mergeLogs } from './log-merge.js'
import { verifyLog } from './log-source.js'
import { appendFrames, openLog, openLogs, writeLog } from './log-tasks.js'
import { packedObject, packLz4, unpackLz4 } from './lz4.js'
import { native } from './native.js'
import { beginRestore, endRestore, restoreLog } from './restore-tasks.js'
import { cutSegments, endSegment, splitSegment } from './segment-tasks.js'
import { appendLogs, blankSnapshot, copySnapshot, openSnapshot } from './snapshot-tasks.js'
import { listLogs } from './store-listing.js'
import { plainLogBytes, storeFile, tidyStore } from './store-tasks.js'
import { lockFile, sweepTemporaryDirectories } from './temporary-tasks.js'

export default async function task(task: Task): Promise<Outcome<unknown>> {
  try {
    return { ok: true, value: await run(task) }
  } catch (error) {
    return { ok: false, error: toWireError(error) }
  }
}

function run(task: Task): unknown {
  switch (task.kind) {
    case 'openLog':
      return openLog(task)
    case 'openLogs':
      return openLogs(task)
    case 'verifyLog':
      return verifyLog(task.file)
    case 'appendFrames':
      return appendFrames(task)
    case 'writeLog':
      return writeLog(task)
    case 'mergeLogs':
      return mergeLogs(task)
    case 'openSnapshot':
      return openSnapshot(task)
    case 'copySnapshot':
      return copySnapshot(task)
    case 'appendLogs':
      return appendLogs(task)
    case 'beginRestore':
      return beginRestore(task)
    case 'restoreLog':
      return restoreLog(task)
    case 'endRestore':
      return endRestore(task)
    case 'blankSnapshot':
      return blankSnapshot(task)
    case 'importDatabase':
      return importDatabase(task)
    case 'packLog':
      return packedObject(plainLogBytes(task.log))
    case 'packLz4':
      return packLz4(task.bytes)
    case 'unpackLz4':
      return unpackLz4(task.block, task.rawBytes)
    case 'lockFile':
      return lockFile(task)
    case 'storeFile':
      return storeFile(task)
    case 'tidyStore':
      return tidyStore(task)
    case 'listLogs':
      return listLogs(task)
    case 'endSegment':
      return endSegment(task)
    case 'cutSegments':
      return cutSegments(task)
    case 'splitSegment':
      return splitSegment(task)
    case 'interrupt':
      return native.interrupt(task.connectionId)
    case 'sweepTemporaryDirectories':
      return sweepTemporaryDirectories(task)
    case 'wake':
      return undefined
    default:
      return task satisfies never
  }
}
