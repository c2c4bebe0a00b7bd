/** Progress of the load itself. */
import type { LoadOptions } from './options.js'
import { type Progress, startProgress } from './progress.js'
import type { TransactionLedger } from './transaction-ledger.js'

const progressMs = 500

/** Shows what happened in each half second, and what `lags` says. Returns what ends it. */
export function showProgress(
  options: Pick<LoadOptions, 'seconds'>,
  ledger: TransactionLedger,
  lags: () => string,
): () => void {
  const progress: Progress = startProgress('load', options.seconds)
  const startedAtMs = performance.now()
  let last = { atMs: startedAtMs, executed: 0, durable: 0 }
  const timer = setInterval(() => {
    const now = {
      atMs: performance.now(),
      executed: ledger.executedCount,
      durable: ledger.durableCount,
    }
    const perSecond = (count: number) => Math.round((count * 1000) / (now.atMs - last.atMs))
    const elapsedSeconds = (now.atMs - startedAtMs) / 1000
    const text = [
      `${elapsedSeconds.toFixed(1)} of ${options.seconds} s`,
      `${perSecond(now.executed - last.executed).toLocaleString('en')} transactions/s`,
      `durable ${perSecond(now.durable - last.durable).toLocaleString('en')}/s`,
      `lag ${lags()}`,
    ].join(' | ')
    progress.update(Math.min(options.seconds, elapsedSeconds), text)
    last = now
  }, progressMs)
  return () => {
    clearInterval(timer)
    progress.stop()
  }
}

export function formatLag(milliseconds: number): string {
  return `${milliseconds.toFixed(0)} ms`
}
