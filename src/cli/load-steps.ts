/** What a load does with and without a store: it prepares, measures, reports and proves. */
import type { Snapshot } from '../main/index.js'
import type { Check } from './checks.js'
import type { LoadOptions } from './options.js'
import { startProgress } from './progress.js'
import { formatCheck, formatTables, type Results, type TableParts } from './report.js'
import type { RunControl } from './run-control.js'
import type { LoadPrimary, Workload } from './workload.js'

export type Outcome = 'ok' | 'failed' | 'interrupted'

export interface LoadSetting {
  readonly options: LoadOptions
  readonly workload: Workload
  readonly control: RunControl
  /** For what is needed only while it runs. */
  readonly scratchPath: string
}

export const procedures = new URL('./tpcb-procedures.js', import.meta.url)

/** Makes the database that the load starts from, at `path`. Undefined when it was interrupted. */
export async function prepare(
  { workload, control }: LoadSetting,
  path: string,
): Promise<Snapshot | undefined> {
  try {
    const snapshot = await workload.makeSnapshot(path, startProgress, control.signal)
    return control.isStopped ? undefined : snapshot
  } catch (error) {
    if (control.reason === 'interrupt') return undefined
    throw error
  }
}

/** Of a frame in a log, before its page. */
const frameHeaderBytes = 24

/** What the results say about the run as a whole. */
export function measuredOf(
  { options, workload, control }: LoadSetting,
  snapshot: Pick<Snapshot, 'lastFrameNo'>,
  primary: LoadPrimary,
) {
  return {
    workload: workload.title,
    options,
    stoppedBy: control.reason ?? ('time' as const),
    frameCount: (primary.lastFrameNo ?? -1) - (snapshot.lastFrameNo ?? -1),
    frameSizeBytes: frameHeaderBytes + primary.pageSize,
  }
}

/** Prints results and checks: as tables and lines while they are made, or as one JSON object. */
export async function reportAndProve<R extends Results>(
  results: R,
  tableParts: TableParts,
  proof: AsyncIterable<Check>,
): Promise<{ readonly outcome: Outcome; readonly printJson: (more: object) => void }> {
  const { json } = results.options
  if (!json) process.stdout.write(formatTables(results, tableParts))
  const checks: Check[] = []
  for await (const check of proof) {
    checks.push(check)
    if (!json) process.stdout.write(`${formatCheck(check)}\n`)
  }
  const ok = checks.every((check) => check.isOk)
  const printJson = (more: object) => {
    if (json) process.stdout.write(`${JSON.stringify({ ok, ...results, ...more, checks }, undefined, 2)}\n`)
  }
  return { outcome: ok ? 'ok' : 'failed', printJson }
}
