/** Times as HDR histograms (perf_hooks) keep them: in microseconds, to three digits, whatever the range. */
import { createHistogram, type Histogram, type RecordableHistogram } from 'node:perf_hooks'

/** Milliseconds. */
export interface Distribution {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What a histogram takes: integers from 1 on. */
export function microseconds(milliseconds: number): number {
  return Math.max(1, Math.round(milliseconds * 1000))
}

/** Null when nothing was measured. */
export function distribution(histogram: Histogram): Distribution | null {
  if (histogram.count === 0) return null
  return {
    p50: histogram.percentile(50) / 1000,
    p99: histogram.percentile(99) / 1000,
    max: histogram.max / 1000,
  }
}

export function merged(histograms: readonly RecordableHistogram[]): RecordableHistogram {
  const all = createHistogram()
  for (const histogram of histograms) all.add(histogram)
  return all
}
