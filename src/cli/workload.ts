/** What a load test runs: where its database comes from, what a transaction is, what can be known afterwards. */
import type { Ack, Primary, Replica, Row, Snapshot } from '../main/index.js'
import type { StartProgress } from './progress.js'
import type { IdRun } from './transaction-ledger.js'

export type LoadPrimary = Primary<typeof import('./tpcb-procedures.js')>

/** What can be read from. */
export type Readable = Pick<Primary & Replica, 'get' | 'all'>

export interface Workload {
  readonly title: string
  /** Makes the database that the load starts from, at `path`. */
  makeSnapshot(path: string, startProgress: StartProgress, signal: AbortSignal): Promise<Snapshot>
  /** Runs one transaction. Resolves when it is executed. */
  execute(primary: LoadPrimary, transactionId: number): Promise<Ack<unknown>>
  /** What readers ask the replicas for. */
  readonly query: string
  /** Looks at the row that a reader got. Throws an Error that says what is wrong with it. */
  checkRow(row: Row | undefined): void
  /** Checks that need to know the schema; undefined for a schema of the user's. */
  readonly invariants?: Invariants
}

export interface Invariants {
  readonly title: string
  /** Throws an Error that says what differs, else says what was found. */
  check(database: Readable): Promise<string>
  /** The ids of the transactions that the database holds. */
  transactionIds(database: Readable): Promise<IdRun[]>
}
