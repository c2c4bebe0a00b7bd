import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore } from '../../protocol/frame.js'
import { ioError } from '../../protocol/io-error.js'
import type { RestoredFile } from '../../protocol/tasks.js'
import {
  checkFrameNo,
  checkFunction,
  checkOptions,
  checkPath,
  checkSignal,
  optional,
  wrong,
} from '../arguments.js'
import type { Log } from '../log.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile } from '../temporary-files.js'
import { checkStore } from './archive-options.js'
import { chooseHistory, planning, withProblems } from './history.js'
import type { HistoryChain, Target } from './history-chain.js'
import { closeWhole } from './log-head.js'
import { nextAtHand } from './logs-at-hand.js'
import { patient, type ReadableStore } from './patient-store.js'
import type { CallLimits, Store, StoredLog } from './store.js'

export interface RestoreProgress {
  readonly phase: 'snapshot' | 'logs' | 'sync'
  /** As stored. */
  readonly bytesDone: number
  readonly bytesTotal: number
}

export interface RestoreOptions {
  /**
   * A frame: the database as of the last whole transaction at or before it, such as `ack.frameNo`. A Date: as of the
   * last log that was sealed at or before it, so as exact as checkpoints are frequent. Default: the newest state.
   */
  at?: FrameNo | Date
  onProgress?: (progress: RestoreProgress) => void
  /** Gives up; the call rejects with its reason, and nothing is left. */
  signal?: AbortSignal
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
  const target: Target = at instanceof Date ? { at } : { to: at }
  const limits: CallLimits = signal === undefined ? {} : { signal }
  signal?.throwIfAborted()
  checkFree(path)
  await checkFolder(path)
  return planning(limits, async () => {
    const temporaryPath = `${path}.${randomBytes(6).toString('hex')}.tmp`
    try {
      return await new Restore(patient(store), temporaryPath, target, limits, onProgress).to(path)
    } finally {
      await removeTemporaryFile(temporaryPath)
    }
  })
}

/** One plan of a restore: into a file beside the target. */
class Restore {
  readonly #store: ReadableStore
  readonly #path: string
  readonly #target: Target
  readonly #limits: CallLimits
  // biome-ignore lint/complexity/noBannedTypes: checked to be a function, which is all there is to know
  readonly #onProgress: Function | undefined
  #bytesDone = 0
  #bytesTotal = 0

  constructor(
    store: ReadableStore,
    path: string,
    target: Target,
    limits: CallLimits,
    // biome-ignore lint/complexity/noBannedTypes: as above
    onProgress: Function | undefined,
  ) {
    this.#store = store
    this.#path = path
    this.#target = target
    this.#limits = limits
    this.#onProgress = onProgress
  }

  async to(path: string): Promise<RestoreResult> {
    const listed = this.#onProgress === undefined ? [] : await this.#store.logs(this.#limits)
    const { snapshot, chain, problems } = await chooseHistory(this.#store, {
      ...this.#target,
      ...this.#limits,
      takesFiles: true,
      onProgress: (stored, byteCount) => {
        const logBytes = this.#bytesBehind(listed, stored.lastFrameNo ?? -1)
        this.#report('snapshot', byteCount, stored.byteLength + logBytes)
      },
    })
    let file: RestoredFile
    try {
      const mayTake = snapshot.isTemporary
      file = await snapshot.use((snapshotFile) =>
        runTask({ kind: 'beginRestore', snapshot: snapshotFile, mayTake, path: this.#path }),
      )
      file = await this.#applyAll(chain, file)
    } catch (error) {
      throw withProblems(error, problems)
    } finally {
      await Promise.all([chain.close(), snapshot.close()])
    }
    this.#report('sync', this.#bytesTotal, this.#bytesTotal)
    this.#limits.signal?.throwIfAborted()
    checkFree(path)
    await runTask({ kind: 'endRestore', file, target: path })
    const { position, pageCount, pageSize } = file
    const frameNo = lastFrameNoBefore(position.nextFrameNo)
    return { frameNo, byteLength: pageCount * pageSize, problems }
  }

  /** While a log is applied the next ones come. */
  async #applyAll(chain: HistoryChain, begun: RestoredFile): Promise<RestoredFile> {
    let file = begun
    for (let log = await chain.next(); log !== undefined; log = await chain.next()) {
      try {
        this.#limits.signal?.throwIfAborted()
        file = await this.#apply(log, file)
      } finally {
        await closeWhole(log)
      }
      file = await this.#applyAtHand(chain, file)
    }
    return file
  }

  /** Those of them that are beyond doubt, many in one step. */
  async #applyAtHand(chain: HistoryChain, begun: RestoredFile): Promise<RestoredFile> {
    const { to, at } = this.#target
    const until = {
      ...(to === undefined ? {} : { frameNo: to }),
      ...(at === undefined ? {} : { sealedMs: at.getTime() }),
    }
    let file = begun
    for (;;) {
      this.#limits.signal?.throwIfAborted()
      const step = await nextAtHand(this.#store, chain.upcoming(), this.#limits)
      if (step === undefined) return file
      const { logs, isCut, ...atHand } = step
      const { file: applied, ...restored } = await runTask({
        kind: 'restoreStoredLogs',
        file,
        logs: atHand,
        until,
      })
      const taken = logs.slice(0, restored.appliedCount)
      file = applied
      await chain.taken(taken, file.position, restored.epoch)
      this.#reportLogs(taken.reduce((sum, { byteLength }) => sum + byteLength, 0))
      if (isCut || restored.isDoubtful) return file
    }
  }

  async #apply(log: Log, file: RestoredFile): Promise<RestoredFile> {
    const applied = await log.use((logFile) => runTask({ kind: 'restoreLog', file, log: logFile }))
    this.#reportLogs(log.byteLength)
    return applied
  }

  #reportLogs(byteCount: number): void {
    if (byteCount === 0) return
    const bytesDone = this.#bytesDone + byteCount
    this.#report('logs', bytesDone, Math.max(bytesDone, this.#bytesTotal))
  }

  #bytesBehind(logs: readonly StoredLog[], frameNo: FrameNo): number {
    const { to = Number.POSITIVE_INFINITY } = this.#target
    const behind = logs.filter(({ startFrameNo }) => startFrameNo > frameNo && startFrameNo <= to)
    return behind.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }

  #report(phase: RestoreProgress['phase'], bytesDone: number, bytesTotal: number): void {
    this.#bytesDone = bytesDone
    this.#bytesTotal = bytesTotal
    this.#onProgress?.({ phase, bytesDone, bytesTotal } satisfies RestoreProgress)
  }
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
