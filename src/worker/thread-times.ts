/** Where the time of an actor thread goes: histograms in microseconds, one value for each group, log or batch. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { histogramUs, recordedUs } from '../protocol/histogram.js'

export class ThreadTimes {
  /** From the moment a group is made on the main thread to the moment it is executed. */
  readonly queueWaitUs = createHistogram(histogramUs)
  /** The statements of a group, without the commit. */
  readonly executeUs = createHistogram(histogramUs)
  readonly commitUs = createHistogram(histogramUs)
  /** A log or a batch of frames: checked and applied. */
  readonly applyUs = createHistogram(histogramUs)
  readonly #noted: { readonly histogram: RecordableHistogram; readonly tookMs: number }[] = []

  /** Takes note of the time from `startMs`, as performance.now() has it, until now. */
  note(histogram: RecordableHistogram, startMs: number): void {
    this.#noted.push({ histogram, tookMs: performance.now() - startMs })
  }

  /** Records what was noted: once those have their answers who wait for them, because it takes about a microsecond each. */
  record(): void {
    for (const { histogram, tookMs } of this.#noted) histogram.record(recordedUs(tookMs))
    this.#noted.length = 0
  }
}

/** Milliseconds since 1970 with fractions: the same in all threads, unlike performance.now(). */
export function sharedNowMs(): number {
  return performance.timeOrigin + performance.now()
}
