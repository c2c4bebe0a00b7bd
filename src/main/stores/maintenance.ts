/**
 * Compaction and pruning of a primary's store on a schedule, beside archiving and one at a time. A failure is told, and
 * the next turn tries again; it is none of archiving.
 */
import type { FrameNo } from '../../protocol/frame.js'
import type { ArchiveStats } from '../stats.js'
import { archiveChannel, traced } from '../tracing.js'
import type { Archive } from './archiver.js'
import { Compactor } from './compact.js'
import { prune } from './prune.js'
import { unlessAborted } from './waits.js'

export class Maintenance {
  readonly #archive: Archive
  /** Working file of the primary. */
  readonly #path: string
  readonly #stopped: AbortSignal
  readonly #timers = new Set<NodeJS.Timeout>()
  #queue: Promise<unknown> = Promise.resolve()
  #compactCount = 0
  #pruneCount = 0
  #lastError: unknown

  /** `pendingFrameNo`: behind a snapshot that is being stored. */
  constructor(
    archive: Archive,
    path: string,
    pendingFrameNo: () => FrameNo | undefined,
    stopped: AbortSignal,
  ) {
    this.#archive = archive
    this.#path = path
    this.#stopped = stopped
    const { store, schedule } = archive
    const { compaction, retention } = schedule
    if (compaction !== undefined) {
      const { everyMs, ...rules } = compaction
      const compactor = new Compactor(store, rules)
      this.#repeat('compact', everyMs, async () => {
        const pending = pendingFrameNo()
        await compactor.run({ signal: stopped, at: pending === undefined ? [] : [pending] })
        this.#compactCount += 1
      })
    }
    if (retention !== undefined) {
      const { everyMs, ...options } = retention
      this.#repeat('prune', everyMs, async () => {
        await prune(store, { ...options, signal: stopped })
        this.#pruneCount += 1
      })
    }
    stopped.addEventListener('abort', () => this.#end(), { once: true })
  }

  stats(): Pick<ArchiveStats, 'compactCount' | 'pruneCount' | 'lastMaintenanceError'> {
    const counts = { compactCount: this.#compactCount, pruneCount: this.#pruneCount }
    return { ...counts, lastMaintenanceError: this.#lastError }
  }

  /** So long after the end of the turn before. */
  #repeat(operation: 'compact' | 'prune', everyMs: number, run: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#queue = this.#queue
        .then(() => this.#turn(operation, run))
        .then(() => {
          if (!this.#stopped.aborted) this.#repeat(operation, everyMs, run)
        })
    }, everyMs)
    this.#timers.add(timer)
  }

  async #turn(operation: 'compact' | 'prune', run: () => Promise<void>): Promise<void> {
    if (this.#stopped.aborted) return
    const { store, epoch } = this.#archive
    const context = {
      operation,
      url: store.url,
      epoch,
      path: this.#path,
      lastFrameNo: undefined,
      byteLength: 0,
    }
    try {
      // What a store that hangs is asked for is not waited for when the primary ends.
      await traced(
        archiveChannel,
        () => context,
        () => unlessAborted(run(), this.#stopped),
      )
      this.#lastError = undefined
    } catch (error) {
      if (!this.#stopped.aborted) this.#lastError = error
    }
  }

  #end(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }
}
