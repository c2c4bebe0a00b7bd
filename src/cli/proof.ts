/**
 * The proof of a load: whatever the library promised is looked at in the files and databases themselves. A check
 * that cannot be made (a damaged file, a thread that is gone) has failed.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Log, Primary, Snapshot } from '../main/index.js'
import { describeError } from './describe-error.js'
import type { LogFolder } from './log-folder.js'
import type { Measurements } from './measurements.js'
import { comparePages } from './page-comparison.js'
import type { RunControl } from './run-control.js'
import type { Replicas, StateAtStop } from './traffic.js'
import { countIds, describeRuns, type IdRun, type TransactionLedger } from './transaction-ledger.js'
import type { Invariants, LoadPrimary, Readable } from './workload.js'

export interface Check {
  readonly name: string
  readonly isOk: boolean
  /** What was found, or what differs. */
  readonly detail: string
}

export interface ProofSubject {
  readonly primary: LoadPrimary
  readonly replicas: Replicas
  readonly folder: Pick<LogFolder, 'snapshotPath' | 'logPaths'>
  readonly invariants: Invariants | undefined
  readonly control: Pick<RunControl, 'failures'>
  readonly ledger: Pick<TransactionLedger, 'executedCount' | 'durableCount' | 'durableRuns'>
  readonly measurements: Pick<Measurements, 'readCount'>
  readonly atStop: StateAtStop
  /** For snapshots to compare. */
  readonly scratchPath: string
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

async function check(name: string, examine: () => Promise<string>): Promise<Check> {
  try {
    return { name, isOk: true, detail: await examine() }
  } catch (error) {
    return { name, isOk: false, detail: describeError(error) }
  }
}

function checkRun({ control, ledger, measurements }: ProofSubject): string {
  const [first, ...others] = control.failures
  const count = `${ledger.executedCount} transactions, ${measurements.readCount} reads from replicas`
  if (first === undefined) return `${count}, each as it has to be`
  throw new Error(
    `${describeError(first)}${others.length === 0 ? '' : ` (and ${others.length} more)`} after ${count}`,
  )
}

function checkDurable({ ledger, primary }: ProofSubject): string {
  const { executedCount, durableCount } = ledger
  if (durableCount !== executedCount) throw new Error(`${durableCount} of ${executedCount} transactions are`)
  return `${durableCount} transactions, saved up to frame ${primary.savedFrameNo ?? 'none'}`
}

/** A snapshot file of the primary, made with the first comparison. */
interface Reference {
  readonly path: string
  snapshot?: Promise<Snapshot>
}

async function compareWith(
  { primary, scratchPath }: ProofSubject,
  reference: Reference,
  database: Pick<Primary, 'snapshot' | 'lastFrameNo'>,
): Promise<string> {
  reference.snapshot ??= primary.snapshot(reference.path)
  const expected = await reference.snapshot
  const path = join(scratchPath, 'compared.db')
  try {
    const actual = await database.snapshot(path)
    if (actual.lastFrameNo !== expected.lastFrameNo) {
      throw new Error(`it stands at frame ${actual.lastFrameNo}, the primary at ${expected.lastFrameNo}`)
    }
    await comparePages(expected, actual)
    return `${expected.pageCount} pages, byte for byte, at frame ${expected.lastFrameNo ?? 'none'}`
  } finally {
    await rm(path, { force: true })
  }
}

async function checkIntegrity(database: Readable): Promise<string> {
  const rows = await database.all('PRAGMA integrity_check')
  const lines = rows.map((row) => String(row.integrity_check))
  if (lines.length === 1 && lines[0] === 'ok') return 'integrity_check ok'
  throw new Error(lines.slice(0, 3).join('; '))
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

function compareRuns(expected: readonly IdRun[], actual: readonly IdRun[]): void {
  if (JSON.stringify(expected) === JSON.stringify(actual)) return
  throw new Error(
    `it holds transactions ${describeRuns(actual)} instead of the durable ones, ${describeRuns(expected)}`,
  )
}
