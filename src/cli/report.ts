/** The results: as one object, and as tables for people. */
import { availableParallelism } from 'node:os'
import { byteSize } from './byte-size.js'
import type { Check } from './checks.js'
import type { Distribution } from './distribution.js'
import type { Measurements } from './measurements.js'
import type { LoadOptions } from './options.js'
import type { StopReason } from './run-control.js'
import { table } from './table.js'
import type { TrafficTimes } from './traffic.js'
import type { TransactionLedger } from './transaction-ledger.js'

export interface Results extends ReturnType<Measurements['distributions']> {
  readonly workload: string
  readonly options: LoadOptions
  readonly machine: { readonly node: string; readonly cpus: number }
  readonly stoppedBy: StopReason
  readonly seconds: number
  readonly executedCount: number
  readonly executedPerSecond: number
  readonly durableCount: number
  readonly durablePerSecond: number
  readonly frameCount: number
  readonly framesPerSecond: number
  /** Headers included. */
  readonly frameBytes: number
  /** Of frames, 10^6 bytes. */
  readonly megabytesPerSecond: number
  readonly checkpointCount: number
  readonly logBytes: number
  readonly readCount: number
  readonly readsPerSecond: number
  readonly peakRssBytes: number
}

export interface Measured {
  readonly workload: string
  readonly options: LoadOptions
  readonly stoppedBy: StopReason
  readonly frameCount: number
  /** Bytes of one frame, header included. */
  readonly frameSizeBytes: number
  readonly traffic: TrafficTimes
  readonly ledger: TransactionLedger
  readonly measurements: Measurements
  readonly checkpointCount: number
  /** Of all logs. */
  readonly logBytes: number
}

export function collect(measured: Measured): Results {
  const { traffic, ledger, measurements, frameCount } = measured
  const seconds = traffic.executeMs / 1000
  const frameBytes = frameCount * measured.frameSizeBytes
  return {
    workload: measured.workload,
    options: measured.options,
    machine: { node: process.version, cpus: availableParallelism() },
    stoppedBy: measured.stoppedBy,
    seconds,
    executedCount: ledger.executedCount,
    executedPerSecond: ledger.executedCount / seconds,
    durableCount: ledger.durableCount,
    durablePerSecond: ledger.durableCount / (traffic.durableMs / 1000),
    frameCount,
    framesPerSecond: frameCount / seconds,
    frameBytes,
    megabytesPerSecond: frameBytes / 1e6 / seconds,
    checkpointCount: measured.checkpointCount,
    logBytes: measured.logBytes,
    readCount: measurements.readCount,
    readsPerSecond: measurements.readCount / seconds,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    ...measurements.distributions(),
  }
}

/** What is called otherwise, or is there at all, with and without a store. */
export interface TableParts {
  readonly checkpoints: string
  /** Times of checkpoints and replicas. */
  readonly times: Record<string, Distribution | null>
  /** Behind the peak memory of this process. */
  readonly memory?: string
}

export function formatTables(results: Results, { checkpoints, times: ofParts, memory }: TableParts): string {
  const rates = table(['', 'count', 'per second'], {
    'transactions executed': [count(results.executedCount), count(results.executedPerSecond)],
    'transactions durable': [count(results.durableCount), count(results.durablePerSecond)],
    frames: [count(results.frameCount), count(results.framesPerSecond)],
    'MB of frames': [count(results.frameBytes / 1e6), count(results.megabytesPerSecond)],
    [checkpoints]: [count(results.checkpointCount), (results.checkpointCount / results.seconds).toFixed(1)],
    'reads from replicas': [count(results.readCount), count(results.readsPerSecond)],
  })
  const times = table(['milliseconds', 'p50', 'p99', 'max'], {
    'call to executed': cells(results.executeMs),
    'call to durable': cells(results.durableMs),
    ...Object.fromEntries(Object.entries(ofParts).map(([name, each]) => [name, cells(each)])),
    'event-loop delay': cells(results.eventLoopDelayMs),
  })
  const peak = `peak memory (RSS): ${byteSize(results.peakRssBytes)}${memory ?? ''}`
  return `${title(results)}\n${rates}\n${times}\n${peak}\n`
}

export function formatCheck({ name, isOk, detail }: Check): string {
  return `${isOk ? 'ok    ' : 'FAILED'} ${name}: ${detail}`
}

function title({ workload, options, machine: { node, cpus }, seconds, stoppedBy }: Results): string {
  const stopped = { time: '', interrupt: ' (stopped early)', failure: ' (stopped by a failure)' }[stoppedBy]
  const rate = options.rate === undefined ? '' : ` at ${options.rate.toLocaleString('en')} transactions/s`
  const warmUp = options.warmUp === 0 ? '' : ` (${options.warmUp} s of them to warm up)`
  const compression = options.compression === undefined ? '' : `, compression ${options.compression}`
  return (
    `${workload}: ${seconds.toFixed(1)} s${warmUp}${stopped}, ${options.clients} clients${rate}, a checkpoint every ` +
    `${options.checkpointMs} ms${compression}, Node ${node} on ${cpus} CPUs`
  )
}

function cells(times: Distribution | null): string[] {
  if (times === null) return ['-', '-', '-']
  return [times.p50, times.p99, times.max].map((ms) => ms.toFixed(ms < 10 ? 2 : 1))
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}
