import { existsSync } from 'node:fs'
import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore } from '../../protocol/frame.js'
import { ioError } from '../../protocol/io-error.js'
import { besides } from '../../protocol/temporary.js'
import {
  checkFrameNo,
  checkFunction,
  checkOptions,
  checkPath,
  checkSignal,
  optional,
  wrong,
} from '../arguments.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile } from '../temporary-files.js'
import { checkStore } from './archive-options.js'
import { patient } from './patient-store.js'
import { type RestoreProgress, restoreHistory } from './restored-history.js'
import type { CallLimits, Store } from './store.js'

export interface RestoreOptions {
  /**
   * A frame: the database as of the last whole transaction at or before it, such as `ack.frameNo`. A Date: as of the
   * last log that was sealed at or before it, so as exact as checkpoints are frequent. Default: the newest state.
   */
  at?: FrameNo | Date | undefined
  onProgress?: ((progress: RestoreProgress) => void) | undefined
  /** Gives up; the call rejects with its reason, and nothing is left. */
  signal?: AbortSignal | undefined
}

export interface RestoreResult {
  /** The last frame in the database; undefined when nothing was written by then. */
  readonly frameNo: FrameNo | undefined
  /** Of the database. */
  readonly byteLength: number
  /** Why a newer snapshot was not used, though the logs behind an older one gave the same. */
  readonly problems: readonly MylibsqlError[]
}

/**
 * Makes a database file of what a store holds, which every SQLite tool opens. Every page and frame is checked on the way. The
 * file is there complete, and synced, or not at all; what is at the path is never replaced, and its folder is not made.
 * Runs in task threads.
 *
 * @example
 * await restore(new FileStore('/var/lib/app/history'), 'yesterday.db', { at: new Date('2026-01-31T18:00Z') })
 * @throws ERR_PATH_EXISTS; ERR_NOT_FOUND when there is no usable snapshot that old, or the store has not come to the
 * frame; ERR_LOG_GAP, ERR_CORRUPT, ERR_NOT_A_LOG, ERR_LINEAGE, ERR_PAGE_SIZE, each naming the object; ERR_STORE; ERR_IO
 */
export async function restore(
  store: Store,
  targetPath: string | URL,
  options?: RestoreOptions,
): Promise<RestoreResult> {
  checkStore(store, 'store')
  const path = checkPath(targetPath, 'targetPath')
  const { at, onProgress, signal } = checkOptions(
    options,
    { at: optional(checkAt), onProgress: optional(checkFunction), signal: optional(checkSignal) },
    'restore',
  )
  const target = at instanceof Date ? { at } : { to: at }
  const limits: CallLimits = signal === undefined ? {} : { signal }
  signal?.throwIfAborted()
  checkFree(path)
  await checkFolder(path)
  const temporaryPath = besides(path)
  let bytesTotal = 0
  const told = (progress: RestoreProgress) => {
    bytesTotal = progress.bytesTotal
    onProgress?.(progress)
  }
  const { file, problems } = await restoreHistory(patient(store), temporaryPath, {
    ...limits,
    target,
    onProgress: onProgress && told,
  })
  try {
    onProgress?.({ phase: 'sync', bytesDone: bytesTotal, bytesTotal } satisfies RestoreProgress)
    signal?.throwIfAborted()
    checkFree(path)
    await runTask({ kind: 'endRestore', file, target: path })
  } finally {
    await removeTemporaryFile(temporaryPath)
  }
  const { position, pageCount, pageSize } = file
  return { frameNo: lastFrameNoBefore(position.nextFrameNo), byteLength: pageCount * pageSize, problems }
}

/** What an earlier database left beside its file would be taken for a part of this one. */
function checkFree(path: string): void {
  for (const taken of [path, `${path}-wal`, `${path}-journal`]) {
    if (!existsSync(taken)) continue
    const place = taken === path ? 'there' : `to ${path}`
    const message = `${taken} exists, so nothing is restored ${place}: remove it, or choose another path`
    throw new MylibsqlError('ERR_PATH_EXISTS', message, { path: taken })
  }
}

/** Before minutes of reading, and by the name that the caller knows. */
async function checkFolder(path: string): Promise<void> {
  const folder = dirname(path)
  try {
    if (!(await stat(folder)).isDirectory()) throw new Error(`${folder} is no folder`)
    await access(folder, constants.W_OK)
  } catch (error) {
    throw ioError(error, 'restore to', path)
  }
}

function checkAt(value: unknown, name: string): FrameNo | Date {
  if (typeof value === 'number') return checkFrameNo(value, name)
  if (!(value instanceof Date)) throw wrong(name, 'a frame number or a Date', value)
  if (Number.isNaN(value.getTime())) throw new TypeError(`${name} is an invalid Date`)
  return value
}
