/** The load that saves its logs as files, and feeds one replica with them and another one with live frames. */
import { join } from 'node:path'
import { Primary, Replica } from '../main/index.js'
import { distribution } from './distribution.js'
import { formatLag, showProgress } from './load-progress.js'
import {
  type LoadSetting,
  measuredOf,
  type Outcome,
  prepare,
  procedures,
  reportAndProve,
} from './load-steps.js'
import { LogFolder } from './log-folder.js'
import { Measurements } from './measurements.js'
import { prove } from './proof.js'
import { ReplicationLag } from './replication-lag.js'
import { collect } from './report.js'
import { Traffic } from './traffic.js'
import { TransactionLedger } from './transaction-ledger.js'
import type { LoadPrimary } from './workload.js'

/** Throws UsageError, and what preparing the database throws. */
export async function fileLoad(setting: LoadSetting): Promise<Outcome> {
  const { options, workload, control, scratchPath } = setting
  const folder = await LogFolder.create(options.dir ?? join(scratchPath, 'logs'))
  const snapshot = await prepare(setting, folder.snapshotPath)
  if (snapshot === undefined) return 'interrupted'
  await using primary: LoadPrimary = await Primary.open(snapshot, [], { procedures })
  const readers = Math.max(1, options.readers)
  await using logs = await Replica.open(snapshot, [], { readers })
  await using frames = await Replica.open(snapshot, [], { readers })
  const replicas = { logs, frames }
  const lags = { logs: new ReplicationLag(), frames: new ReplicationLag() }
  const measurements = new Measurements(Object.values(lags))
  const ledger = new TransactionLedger()
  const parts = { options, workload, primary, replicas, lags, folder, control, measurements, ledger }

  const lagText = () =>
    `${formatLag(lags.logs.lastLagMs)} (logs) ${formatLag(lags.frames.lastLagMs)} (frames)`
  const stopProgress = showProgress(options, ledger, lagText)
  const traffic = await new Traffic(parts).run()
  stopProgress()

  const { checkpointCount } = measurements
  const logBytes = folder.byteCount
  const measured = { ...measuredOf(setting, snapshot, primary), checkpointCount, logBytes }
  const lagOfLogsMs = distribution(lags.logs.histogram)
  const lagOfFramesMs = distribution(lags.frames.histogram)
  const results = { ...collect({ ...parts, ...measured, traffic }), lagOfLogsMs, lagOfFramesMs }
  const tableParts = {
    checkpoints: 'checkpoints (log files)',
    times: {
      'checkpoint: sealing the log': results.sealMs,
      'checkpoint: saving the log, synced': results.saveMs,
      'lag of the replica fed with logs': lagOfLogsMs,
      'lag of the replica fed with frames': lagOfFramesMs,
    },
  }
  const proof = prove({ ...parts, invariants: workload.invariants, atStop: traffic.atStop, scratchPath })
  const { outcome, printJson } = await reportAndProve(results, tableParts, proof)
  const dir = options.dir === undefined ? null : folder.path
  printJson({ dir })
  if (dir !== null && !options.json) {
    process.stdout.write(`Kept in ${dir}: base.db and ${folder.logPaths.length} logs\n`)
  }
  return outcome
}
