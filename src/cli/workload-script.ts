/** A load of the user's: a script on a copy of a database of theirs, or on the TPC-B tables. */
import { readFileSync } from 'node:fs'
import { Snapshot } from '../main/index.js'
import type { StartProgress } from './progress.js'
import { Script, type Variables } from './script.js'
import { makeTpcbDatabase } from './tpcb-database.js'
import type { Workload } from './workload.js'

export interface ScriptOptions {
  readonly script: string
  readonly db?: string
  readonly query?: string
  readonly scale: number
}

/** Throws UsageError when the script has mistakes. */
export function scriptWorkload(options: ScriptOptions): Workload {
  const { db, scale } = options
  const predefined: Variables = new Map([['scale', scale]])
  const script = Script.parse(readFileSync(options.script, 'utf8'), options.script, [...predefined.keys()])
  // A value that cannot be drawn is a mistake in the script too.
  script.draw(predefined)
  return {
    title: `${options.script} on ${db ?? `the TPC-B tables, scale ${scale}`}`,
    async makeSnapshot(path, startProgress, signal) {
      if (db !== undefined) return importDatabase(db, path, startProgress)
      const snapshot = await makeTpcbDatabase(scale, startProgress, signal)
      await snapshot.moveTo(path)
      return snapshot
    },
    execute: (primary) => primary.batch(script.draw(predefined)),
    query: options.query ?? 'SELECT count(*) FROM sqlite_schema',
    checkRow: () => {},
  }
}

async function importDatabase(db: string, path: string, startProgress: StartProgress): Promise<Snapshot> {
  const progress = startProgress('copying the database', 1)
  try {
    return await Snapshot.fromDatabase(db, path, {
      onProgress: ({ pagesDone, pageCount }) =>
        progress.update(pagesDone, `${pagesDone} of ${pageCount} pages`, pageCount),
    })
  } finally {
    progress.stop()
  }
}
