/** The database that a store holds, restored into a file log behind log: a history may be larger than memory. */
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { RestoredFile } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile } from '../temporary-files.js'
import type { Target } from './chain-options.js'
import { chooseHistory, planning, withProblems } from './history.js'
import type { HistoryChain } from './history-chain.js'
import { closeWhole } from './log-head.js'
import { nextAtHand } from './logs-at-hand.js'
import type { ReadableStore } from './patient-store.js'
import type { CallLimits, StoredLog, StoredSnapshot } from './store.js'

export interface RestoreProgress {
  readonly phase: 'snapshot' | 'logs' | 'sync'
  /** As stored. */
  readonly bytesDone: number
  readonly bytesTotal: number
}

interface RestoringOptions extends CallLimits {
  /** Default: the newest state. */
  readonly target?: Target
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined
}

/** The last log that a database has; the snapshot, when there is none. */
export interface NewestLog {
  /** 0: not known. */
  readonly epoch: number
  /** When it was sealed. */
  readonly createdAtMs: number | undefined
}

export interface RestoredHistory {
  readonly file: RestoredFile
  /** Of the logs behind the snapshot, unpacked. */
  readonly logBytes: number
  readonly newest: NewestLog
  /** Snapshots that could not be used, so that an older one was. */
  readonly problems: readonly MylibsqlError[]
}

/**
 * Restores into a file that is not there yet, and is not synced. Every page and frame is checked on the way. What a primary
 * removes meanwhile is no failure: everything is planned again, from a newer snapshot. On any error nothing is left. Runs in
 * task threads.
 *
 * @throws ERR_NOT_FOUND without a usable snapshot, or when the store has not come to the target; ERR_LOG_GAP for a hole;
 * ERR_CORRUPT, ERR_NOT_A_LOG, ERR_LINEAGE, ERR_PAGE_SIZE for a log of the chain; all name the object. ERR_STORE; ERR_IO; the
 * signal's reason
 */
export function restoreHistory(
  store: ReadableStore,
  path: string,
  options: RestoringOptions = {},
): Promise<RestoredHistory> {
  return planning(store, options, async () => {
    try {
      return await new Restoring(store, path, options).restored()
    } catch (error) {
      await removeTemporaryFile(path)
      throw error
    }
  })
}

/** By one plan. */
class Restoring {
  readonly #store: ReadableStore
  readonly #path: string
  readonly #target: Target
  readonly #limits: CallLimits
  readonly #onProgress: RestoringOptions['onProgress']
  #logBytes = 0
  #newest: NewestLog = { epoch: 0, createdAtMs: undefined }
  #bytesDone = 0
  #bytesTotal = 0

  constructor(store: ReadableStore, path: string, { target, signal, onProgress }: RestoringOptions) {
    this.#store = store
    this.#path = path
    this.#target = target ?? {}
    this.#limits = signal === undefined ? {} : { signal }
    this.#onProgress = onProgress
  }

  async restored(): Promise<RestoredHistory> {
    const listed = this.#onProgress === undefined ? [] : await this.#store.logs(this.#limits)
    const { stored, snapshot, chain, problems } = await chooseHistory(this.#store, {
      ...this.#target,
      ...this.#limits,
      takes: 'all',
      onProgress: (found, byteCount) => {
        const logBytes = this.#bytesBehind(listed, found.lastFrameNo ?? -1)
        this.#report('snapshot', byteCount, found.byteLength + logBytes)
      },
    })
    try {
      this.#newest = { epoch: 0, createdAtMs: snapshot.createdAt?.getTime() }
      const mayTake = snapshot.isTemporary
      const begun = await snapshot.use((snapshotFile) =>
        runTask({ kind: 'beginRestore', snapshot: snapshotFile, mayTake, path: this.#path }),
      )
      const file = await this.#applyAll(chain, begun)
      await this.#checkKept(stored)
      return { file, logBytes: this.#logBytes, newest: this.#newest, problems }
    } catch (error) {
      throw withProblems(error, problems)
    } finally {
      await Promise.all([chain.close(), snapshot.close()])
    }
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
      if (step === undefined) {
        // From here on they are read ahead.
        await chain.taken([], file.position, this.#newest.epoch)
        return file
      }
      const { logs, isCut, ...atHand } = step
      const {
        file: applied,
        appliedCount,
        last,
        logBytes,
        isDoubtful,
      } = await runTask({
        kind: 'restoreStoredLogs',
        file,
        logs: atHand,
        until,
      })
      const taken = logs.slice(0, appliedCount)
      file = applied
      await chain.taken(taken, file.position, last?.epoch ?? 0)
      const storedBytes = taken.reduce((sum, { byteLength }) => sum + byteLength, 0)
      if (last !== undefined) this.#noteApplied(last, logBytes, storedBytes)
      if (isCut || isDoubtful) return file
    }
  }

  async #apply(log: Log, file: RestoredFile): Promise<RestoredFile> {
    const applied = await log.use((logFile) => runTask({ kind: 'restoreLog', file, log: logFile }))
    this.#noteApplied(
      { epoch: log.epoch, createdAtMs: log.createdAt?.getTime() },
      log.byteLength,
      log.byteLength,
    )
    return applied
  }

  #noteApplied({ epoch, createdAtMs }: NewestLog, logBytes: number, storedBytes: number): void {
    this.#newest = { epoch, createdAtMs }
    this.#logBytes += logBytes
    const bytesDone = this.#bytesDone + storedBytes
    this.#report('logs', bytesDone, Math.max(bytesDone, this.#bytesTotal))
  }

  /**
   * Logs behind a snapshot stay as long as that does. When it is gone, their places may have become free, and the last one may
   * be a late log of a primary that was fenced (history-chain.ts): not when the newest primary wrote it.
   *
   * Throws ERR_LOG_GAP: there is a newer snapshot to plan from.
   */
  async #checkKept({ id }: StoredSnapshot): Promise<void> {
    if (this.#store.fencesAppends === true || this.#logBytes === 0) return
    const snapshots = await this.#store.snapshots(this.#limits)
    if (snapshots.some((kept) => kept.id === id)) return
    if (this.#newest.epoch >= (await this.#store.currentEpoch(this.#limits))) return
    const message = `Snapshot ${id} was removed from ${this.#store.url} while the logs behind it were read`
    throw new MylibsqlError('ERR_LOG_GAP', message, { path: id })
  }

  #bytesBehind(logs: readonly StoredLog[], frameNo: FrameNo): number {
    const { to = Number.POSITIVE_INFINITY } = this.#target
    const behind = logs.filter(({ startFrameNo }) => startFrameNo > frameNo && startFrameNo <= to)
    return behind.reduce((sum, { byteLength }) => sum + byteLength, 0)
  }

  #report(phase: RestoreProgress['phase'], bytesDone: number, bytesTotal: number): void {
    this.#bytesDone = bytesDone
    this.#bytesTotal = bytesTotal
    this.#onProgress?.({ phase, bytesDone, bytesTotal })
  }
}
