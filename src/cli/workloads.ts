import type { LoadOptions } from './options.js'
import type { Workload } from './workload.js'
import { scriptWorkload } from './workload-script.js'
import { tpcbWorkload } from './workload-tpcb.js'

/** The load that was asked for. Throws UsageError when its script has mistakes. */
export function workloadOf(options: LoadOptions): Workload {
  const { script } = options
  return script === undefined ? tpcbWorkload(options.scale) : scriptWorkload({ ...options, script })
}
