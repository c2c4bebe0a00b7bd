/**
 * The load itself: clients that run transactions, checkpoints, two replicas that follow, readers. It ends when the
 * control says so; then what is under way is finished, what is not saved is saved, and the replicas catch up.
 */
import { setImmediate as nextTick, setTimeout as pause } from 'node:timers/promises'
import type { Log, Replica } from '../main/index.js'
import { type ClientParts, runClients } from './clients.js'
import { followFrames, LogFollower } from './followers.js'
import type { LogFolder } from './log-folder.js'
import type { LoadOptions } from './options.js'
import { readRepeatedly } from './reader.js'
import type { ReplicationLag } from './replication-lag.js'
import type { IdRun } from './transaction-ledger.js'

export interface Replicas {
  /** Fed with saved log files. */
  readonly logs: Replica
  /** Fed with live frames. */
  readonly frames: Replica
}

/** Of each replica. */
export interface Lags {
  readonly logs: ReplicationLag
  readonly frames: ReplicationLag
}

export interface TrafficParts extends ClientParts {
  readonly options: LoadOptions
  readonly replicas: Replicas
  readonly lags: Lags
  readonly folder: LogFolder
}

/** What was durable when the load stopped, before the last checkpoint: what a crash would have left. */
export interface StateAtStop {
  readonly logCount: number
  readonly durableRuns: readonly IdRun[]
  readonly executedCount: number
}

export interface TrafficTimes {
  /** From the first transaction to the last one that was executed. */
  readonly executeMs: number
  /** From the first transaction until all were durable. */
  readonly durableMs: number
}

export interface TrafficResult extends TrafficTimes {
  readonly atStop: StateAtStop
}

export class Traffic {
  readonly #parts: TrafficParts
  readonly #logFollower: LogFollower

  constructor(parts: TrafficParts) {
    this.#parts = parts
    this.#logFollower = new LogFollower(parts.replicas.logs, parts.lags.logs)
  }

  /** Never rejects: what fails is told to the control. */
  async run(): Promise<TrafficResult> {
    const { options, primary, replicas, lags, folder, control, ledger } = this.#parts
    const startedAtMs = performance.now()
    const frames = primary.captureFrames()
    const following = followFrames(replicas.frames, frames, lags.frames)
    following.catch(control.fail)
    const background = [
      this.#checkpointRegularly(),
      ...repeat(options.readers, () => this.#read(replicas.logs)),
      ...repeat(options.readers, () => this.#read(replicas.frames)),
    ]
    await runClients(this.#parts)
    const executeMs = performance.now() - startedAtMs
    await Promise.all(background)
    // Lets those hear of it whose transactions have just become durable.
    await nextTick()
    const atStop = {
      logCount: folder.logPaths.length,
      durableRuns: ledger.durableRuns(),
      executedCount: ledger.executedCount,
    }
    await this.#checkpoint()
    await nextTick()
    const durableMs = performance.now() - startedAtMs
    const caughtUp = [this.#logFollower.settled(), replicas.frames.waitFor(primary.lastFrameNo)]
    await Promise.race([Promise.all(caughtUp), following]).catch(control.fail)
    frames.close()
    await following.catch(() => {})
    return { executeMs, durableMs, atStop }
  }

  async #checkpointRegularly(): Promise<void> {
    const { options, control } = this.#parts
    let dueAtMs = performance.now()
    while (!control.isStopped) {
      // Late once, it goes on from there: no burst to catch up.
      const nowMs = performance.now()
      dueAtMs = Math.max(dueAtMs + options.checkpointMs, nowMs)
      await this.#pause(dueAtMs - nowMs)
      if (!control.isStopped) await this.#checkpoint()
    }
  }

  async #checkpoint(): Promise<void> {
    const { primary, folder, control, measurements } = this.#parts
    const calledAtMs = performance.now()
    const logs: Log[] = []
    try {
      await primary.checkpoint(async (log) => {
        const sealedAtMs = performance.now()
        const path = await folder.save(log)
        measurements.checkpointed(calledAtMs, sealedAtMs, performance.now())
        logs.push(log)
        this.#logFollower.follow(path, control.fail)
      })
      for (const log of logs) await log.close()
    } catch (cause) {
      control.fail(new Error('A checkpoint failed', { cause }))
    }
  }

  async #read(replica: Replica): Promise<void> {
    const { options, workload, control, measurements } = this.#parts
    const { readPauseMs } = options
    const onRead = () => measurements.read()
    await readRepeatedly(replica, { workload, readPauseMs, signal: control.signal, onRead }).catch(
      control.fail,
    )
  }

  /** Ends early when the load does. */
  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#parts.control.signal }).catch(() => {})
  }
}

function repeat(count: number, start: () => Promise<void>): Promise<void>[] {
  return Array.from({ length: count }, start)
}
