/** Where the time of an actor thread goes: histograms in microseconds, one value for each group, log or batch. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

export class ThreadTimes {
  /** From the moment a group is made on the main thread to the moment it is executed. */
  readonly queueWaitUs = createHistogram()
  /** The statements of a group, without the commit. */
  readonly executeUs = createHistogram()
  readonly commitUs = createHistogram()
  /** A log or a batch of frames: checked and applied. */
  readonly applyUs = createHistogram()
}

/** Records from `startMs`, as performance.now() has it, until now. */
export function recordSince(histogram: RecordableHistogram, startMs: number): void {
  // A histogram begins at 1.
  histogram.record(Math.max(1, Math.round((performance.now() - startMs) * 1000)))
}

/** Milliseconds since 1970 with fractions: the same in all threads, unlike performance.now(). */
export function sharedNowMs(): number {
  return performance.timeOrigin + performance.now()
}
