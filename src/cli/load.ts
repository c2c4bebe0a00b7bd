/** The load test from its options to its exit code: prepare, run, report, prove. */
import { join } from 'node:path'
import { Primary, Replica, type Snapshot } from '../main/index.js'
import { LogFolder } from './log-folder.js'
import { Measurements } from './measurements.js'
import type { LoadOptions } from './options.js'
import { type Progress, startProgress } from './progress.js'
import { type Check, type ProofSubject, prove } from './proof.js'
import { collect, formatCheck, formatTables } from './report.js'
import { RunControl, stopOnInterrupt } from './run-control.js'
import { makeScratchFolder } from './scratch-folder.js'
import { Traffic } from './traffic.js'
import { TransactionLedger } from './transaction-ledger.js'
import type { LoadPrimary, Workload } from './workload.js'
import { scriptWorkload } from './workload-script.js'
import { tpcbWorkload } from './workload-tpcb.js'

export type Outcome = 'ok' | 'failed' | 'interrupted'

/** Throws UsageError, and what preparing the database throws. */
export async function load(options: LoadOptions): Promise<Outcome> {
  const { script } = options
  const workload = script === undefined ? tpcbWorkload(options.scale) : scriptWorkload({ ...options, script })
  const control = new RunControl()
  const restore = stopOnInterrupt(control)
  try {
    const scratchPath = await makeScratchFolder()
    const folder = await LogFolder.create(options.dir ?? join(scratchPath, 'logs'))
    const snapshot = await prepare(workload, folder, control)
    if (snapshot === undefined) return 'interrupted'
    return await runAndProve(options, workload, control, folder, snapshot, scratchPath)
  } finally {
    restore()
  }
}

/** Undefined when it was interrupted. */
async function prepare(
  workload: Workload,
  folder: LogFolder,
  control: RunControl,
): Promise<Snapshot | undefined> {
  try {
    const snapshot = await workload.makeSnapshot(folder.snapshotPath, startProgress, control.signal)
    return control.isStopped ? undefined : snapshot
  } catch (error) {
    if (control.reason === 'interrupt') return undefined
    throw error
  }
}

async function runAndProve(
  options: LoadOptions,
  workload: Workload,
  control: RunControl,
  folder: LogFolder,
  snapshot: Snapshot,
  scratchPath: string,
): Promise<Outcome> {
  const procedures = new URL('./tpcb-procedures.js', import.meta.url)
  await using primary: LoadPrimary = await Primary.open(snapshot, [], { procedures })
  const readers = Math.max(1, options.readers)
  await using logs = await Replica.open(snapshot, [], { readers })
  await using frames = await Replica.open(snapshot, [], { readers })
  const replicas = { logs, frames }
  const measurements = new Measurements()
  const ledger = new TransactionLedger()
  const parts = { options, workload, primary, replicas, folder, control, measurements, ledger }
  const firstFrameNo = nextFrameNo(snapshot)

  const stopProgress = showProgress(options, measurements, ledger)
  const traffic = await new Traffic(parts).run()
  stopProgress()

  const frameCount = nextFrameNo(primary) - firstFrameNo
  const stoppedBy = control.reason ?? 'time'
  const frameSizeBytes = frameHeaderBytes + primary.pageSize
  const measured = { ...parts, workload: workload.title, stoppedBy, frameCount, frameSizeBytes, traffic }
  const results = collect(measured)
  if (!options.json) process.stdout.write(formatTables(results))

  const { invariants } = workload
  const subject = { ...parts, invariants, atStop: traffic.atStop, scratchPath }
  const checks = await proveAloud(subject, options.json)
  const isOk = checks.every((check) => check.isOk)
  const dir = options.dir === undefined ? null : folder.path
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ok: isOk, ...results, dir, checks }, undefined, 2)}\n`)
  } else if (dir !== null) {
    process.stdout.write(`Kept in ${dir}: base.db and ${folder.logPaths.length} logs\n`)
  }
  return isOk ? 'ok' : 'failed'
}

/** Of a frame in a log, before its page. */
const frameHeaderBytes = 24

function nextFrameNo({ lastFrameNo }: { readonly lastFrameNo: number | undefined }): number {
  return lastFrameNo === undefined ? 0 : lastFrameNo + 1
}

async function proveAloud(subject: ProofSubject, isQuiet: boolean): Promise<Check[]> {
  const checks: Check[] = []
  for await (const check of prove(subject)) {
    checks.push(check)
    if (!isQuiet) process.stdout.write(`${formatCheck(check)}\n`)
  }
  return checks
}

const progressMs = 500

/** Shows what happened in each half second. Returns what ends it. */
function showProgress(
  options: LoadOptions,
  measurements: Measurements,
  ledger: TransactionLedger,
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
      `lag ${lag(measurements.lagOfLogs.lastLagMs)} (logs) ${lag(measurements.lagOfFrames.lastLagMs)} (frames)`,
    ].join(' | ')
    progress.update(Math.min(options.seconds, elapsedSeconds), text)
    last = now
  }, progressMs)
  return () => {
    clearInterval(timer)
    progress.stop()
  }
}

function lag(milliseconds: number): string {
  return `${milliseconds.toFixed(0)} ms`
}
