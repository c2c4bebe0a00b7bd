/** A clock that all processes of a machine share and nobody sets: milliseconds since some time in the past. */
export function sharedClockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** The same moment as performance.now() of this process has it. */
export function ownClockMs(sharedMs: number): number {
  return performance.now() - (sharedClockMs() - sharedMs)
}
