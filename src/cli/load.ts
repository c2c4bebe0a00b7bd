/** The load test from its options to its exit code. */
import { fileLoad } from './file-load.js'
import type { LoadSetting, Outcome } from './load-steps.js'
import type { LoadOptions } from './options.js'
import { RunControl, stopOnInterrupt } from './run-control.js'
import { makeScratchFolder } from './scratch-folder.js'
import { storeLoad } from './store-load.js'
import { workloadOf } from './workloads.js'

/** Throws UsageError, and what preparing the database throws. */
export async function load(options: LoadOptions): Promise<Outcome> {
  const workload = workloadOf(options)
  const control = new RunControl()
  const restoreSignals = stopOnInterrupt(control)
  try {
    const setting: LoadSetting = { options, workload, control, scratchPath: await makeScratchFolder() }
    return await (options.store === undefined ? fileLoad(setting) : storeLoad(setting, options.store))
  } finally {
    restoreSignals()
  }
}
