/**
 * Feeds a replica from a store: first with the logs that are there, then with those that come. While the store cannot
 * be reached it tries again, after pauses that grow. Where logs are missing, or damaged, and a newer snapshot goes
 * further, the replica becomes what that snapshot holds. Logs of another history end the following.
 */
import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import pRetry from 'p-retry'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { AppliedLogs, LogsAtHand, NextLogsEnd, NextLogsRequest, Position } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import type { Snapshot } from '../snapshot.js'
import { Arrivals } from './arrivals.js'
import { chooseHistory, hasGap, planning } from './history.js'
import { HistoryChain } from './history-chain.js'
import { nextAtHand } from './logs-at-hand.js'
import type { NewestLog } from './restored-history.js'
import type { Store, StoredLog } from './store.js'
import { unlessAborted } from './waits.js'

export interface FollowStats {
  /** Of the store. */
  readonly url: string
  /** `retrying`: the last attempt to reach the store failed. `ended`: see `lastError`; nothing is applied any more. */
  readonly state: 'following' | 'retrying' | 'ended'
  /** Frames that are known to be in the store and not applied yet: at least so many. */
  readonly lagFrames: number
  /** Age of the newest log that it has, since it was sealed, or of the snapshot that it has instead: grows while nothing is written. */
  readonly lagMs: number | undefined
  /** What it took from sealing to applying, of the newest log that was applied; undefined before one came since the opening. */
  readonly delayMs: number | undefined
  /** Newer snapshots that were taken because logs were missing. */
  readonly snapshotCount: number
  /** Attempts that failed since the replica was opened. */
  readonly failureCount: number
  /** Why the last attempt failed; undefined once one has succeeded. */
  readonly lastError: unknown
}

/** What a follower does with its replica. */
export interface Followed {
  readonly pageSize: number
  position(): Position
  apply(log: Log): Promise<unknown>
  /** Applies logs that are at hand, as far as they are beyond doubt. */
  applyStored(logs: readonly StoredLog[], atHand: LogsAtHand): Promise<AppliedLogs>
  /** Has its thread look for the next logs in a folder, and apply them as they come; undefined: it does not, now. */
  followNext(request: NextLogsRequest, told: (logs: AppliedLogs) => void): Promise<NextLogsEnd | undefined>
  /** Ends that, and what is kept for it. */
  stopNext(): void
  /** Makes it what a newer snapshot holds. */
  replace(snapshot: Snapshot): Promise<unknown>
  /** Following has ended by itself. */
  failed(error: unknown): void
}

interface FollowerOptions {
  /** How long a store may be silent before it is looked there for what it did not tell. */
  readonly pollMs: number
  /** What the replica has of the store. Default: not known. */
  readonly newest?: NewestLog | undefined
}

const retryMinMs = 100
const retryMaxMs = 5_000

/** No pause helps: the replica is gone, or on another history. */
const final = new Set<string>(['ERR_LINEAGE', 'ERR_PAGE_SIZE', 'ERR_CLOSED', 'ERR_WORKER_EXITED'])
/** A newer snapshot, if there is one, makes the log superfluous. */
const avoidable = new Set<string>(['ERR_LOG_GAP', 'ERR_CORRUPT', 'ERR_NOT_A_LOG', 'ERR_VERSION'])

export class Follower {
  readonly store: Store
  readonly #followed: Followed
  readonly #pollMs: number
  readonly #ending = new AbortController()
  #running: Promise<void> | undefined
  #applying: Promise<unknown> | undefined
  /** What arrived, for which a take waits. */
  #applyingArrived: Promise<unknown> | undefined
  #taking: Promise<unknown> | undefined
  #state: FollowStats['state'] = 'following'
  /** Of the last log that was applied. */
  #epoch: number
  #knownNextFrameNo: FrameNo = 0
  #createdAtMs: number | undefined
  #delayMs: number | undefined
  #snapshotCount = 0
  #failureCount = 0
  #lastError: unknown

  constructor(store: Store, followed: Followed, { pollMs, newest }: FollowerOptions) {
    this.store = store
    this.#followed = followed
    this.#pollMs = pollMs
    this.#epoch = newest?.epoch ?? 0
    this.#createdAtMs = newest?.createdAtMs
  }

  /** Applies what the store has now, also when it is compacted meanwhile. @throws what cannot be applied; ERR_STORE */
  catchUp(signal: AbortSignal = this.#ending.signal): Promise<void> {
    const attempt = () => this.#catchUp(signal)
    return unlessAborted(planning(this.store, { signal }, attempt), signal)
  }

  /** Follows until `stop` or until an error that no retry helps against. */
  start(): void {
    this.#running ??= this.#run().catch((error: unknown) => {
      if (this.#ending.signal.aborted) return
      this.#state = 'ended'
      this.#noteFailure(error)
      this.#followed.failed(error)
    })
  }

  /** Applies nothing any more once this resolves: that of a store which hangs is not waited for. */
  async stop(): Promise<void> {
    this.#ending.abort(new MylibsqlError('ERR_CLOSED', 'The replica does not follow the store any more'))
    this.#state = 'ended'
    await Promise.allSettled([this.#running, this.#applying, this.#taking])
  }

  get isStopped(): boolean {
    return this.#ending.signal.aborted
  }

  /** One that goes on where this one was stopped. */
  renewed(): Follower {
    const newest = { epoch: this.#epoch, createdAtMs: this.#createdAtMs }
    return new Follower(this.store, this.#followed, { pollMs: this.#pollMs, newest })
  }

  stats(): FollowStats {
    return {
      url: this.store.url,
      state: this.#state,
      lagFrames: Math.max(0, this.#knownNextFrameNo - this.#followed.position().nextFrameNo),
      lagMs: this.#createdAtMs === undefined ? undefined : Math.max(0, Date.now() - this.#createdAtMs),
      delayMs: this.#delayMs,
      snapshotCount: this.#snapshotCount,
      failureCount: this.#failureCount,
      lastError: this.#lastError,
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      await pRetry(() => this.#session(), {
        signal,
        retries: Number.POSITIVE_INFINITY,
        minTimeout: retryMinMs,
        maxTimeout: retryMaxMs,
        randomize: true,
        shouldRetry: ({ error }) => !isFinal(error) && !signal.aborted,
        onFailedAttempt: ({ error }) => {
          if (signal.aborted || isFinal(error)) return
          this.#state = 'retrying'
          this.#noteFailure(error)
        },
      })
    }
  }

  /** Resolves when the connection was there and was lost: the next one is tried without the pauses of this one. */
  async #session(): Promise<void> {
    const { signal } = this.#ending
    await unlessAborted(this.#catchUp(signal), signal)
    this.#state = 'following'
    this.#lastError = undefined
    try {
      await this.#live(signal)
    } catch (error) {
      if (isFinal(error) || signal.aborted) throw error
      // A hole is what catchUp() is for.
      if (hasGap(error)) return
      this.#state = 'retrying'
      this.#noteFailure(error)
      await delay(retryMinMs * (1 + Math.random()), undefined, { signal })
    }
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    // Each log that is asked for listens to it.
    setMaxListeners(0, signal)
    await this.#applyPresent(signal)
    for (;;) {
      const chain = this.#chain({ signal })
      try {
        await this.#applyAll(chain, signal)
        return
      } catch (error) {
        if (!isAvoidable(error) || !(await this.#takeSnapshot(signal))) throw error
      } finally {
        await chain.close()
      }
    }
  }

  /** Applies logs as the store tells of them. What it failed to tell is looked for when it has been silent for long. */
  async #live(signal: AbortSignal): Promise<void> {
    const ending = new AbortController()
    const end = () => ending.abort(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    const arrivals = new Arrivals(
      this.store.follow(this.#followed.position().nextFrameNo, {
        signal: ending.signal,
        take: (request, ended) => this.#take(request, ended, () => arrivals.noteAlive()),
      }),
      (stored) => this.#noteKnown(stored.startFrameNo + 1),
    )
    try {
      for (;;) {
        const arrived = await unlessAborted(arrivals.take(this.#pollMs), signal)
        const { nextFrameNo } = this.#followed.position()
        const logs = arrived?.filter(({ startFrameNo }) => startFrameNo >= nextFrameNo)
        if (logs === undefined) await unlessAborted(this.#catchUp(signal), signal)
        else if (logs.length > 0) {
          this.#applyingArrived = this.#applyArrived(logs, signal)
          await this.#applyingArrived
        }
      }
    } finally {
      signal.removeEventListener('abort', end)
      ending.abort()
      arrivals.end()
      // Also what the thread keeps to go on with.
      this.#followed.stopNext()
    }
  }

  /** Not while others are being applied: it would not find what comes behind them. */
  async #take(
    request: NextLogsRequest,
    signal: AbortSignal,
    noteAlive: () => void,
  ): Promise<NextLogsEnd | undefined> {
    await this.#applyingArrived?.catch(() => {})
    if (signal.aborted) return undefined
    const stop = () => this.#followed.stopNext()
    signal.addEventListener('abort', stop, { once: true })
    try {
      const taking = this.#followed.followNext(request, ({ position, epoch, createdAtMs }) => {
        this.#noteKnown(position.nextFrameNo)
        this.#noteApplied(epoch, createdAtMs)
        noteAlive()
      })
      this.#taking = taking
      return await taking
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  async #applyArrived(arrived: readonly StoredLog[], signal: AbortSignal): Promise<void> {
    const logs = await unlessAborted(this.#applyAtHand(arrived, signal), signal)
    if (logs.length === 0) return
    const chain = this.#chain({ logs, signal })
    try {
      await unlessAborted(this.#applyAll(chain, signal), signal)
    } finally {
      await chain.close()
    }
  }

  #chain(options: { readonly logs?: readonly StoredLog[]; readonly signal: AbortSignal }): HistoryChain {
    const start = { ...this.#followed.position(), pageSize: this.#followed.pageSize }
    return new HistoryChain(
      this.store,
      { ...start, epoch: this.#epoch, isKept: false },
      { ...options, takes: 'files' },
    )
  }

  async #applyAll(chain: HistoryChain, signal: AbortSignal): Promise<void> {
    for (let log = await chain.next(); log !== undefined; log = await chain.next()) {
      try {
        this.#noteKnown(Math.max(log.nextFrameNo, (chain.newestStartFrameNo ?? -1) + 1))
        signal.throwIfAborted()
        this.#applying = this.#followed.apply(log)
        await this.#applying
        this.#noteApplied(log.epoch, log.createdAt?.getTime())
      } finally {
        await log.close()
      }
      await this.#applyUpcoming(chain, signal)
    }
  }

  /** Those that are at hand are taken by the replica's thread. Resolves with what is left, from the first doubtful one on. */
  async #applyAtHand(logs: readonly StoredLog[], signal: AbortSignal): Promise<readonly StoredLog[]> {
    let rest = logs
    for (;;) {
      const { takenCount, isMore } = await this.#applyStep(rest, signal)
      rest = rest.slice(takenCount)
      if (!isMore) return rest
    }
  }

  /** The same of those that the chain has listed. */
  async #applyUpcoming(chain: HistoryChain, signal: AbortSignal): Promise<void> {
    for (;;) {
      const logs = chain.upcoming()
      const { takenCount, isMore } = await this.#applyStep(logs, signal)
      await chain.taken(logs.slice(0, takenCount), this.#followed.position(), this.#epoch)
      if (!isMore) return
    }
  }

  /** How many of them were taken in one step, and whether those behind may be. */
  async #applyStep(
    logs: readonly StoredLog[],
    signal: AbortSignal,
  ): Promise<{ readonly takenCount: number; readonly isMore: boolean }> {
    const step = await nextAtHand(this.store, logs, { signal })
    signal.throwIfAborted()
    if (step === undefined) return { takenCount: 0, isMore: false }
    const { logs: offered, isCut, ...atHand } = step
    const applying = this.#followed.applyStored(offered, atHand)
    this.#applying = applying
    const { appliedCount, epoch, createdAtMs } = await applying
    if (appliedCount > 0) this.#noteApplied(epoch, createdAtMs)
    return { takenCount: appliedCount, isMore: !isCut && appliedCount === offered.length }
  }

  /** Only to be quick: whoever looks at the history afterwards finds that it is further on. */
  async #applyPresent(signal: AbortSignal): Promise<void> {
    if (this.store.logLocation === undefined) return
    const { nextFrameNo } = this.#followed.position()
    const logs = await this.store.logs({ from: nextFrameNo, signal })
    await this.#applyAtHand(
      logs.filter(({ startFrameNo }) => startFrameNo >= nextFrameNo),
      signal,
    )
  }

  #noteApplied(epoch: number, createdAtMs: number | undefined): void {
    this.#epoch = epoch
    this.#createdAtMs = createdAtMs
    this.#delayMs = createdAtMs && Math.max(0, Date.now() - createdAtMs)
  }

  /** False when there is none that goes further than the replica. */
  async #takeSnapshot(signal: AbortSignal): Promise<boolean> {
    const { nextFrameNo } = this.#followed.position()
    const stored = await this.store.snapshots({ signal })
    if (!stored.some(({ lastFrameNo }) => (lastFrameNo ?? -1) >= nextFrameNo)) return false
    const { snapshot, chain } = await chooseHistory(this.store, { signal })
    try {
      if ((snapshot.lastFrameNo ?? -1) < nextFrameNo) return false
      this.#noteKnown(snapshot.lastFrameNo! + 1)
      signal.throwIfAborted()
      this.#applying = this.#followed.replace(snapshot)
      await this.#applying
      this.#epoch = 0
      this.#createdAtMs = snapshot.createdAt?.getTime()
      this.#snapshotCount += 1
      return true
    } finally {
      await chain.close()
      await snapshot.close()
    }
  }

  #noteKnown(nextFrameNo: FrameNo): void {
    this.#knownNextFrameNo = Math.max(this.#knownNextFrameNo, nextFrameNo)
  }

  #noteFailure(error: unknown): void {
    this.#failureCount += 1
    this.#lastError = error
  }
}

function isFinal(error: unknown): boolean {
  return error instanceof MylibsqlError && final.has(error.code)
}

function isAvoidable(error: unknown): boolean {
  return error instanceof MylibsqlError && avoidable.has(error.code)
}
