/** What is measured during a load. */
import { createHistogram, type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { type Distribution, distribution, microseconds } from './distribution.js'
import type { ReplicationLag } from './replication-lag.js'

/** Node measures the time between two ticks of a timer of this period: what is over it is delay. */
const eventLoopSampleMs = 1

export class Measurements {
  readonly #execute = createHistogram()
  readonly #durable = createHistogram()
  readonly #seal = createHistogram()
  readonly #save = createHistogram()
  readonly #eventLoop: IntervalHistogram = monitorEventLoopDelay({ resolution: eventLoopSampleMs })
  readonly #lags: readonly ReplicationLag[]
  #readCount = 0
  #checkpointCount = 0
  #acknowledgedFrameNo = -1

  /** `lags`: of all replicas, which are told of each commit. */
  constructor(lags: readonly ReplicationLag[]) {
    this.#lags = lags
    this.#eventLoop.enable()
  }

  get readCount(): number {
    return this.#readCount
  }

  get checkpointCount(): number {
    return this.#checkpointCount
  }

  /** A transaction was acknowledged as executed; `frameNo` is the Ack's. */
  executed(startedAtMs: number, atMs: number, frameNo: number | undefined): void {
    this.#execute.record(microseconds(atMs - startedAtMs))
    // Transactions that were committed together have one frame number and are one point of the lag.
    if (frameNo === undefined || frameNo <= this.#acknowledgedFrameNo) return
    this.#acknowledgedFrameNo = frameNo
    for (const lag of this.#lags) lag.acknowledged(frameNo, atMs)
  }

  durable(startedAtMs: number): void {
    this.#durable.record(microseconds(performance.now() - startedAtMs))
  }

  /** One log of a checkpoint: when checkpoint() was called, when the log was sealed, and when it was saved. */
  checkpointed(calledAtMs: number, sealedAtMs: number, savedAtMs: number): void {
    this.#checkpointCount += 1
    this.#seal.record(microseconds(sealedAtMs - calledAtMs))
    this.#save.record(microseconds(savedAtMs - sealedAtMs))
  }

  read(count = 1): void {
    this.#readCount += count
  }

  /** What was measured while the load warmed up does not count: times only, all that was done does. */
  warmedUp(): void {
    for (const histogram of [this.#execute, this.#durable, this.#seal, this.#save, this.#eventLoop])
      histogram.reset()
    for (const lag of this.#lags) lag.histogram.reset()
  }

  distributions() {
    this.#eventLoop.disable()
    return {
      executeMs: distribution(this.#execute),
      durableMs: distribution(this.#durable),
      sealMs: distribution(this.#seal),
      saveMs: distribution(this.#save),
      eventLoopDelayMs: this.#eventLoopDelay(),
    }
  }

  #eventLoopDelay(): Distribution | null {
    if (this.#eventLoop.count === 0) return null
    const delayMs = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - eventLoopSampleMs)
    return {
      p50: delayMs(this.#eventLoop.percentile(50)),
      p99: delayMs(this.#eventLoop.percentile(99)),
      max: delayMs(this.#eventLoop.max),
    }
  }
}
