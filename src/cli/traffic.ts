/**
 * The load itself: clients that run transactions, checkpoints, two replicas that follow, readers. It ends when the
 * control says so; then what is under way is finished, what is not saved is saved, and the replicas catch up.
 */
import { setImmediate as nextTick, setTimeout as pause } from 'node:timers/promises'
import type { Ack, Log, Replica } from '../main/index.js'
import { followFrames, LogFollower } from './followers.js'
import type { LogFolder } from './log-folder.js'
import type { Measurements } from './measurements.js'
import type { LoadOptions } from './options.js'
import type { RunControl } from './run-control.js'
import type { IdRun, TransactionLedger } from './transaction-ledger.js'
import type { LoadPrimary, Workload } from './workload.js'

export interface Replicas {
  /** Fed with saved log files. */
  readonly logs: Replica
  /** Fed with live frames. */
  readonly frames: Replica
}

export interface TrafficParts {
  readonly options: LoadOptions
  readonly workload: Workload
  readonly primary: LoadPrimary
  readonly replicas: Replicas
  readonly folder: LogFolder
  readonly control: RunControl
  readonly measurements: Measurements
  readonly ledger: TransactionLedger
}

/** What was durable when the load stopped, before the last checkpoint: what a crash would have left. */
export interface StateAtStop {
  readonly logCount: number
  readonly durableRuns: readonly IdRun[]
  readonly executedCount: number
}

export interface TrafficResult {
  /** From the first transaction to the last one that was executed. */
  readonly executeMs: number
  /** From the first transaction until all were durable. */
  readonly durableMs: number
  readonly atStop: StateAtStop
}

export class Traffic {
  readonly #parts: TrafficParts
  readonly #logFollower: LogFollower

  constructor(parts: TrafficParts) {
    this.#parts = parts
    this.#logFollower = new LogFollower(parts.replicas.logs, parts.measurements.lagOfLogs)
  }

  /** Never rejects: what fails is told to the control. */
  async run(): Promise<TrafficResult> {
    const { options, primary, replicas, folder, control, measurements, ledger } = this.#parts
    const startedAtMs = performance.now()
    const timer = setTimeout(() => control.stop('time'), options.seconds * 1000)
    const frames = primary.captureFrames()
    const following = followFrames(replicas.frames, frames, measurements.lagOfFrames)
    following.catch(control.fail)
    const background = [
      this.#checkpointRegularly(),
      ...repeat(options.readers, () => this.#read(replicas.logs)),
      ...repeat(options.readers, () => this.#read(replicas.frames)),
    ]
    await Promise.all(repeat(options.clients, () => this.#runTransactions()))
    clearTimeout(timer)
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

  /** One client: the next transaction begins when the last one is executed, durable or not. */
  async #runTransactions(): Promise<void> {
    const { workload, primary, control, measurements, ledger } = this.#parts
    while (!control.isStopped) {
      const id = ledger.next()
      const startedAtMs = performance.now()
      try {
        const ack = await workload.execute(primary, id)
        measurements.executed(startedAtMs, performance.now(), ack.frameNo)
        ledger.executed()
        this.#awaitDurable(ack, id, startedAtMs)
      } catch (cause) {
        control.fail(new Error(`Transaction ${id} failed`, { cause }))
      }
    }
  }

  #awaitDurable(ack: Ack<unknown>, id: number, startedAtMs: number): void {
    const { control, measurements, ledger } = this.#parts
    ack.durable().then(() => {
      measurements.durable(startedAtMs)
      ledger.durable(id)
    }, control.fail)
  }

  async #checkpointRegularly(): Promise<void> {
    const { options, control } = this.#parts
    let dueAtMs = performance.now()
    while (!control.isStopped) {
      // Late once, it goes on from there: no burst to catch up.
      dueAtMs = Math.max(dueAtMs + options.checkpointMs, performance.now())
      await this.#pause(dueAtMs - performance.now())
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
    while (!control.isStopped) {
      try {
        workload.checkRow(await replica.get(workload.query))
        measurements.read()
      } catch (cause) {
        control.fail(new Error('A read from a replica failed', { cause }))
      }
      await this.#pause(options.readPauseMs)
    }
  }

  /** Ends early when the load does. */
  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#parts.control.signal }).catch(() => {})
  }
}

function repeat(count: number, start: () => Promise<void>): Promise<void>[] {
  return Array.from({ length: count }, start)
}
