/**
 * The one writer: runs requests in the order in which they came. Neighbours share one transaction; one that fails
 * leaves nothing, and its neighbours are none the wiser. That needs a savepoint for each batch and procedure, which costs a
 * tenth of a small one; so as long as none fails there are none, and when one does, its neighbours run again. What may not
 * share a transaction (VACUUM, PRAGMA, interactive connections) is run between two transactions.
 */
import type Database from 'better-sqlite3'
import { noSlot } from '../protocol/cancellation.js'
import { MylibsqlError } from '../protocol/errors.js'
import type { RunResult } from '../protocol/values.js'
import type { BatchResults } from '../protocol/wire.js'
import { BatchColumns } from './batch-columns.js'
import { fail, type GroupRequest, type GroupStatements } from './group.js'
import type { Interruptible } from './interruptible.js'
import type { WalConnection } from './native.js'
import type { Procedures } from './procedures.js'
import { ofStatement } from './statement-error.js'
import { type Statements, valueCount } from './statements.js'
import type { ThreadTimes } from './thread-times.js'
import type { WorkingDatabase } from './working-database.js'

export class Writer {
  readonly #connection: Database.Database
  readonly #wal: WalConnection
  readonly #statements: Statements
  readonly #procedures: Procedures
  readonly #interruptible: Interruptible
  readonly #times: ThreadTimes
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #rollback: Database.Statement
  readonly #savepoint: Database.Statement
  readonly #release: Database.Statement
  readonly #rollbackTo: Database.Statement
  /** Turns SQLITE_AUTH into the reason for it. */
  readonly #explain: (error: unknown) => unknown
  transactionCount = 0
  /** Transactions that still take savepoints, because a request has failed not long ago. */
  #savepointsLeft = 0

  constructor(
    { connection, wal }: Pick<WorkingDatabase, 'connection' | 'wal'>,
    statements: Statements,
    procedures: Procedures,
    interruptible: Interruptible,
    times: ThreadTimes,
    explain: (error: unknown) => unknown,
  ) {
    this.#interruptible = interruptible
    this.#times = times
    this.#connection = connection
    this.#wal = wal
    this.#statements = statements
    this.#procedures = procedures
    this.#explain = explain
    this.#begin = connection.prepare('BEGIN IMMEDIATE')
    this.#commit = connection.prepare('COMMIT')
    this.#rollback = connection.prepare('ROLLBACK')
    this.#savepoint = connection.prepare('SAVEPOINT request')
    this.#release = connection.prepare('RELEASE request')
    this.#rollbackTo = connection.prepare('ROLLBACK TO request')
  }

  /** Runs requests that are no leases; each has its result or its error afterwards. */
  execute(requests: readonly GroupRequest[]): void {
    let first = 0
    for (const [index, request] of requests.entries()) {
      if (!standsAlone(request)) continue
      this.#commitTogether(requests.slice(first, index))
      this.#runAlone(request)
      first = index + 1
    }
    this.#commitTogether(first === 0 ? requests : requests.slice(first))
  }

  begin(): void {
    this.#begin.run()
  }

  commit(): void {
    const startMs = performance.now()
    this.#commit.run()
    this.#times.note(this.#times.commitUs, startMs)
    this.transactionCount += 1
  }

  rollback(): void {
    if (this.#connection.inTransaction) this.#rollback.run()
  }

  /** `isCareful`: a savepoint for each, because one of them has left changes behind when it failed. */
  #commitTogether(requests: readonly GroupRequest[], isCareful = false): void {
    let rest = requests.filter((request) => !request.isFailed)
    while (rest.length > 0) rest = this.#commitSome(rest, isCareful)
  }

  /** Commits requests from the front; returns those that are left. Each that is not has its result or its error. */
  #commitSome(requests: readonly GroupRequest[], isCareful: boolean): GroupRequest[] {
    try {
      this.#begin.run()
    } catch (error) {
      for (const request of requests) fail(request, error)
      return []
    }
    const startMs = performance.now()
    const isOnly = requests.length === 1
    if (isOnly) this.#runOnly(requests[0]!)
    const lostAt = isOnly ? none : this.#runEach(requests, isCareful)
    this.#times.note(this.#times.executeUs, startMs)
    if (lostAt === unclean) {
      this.rollback()
      this.#commitTogether(requests, true)
      return []
    }
    if (lostAt !== none) {
      // What was before runs again and is committed, and this one alone; what is behind comes after it.
      this.rollback()
      this.#commitTogether(requests.slice(0, lostAt), isCareful)
      this.#commitTogether(requests.slice(lostAt, lostAt + 1))
      return requests.slice(lostAt + 1)
    }
    if (!this.#connection.inTransaction) return []
    try {
      this.commit()
    } catch (error) {
      // A full disk, or a deferred foreign key of one that is alone.
      this.rollback()
      if (isOnly) fail(requests[0]!, error)
      else for (const request of requests) this.#commitTogether([request])
    }
    return []
  }

  /** A request that has the transaction to itself needs no savepoint. */
  #runOnly(request: GroupRequest): void {
    try {
      request.result = this.#run(request)
    } catch (error) {
      fail(request, this.#explain(error))
      this.rollback()
    }
  }

  /**
   * Runs each; those that fail are backed out alone. Returns the index of one that cannot share the transaction: SQLite
   * rolled it back (disk full, interrupt, ON CONFLICT ROLLBACK), lets nobody write in it any more (damage that a neighbour
   * may have met), or a foreign key is violated as yet. Returns `unclean` when one may have left changes.
   */
  #runEach(requests: readonly GroupRequest[], isCareful: boolean): number {
    const takesSavepoints = isCareful || this.#savepointsLeft > 0
    if (this.#savepointsLeft > 0) this.#savepointsLeft -= 1
    for (const [index, request] of requests.entries()) {
      // A single statement is mostly atomic by itself: SQLite backs out what it did when it fails.
      const isStatement = request.op === 'run'
      const needsSavepoint =
        isCareful || (!isStatement && (takesSavepoints || this.#procedures.haveSavepoints))
      if (needsSavepoint) this.#savepoint.run()
      try {
        request.result = this.#run(request)
        if (needsSavepoint) this.#release.run()
        else if (request.op === 'call' && this.#procedures.haveSavepoints) return unclean
      } catch (error) {
        if (isCorrupt(error)) return index
        fail(request, this.#explain(error))
        if (!this.#connection.inTransaction) return index
        if (needsSavepoint && !this.#backOut()) return index
        if (!needsSavepoint && !isStatement) this.#savepointsLeft = savepointsAfterFailure
        if (!needsSavepoint && (!isStatement || mayLeaveChanges(error))) return unclean
      }
      // Alone it could not commit, so it must not thanks to what a neighbour writes later.
      if (this.#wal.hasDeferredViolation()) return index
    }
    return none
  }

  /** False when the savepoint is gone: a procedure has ended the transaction and begun another. */
  #backOut(): boolean {
    try {
      this.#rollbackTo.run()
      this.#release.run()
      return true
    } catch {
      return false
    }
  }

  #runAlone(request: GroupRequest): void {
    try {
      request.result = this.#run(request)
      this.transactionCount += 1
    } catch (error) {
      fail(request, this.#explain(error))
    } finally {
      this.rollback()
    }
  }

  #run(request: GroupRequest): unknown {
    // No closure for each of them.
    this.#interruptible.begin(request.slot)
    try {
      return this.#runBegun(request)
    } finally {
      this.#interruptible.end(request.slot)
    }
  }

  #runBegun(request: GroupRequest): unknown {
    switch (request.op) {
      case 'run':
        return this.#runStatement(request.statement, request.statement.valueAt, undefined)
      case 'batch':
        return this.#runBatch(request.runs, request.slot)
      case 'call':
        return this.#procedures.call(request.name, request.args, request.slot !== noSlot)
      default:
        throw new TypeError(`A ${request.op} cannot be run in a group`)
    }
  }

  #runBatch(runs: readonly GroupStatements[], slot: number): BatchResults {
    const results = new BatchColumns(runs.reduce((count, run) => count + run.statementCount, 0))
    let index = 0
    for (const run of runs) {
      if (run.text.kind === 'alone') {
        const message = `Statement ${index} of the batch, "${excerpt(run.text.sql)}", cannot share a transaction: use run()`
        throw new MylibsqlError('ERR_REFUSED', message)
      }
      let { valueAt } = run
      for (const end = index + run.statementCount; index < end; index += 1) {
        // An interrupt between two statements ends none of them.
        this.#interruptible.begin(slot)
        results.set(index, this.#runStatement(run, valueAt, index))
        valueAt += valueCount(run.paramCount)
      }
    }
    return results
  }

  /** `index`: in a batch. */
  #runStatement(
    { text, values, paramCount }: GroupStatements,
    valueAt: number,
    index: number | undefined,
  ): RunResult {
    if (text.kind === 'transaction') {
      const message =
        `"${excerpt(text.sql)}" in run() or batch(): each is a transaction by itself, shared with its neighbours. ` +
        'Use transaction() or withConnection()'
      throw new MylibsqlError('ERR_REFUSED', message)
    }
    try {
      return this.#statements.runText(text, values, valueAt, paramCount)
    } catch (error) {
      throw ofStatement(error, text.sql, index)
    }
  }
}

const none = -1
const unclean = -2

/** Where requests fail often, savepoints are cheaper than running their neighbours again. */
const savepointsAfterFailure = 64

function isCorrupt(error: unknown): boolean {
  return String((error as { code?: unknown } | null)?.code).startsWith('SQLITE_CORRUPT')
}

/** Not with the conflict clause FAIL, which may stand in the statement, in a table or in a trigger: RAISE(FAIL). */
function mayLeaveChanges(error: unknown): boolean {
  return String((error as { code?: unknown } | null)?.code).startsWith('SQLITE_CONSTRAINT')
}

function standsAlone(request: GroupRequest): boolean {
  return request.op === 'run' && request.statement.text.kind === 'alone'
}

function excerpt(sql: string): string {
  return sql.trim().slice(0, 40)
}
