/**
 * The proof of a load: whatever the library promised is looked at in the files and databases themselves. A check
 * that cannot be made (a damaged file, a thread that is gone) has failed.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Log, Primary, Snapshot } from '../main/index.js'
import {
  type Check,
  check,
  checkDurable,
  checkIntegrity,
  checkRun,
  compareRuns,
  compareWith,
  type Reference,
  type Run,
} from './checks.js'
import type { LogFolder } from './log-folder.js'
import type { Replicas, StateAtStop } from './traffic.js'
import { countIds } from './transaction-ledger.js'
import type { Invariants } from './workload.js'

export interface ProofSubject extends Run {
  readonly replicas: Replicas
  readonly folder: Pick<LogFolder, 'snapshotPath' | 'logPaths'>
  readonly invariants: Invariants | undefined
  readonly atStop: StateAtStop
}

/** The checks one by one, as they are made. */
export async function* prove(subject: ProofSubject): AsyncGenerator<Check> {
  const { primary, replicas, invariants } = subject
  const databases = [
    ['primary', primary],
    ['replica fed with logs', replicas.logs],
    ['replica fed with frames', replicas.frames],
  ] as const
  yield check('nothing failed', async () => checkRun(subject))
  yield check('all is durable', async () => checkDurable(subject))
  const reference = { path: join(subject.scratchPath, 'primary.db') }
  try {
    for (const [name, database] of databases.slice(1)) {
      yield check(`${name} equals the primary`, () => compareWith(subject, reference, database))
    }
    for (const [name, database] of databases) {
      yield check(`integrity of the ${name}`, () => checkIntegrity(database))
    }
    if (invariants !== undefined) {
      for (const [name, database] of databases) {
        yield check(`${invariants.title} in the ${name}`, () => invariants.check(database))
      }
      yield check('a primary reopened as of the stop', () => reopenAtStop(subject, invariants))
    }
    yield check('a primary reopened from all logs', () => reopen(subject, reference))
  } finally {
    await rm(reference.path, { force: true })
  }
}

/** What was durable when the load stopped is there, and nothing of what was only executed. */
async function reopenAtStop(
  { folder, atStop }: ProofSubject,
  { transactionIds }: Invariants,
): Promise<string> {
  const { logCount, durableRuns, executedCount } = atStop
  return withReopened(folder, logCount, async (reopened) => {
    compareRuns(durableRuns, await transactionIds(reopened))
    const count = countIds(durableRuns)
    return `${logCount} logs hold exactly the ${count} transactions that were durable, of ${executedCount} executed`
  })
}

async function reopen(subject: ProofSubject, reference: Reference): Promise<string> {
  const { folder, invariants, ledger } = subject
  return withReopened(folder, folder.logPaths.length, async (reopened) => {
    if (invariants !== undefined) {
      compareRuns(ledger.durableRuns(), await invariants.transactionIds(reopened))
      await invariants.check(reopened)
    }
    const equality = await compareWith(subject, reference, reopened)
    const found =
      invariants === undefined ? '' : ` hold exactly ${ledger.durableCount} durable transactions and`
    return `${folder.logPaths.length} logs${found} equal the primary: ${equality}`
  })
}

/** Opens a primary from the files in the folder alone, as after a crash. */
async function withReopened(
  { snapshotPath, logPaths }: ProofSubject['folder'],
  logCount: number,
  examine: (reopened: Primary) => Promise<string>,
): Promise<string> {
  const snapshot = await Snapshot.open(snapshotPath)
  // Opening a primary checks every byte of them.
  const logs = await Promise.all(logPaths.slice(0, logCount).map((path) => Log.open(path, { verify: false })))
  await using reopened = await Primary.open(snapshot, logs)
  return await examine(reopened)
}
