/** The checks that every proof has, and what makes a check of an examination. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Snapshot } from '../main/index.js'
import { describeError } from './describe-error.js'
import type { Measurements } from './measurements.js'
import { comparePages } from './page-comparison.js'
import type { RunControl } from './run-control.js'
import { describeRuns, type IdRun, type TransactionLedger } from './transaction-ledger.js'
import type { LoadPrimary, Readable } from './workload.js'

export interface Check {
  readonly name: string
  readonly isOk: boolean
  /** What was found, or what differs. */
  readonly detail: string
}

/** What has run. */
export interface Run {
  readonly primary: LoadPrimary
  readonly control: Pick<RunControl, 'failures'>
  readonly ledger: Pick<TransactionLedger, 'executedCount' | 'durableCount' | 'durableRuns'>
  readonly measurements: Pick<Measurements, 'readCount'>
  /** For snapshots to compare. */
  readonly scratchPath: string
}

/** What can be compared with the primary. */
interface Comparable {
  snapshot(path: string): Promise<Pick<Snapshot, 'path' | 'pageSize' | 'pageCount' | 'lastFrameNo'>>
}

export async function check(name: string, examine: () => Promise<string>): Promise<Check> {
  try {
    return { name, isOk: true, detail: await examine() }
  } catch (error) {
    return { name, isOk: false, detail: describeError(error) }
  }
}

/** Whether everything that was asked for was answered as it has to be. */
export function checkRun({ control, ledger, measurements }: Run): string {
  const [first, ...others] = control.failures
  const count = `${ledger.executedCount} transactions, ${measurements.readCount} reads from replicas`
  if (first === undefined) return `${count}, each as it has to be`
  throw new Error(
    `${describeError(first)}${others.length === 0 ? '' : ` (and ${others.length} more)`} after ${count}`,
  )
}

export function checkDurable({ ledger, primary }: Run): string {
  const { executedCount, durableCount } = ledger
  if (durableCount !== executedCount) throw new Error(`${durableCount} of ${executedCount} transactions are`)
  return `${durableCount} transactions, saved up to frame ${primary.savedFrameNo ?? 'none'}`
}

/** A snapshot file of the primary, made with the first comparison. */
export interface Reference {
  readonly path: string
  snapshot?: Promise<Snapshot>
}

/** Compares the pages of a database with those of the primary. */
export async function compareWith(
  { primary, scratchPath }: Run,
  reference: Reference,
  database: Comparable,
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

export async function checkIntegrity(database: Readable): Promise<string> {
  const rows = await database.all('PRAGMA integrity_check')
  const lines = rows.map((row) => String(row.integrity_check))
  if (lines.length === 1 && lines[0] === 'ok') return 'integrity_check ok'
  throw new Error(lines.slice(0, 3).join('; '))
}

export function compareRuns(expected: readonly IdRun[], actual: readonly IdRun[]): void {
  if (JSON.stringify(expected) === JSON.stringify(actual)) return
  throw new Error(
    `it holds transactions ${describeRuns(actual)} instead of the durable ones, ${describeRuns(expected)}`,
  )
}
