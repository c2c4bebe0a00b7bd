import { setMaxListeners } from 'node:events'

/** Why a load ends: its time is up, the user asked for it, or something failed. */
export type StopReason = 'time' | 'interrupt' | 'failure'

/** One for each run: everything that runs looks at `isStopped`, whatever fails says so here. */
export class RunControl {
  readonly #stop = new AbortController()
  #reason: StopReason | undefined
  #failures: Error[] = []

  constructor() {
    // One for each pause under way: as many as there are readers.
    setMaxListeners(0, this.#stop.signal)
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  get isStopped(): boolean {
    return this.#reason !== undefined
  }

  get reason(): StopReason | undefined {
    return this.#reason
  }

  /** What failed, the first one first; others are mostly its consequences. */
  get failures(): readonly Error[] {
    return this.#failures
  }

  stop(reason: StopReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#stop.abort()
  }

  readonly fail = (error: unknown): void => {
    const failure = error instanceof Error ? error : new Error(String(error))
    if (!this.#failures.includes(failure)) this.#failures.push(failure)
    this.stop('failure')
  }
}

/** npm passes an interrupt on that the terminal has sent to the whole process group: one key, two signals. */
const sameKeyMs = 500

/**
 * Ctrl-C (or SIGTERM) stops the run, which then still drains and proves; again, and the process exits.
 * Returns what undoes it.
 */
export function stopOnInterrupt(control: RunControl): () => void {
  let firstAtMs: number | undefined
  const interrupt = () => {
    if (firstAtMs === undefined) {
      firstAtMs = performance.now()
      control.stop('interrupt')
    } else if (performance.now() - firstAtMs > sameKeyMs) {
      process.exit(130)
    }
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  return () => {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
}
