/**
 * The one writer: runs requests in the order in which they came. Neighbours share one transaction; one that fails
 * rolls back alone, a single statement by itself, batches and procedures in a savepoint of their own; what may not share a transaction (VACUUM,
 * PRAGMA, interactive connections) is run between two transactions.
 */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import type { RunResult } from '../protocol/values.js'
import { fail, type GroupRequest, type GroupStatement } from './group.js'
import type { Procedures } from './procedures.js'
import type { Statements } from './statements.js'

export class Writer {
  readonly #connection: Database.Database
  readonly #statements: Statements
  readonly #procedures: Procedures
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #rollback: Database.Statement
  readonly #savepoint: Database.Statement
  readonly #release: Database.Statement
  readonly #rollbackTo: Database.Statement
  /** Turns SQLITE_AUTH into the reason for it. */
  readonly #explain: (error: unknown) => unknown
  transactionCount = 0

  constructor(
    connection: Database.Database,
    statements: Statements,
    procedures: Procedures,
    explain: (error: unknown) => unknown,
  ) {
    this.#connection = connection
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
    this.#commit.run()
    this.transactionCount += 1
  }

  rollback(): void {
    if (this.#connection.inTransaction) this.#rollback.run()
  }

  #commitTogether(requests: readonly GroupRequest[]): void {
    const live = requests.filter((request) => !request.isFailed)
    if (live.length === 0) return
    try {
      this.#begin.run()
    } catch (error) {
      for (const request of live) fail(request, error)
      return
    }
    const isWhole = live.length === 1 ? this.#runOnly(live[0]!) : this.#runEach(live)
    if (!isWhole) {
      // SQLite gave up the whole transaction (disk full, ON CONFLICT ROLLBACK): the others run again without it.
      this.rollback()
      this.#commitTogether(live)
      return
    }
    if (!this.#connection.inTransaction) return
    try {
      this.commit()
    } catch (error) {
      // A deferred constraint, or a full disk: find out whose, by committing each alone.
      this.rollback()
      if (live.length === 1) fail(live[0]!, error)
      else for (const request of live) this.#commitTogether([request])
    }
  }

  /** A request that has the transaction to itself needs no savepoint. */
  #runOnly(request: GroupRequest): boolean {
    try {
      request.result = this.#run(request)
    } catch (error) {
      fail(request, this.#explain(error))
      this.rollback()
    }
    return true
  }

  /** False when SQLite has rolled back the whole transaction; the request that did it has failed. */
  #runEach(requests: readonly GroupRequest[]): boolean {
    for (const request of requests) {
      // A single statement is atomic by itself: SQLite backs out what it did when it fails.
      const needsSavepoint = request.op !== 'run'
      if (needsSavepoint) this.#savepoint.run()
      try {
        request.result = this.#run(request)
        if (needsSavepoint) this.#release.run()
      } catch (error) {
        fail(request, this.#explain(error))
        if (!this.#connection.inTransaction) return false
        if (!needsSavepoint) continue
        this.#rollbackTo.run()
        this.#release.run()
      }
    }
    return true
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
    switch (request.op) {
      case 'run':
        return this.#runStatement(request.statement)
      case 'batch':
        return request.statements.map((statement, index) => this.#runOfBatch(statement, index))
      case 'call':
        return this.#procedures.call(request.name, request.args)
      default:
        throw new TypeError(`A ${request.op} cannot be run in a group`)
    }
  }

  #runOfBatch(statement: GroupStatement, index: number): RunResult {
    if (statement.text.kind === 'alone') {
      const message = `Statement ${index} of the batch, "${excerpt(statement.text.sql)}", cannot share a transaction: use run()`
      throw new MylibsqlError('ERR_REFUSED', message)
    }
    return this.#runStatement(statement)
  }

  #runStatement({ text, params }: GroupStatement): RunResult {
    if (text.kind === 'transaction') {
      const message =
        `"${excerpt(text.sql)}" in run() or batch(): each is a transaction by itself, shared with its neighbours. ` +
        'Use transaction() or withConnection()'
      throw new MylibsqlError('ERR_REFUSED', message)
    }
    return this.#statements.runText(text, params)
  }
}

function standsAlone(request: GroupRequest): boolean {
  return request.op === 'run' && request.statement.text.kind === 'alone'
}

function excerpt(sql: string): string {
  return sql.trim().slice(0, 40)
}
