/** Histograms of times, as all threads make them. */

/**
 * Of histograms of times, in microseconds: two figures count, up to an hour. That takes 30 KiB each; as Node.js makes them by
 * itself, 360, which V8 does not know of, and so does not care to free.
 */
export const histogramUs = { lowest: 1, highest: 3_600_000_000, figures: 2 } as const

/** What is recorded of a time: one out of range would count for nothing. */
export function recordedUs(tookMs: number): number {
  return Math.min(Math.max(histogramUs.lowest, Math.round(tookMs * 1000)), histogramUs.highest)
}
