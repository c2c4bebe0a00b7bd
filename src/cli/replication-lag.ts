/** The lag of one replica: from a commit being acknowledged on the primary to its being applied. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { microseconds } from './distribution.js'

export class ReplicationLag {
  readonly histogram: RecordableHistogram = createHistogram()
  /** Acknowledged and not applied, in order of frame number. */
  #waiting: { readonly frameNo: number; readonly atMs: number }[] = []
  #appliedFrameNo = -1
  #lastLagMs = 0

  /** Lag of the last commit that was applied, in milliseconds. */
  get lastLagMs(): number {
    return this.#lastLagMs
  }

  acknowledged(frameNo: number, atMs: number): void {
    // The replica may have been faster than the answer.
    if (frameNo <= this.#appliedFrameNo) this.#record(0)
    else this.#waiting.push({ frameNo, atMs })
  }

  /** Everything up to `frameNo` is applied: now, or at a time that another process has told. */
  applied(frameNo: number | undefined, atMs = performance.now()): void {
    if (frameNo === undefined) return
    this.#appliedFrameNo = frameNo
    const left = this.#waiting.findIndex((commit) => commit.frameNo > frameNo)
    const applied = this.#waiting.splice(0, left === -1 ? this.#waiting.length : left)
    for (const commit of applied) this.#record(Math.max(0, atMs - commit.atMs))
  }

  #record(lagMs: number): void {
    this.#lastLagMs = lagMs
    this.histogram.record(microseconds(lagMs))
  }
}
