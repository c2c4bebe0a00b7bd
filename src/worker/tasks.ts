/**
 * Entry point of the task threads (main/task-pool.ts): runs one task and answers with its outcome. Errors
 * travel as values, so that class, code and cause survive.
 */
import { toWireError } from '../protocol/errors.js'
import type { LogFile } from '../protocol/log-format.js'
import type { Task } from '../protocol/tasks.js'
import type { Outcome } from '../protocol/wire.js'
import { importDatabase } from './database-import.js'
import { mergeLogs } from './log-merge.js'
import { verifyLog } from './log-source.js'
import { appendFrames, openLog, openLogs, writeLog } from './log-tasks.js'
import { packLz4, unpackLz4 } from './lz4.js'
import { native } from './native.js'
import { packedLogObject } from './plain-log.js'
import { beginRestore, endRestore, restoreLog, restoreStoredLogs } from './restore-tasks.js'
import { cutSegments, endSegment, splitSegment } from './segment-tasks.js'
import { appendLogs, blankSnapshot, copySnapshot, openSnapshot } from './snapshot-tasks.js'
import { listLogs } from './store-listing.js'
import { storeFile, tidyStore } from './store-tasks.js'
import { openStoredLog } from './stored-logs.js'
import { lockFile, sweepTemporaryDirectories } from './temporary-tasks.js'

/** Less is copied sooner than a module is loaded. */
const handedOverBytesMin = 64 * 1024

export default async function task(task: Task): Promise<Outcome<unknown>> {
  try {
    const value = await run(task)
    const outcome = { ok: true, value } as const
    return await handedOver(outcome, bytesIn(value))
  } catch (error) {
    return { ok: false, error: toWireError(error) }
  }
}

/** What a task has made in memory. */
function bytesIn(value: unknown): Uint8Array[] {
  if (value instanceof Uint8Array) return [value]
  const list: readonly (Partial<LogFile> | undefined)[] = Array.isArray(value) ? value : []
  return list.flatMap((file) =>
    file?.location !== undefined && 'bytes' in file.location ? [file.location.bytes] : [],
  )
}

/** The memory of these bytes goes to the main thread: a structured clone would copy it twice. */
async function handedOver<T extends object>(outcome: T, list: readonly Uint8Array[]): Promise<T> {
  const byteCount = list.reduce((sum, { byteLength }) => sum + byteLength, 0)
  if (byteCount < handedOverBytesMin) return outcome
  // Others may use the rest of a memory that is larger.
  const buffers = list.flatMap(({ buffer, byteLength }) =>
    buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [],
  )
  // Only when it is needed: to load it takes as long as to start the thread.
  const piscina = await import('piscina')
  return piscina.move({ [piscina.transferableSymbol]: buffers, [piscina.valueSymbol]: outcome }) as T
}

function run(task: Task): unknown {
  switch (task.kind) {
    case 'openLog':
      return openLog(task)
    case 'openLogs':
      return openLogs(task)
    case 'openStoredLogs':
      return task.locations.map(openStoredLog)
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
    case 'restoreStoredLogs':
      return restoreStoredLogs(task)
    case 'endRestore':
      return endRestore(task)
    case 'blankSnapshot':
      return blankSnapshot(task)
    case 'importDatabase':
      return importDatabase(task)
    case 'packLog':
      return packedLogObject(task.log)
    case 'packLz4':
      return packLz4(task.bytes) ?? task.bytes
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
    case 'interruptCall':
      return native.interruptCall(task.words, task.at)
    case 'sweepTemporaryDirectories':
      return sweepTemporaryDirectories(task)
    case 'wake':
      return undefined
    default:
      return task satisfies never
  }
}
