/** The ways to write to a primary: requests that share transactions, and callbacks that hold the connection. */
import { setTimeout as delay } from 'node:timers/promises'
import type { MylibsqlError } from '../protocol/errors.js'
import type { RunResult, SqlParams } from '../protocol/values.js'
import { Ack } from './ack.js'
import type { CallOptions } from './cancellations.js'
import type { Connection } from './connection.js'
import type { OpenDatabase } from './open-database.js'
import { RequestQueue } from './request-queue.js'
import type { Saving } from './saving.js'
import { Sessions } from './sessions.js'
import type { StatementRuns } from './statement-runs.js'
import { type TransactionTrace, traced, transactionChannel } from './tracing.js'

export class Writes {
  readonly requests: RequestQueue
  readonly sessions: Sessions
  readonly #database: OpenDatabase
  readonly #saving: Saving

  constructor(database: OpenDatabase, saving: Saving) {
    const { thread, options, cancellations } = database
    this.#database = database
    this.#saving = saving
    this.requests = new RequestQueue((...messages) => thread.send(...messages), saving.durability, options)
    this.sessions = new Sessions(thread, this.requests, cancellations)
    // A gap between readers waits for the transaction that is open.
    database.readers.exempt(() => this.sessions.isInside)
  }

  run(sql: string, params: SqlParams | undefined, options: CallOptions | undefined): Promise<Ack<RunResult>> {
    return this.#guarded('run', sql, options, (slot) => this.requests.run(sql, params, slot))
  }

  batch(statements: StatementRuns, options: CallOptions | undefined): Promise<Ack<RunResult[]>> {
    return this.#guarded('batch', statements.runs[0]?.sql, options, (slot) =>
      this.requests.batch(statements, slot),
    )
  }

  call<T>(name: string, args: readonly unknown[], options: CallOptions | undefined): Promise<Ack<T>> {
    return this.#guarded('call', name, options, (slot) => this.requests.call(name, args, slot))
  }

  async lend<T>(
    method: 'withConnection' | 'transaction',
    work: (connection: Connection) => Promise<T>,
    options: CallOptions | undefined,
  ): Promise<Ack<T>> {
    const context = () => ({ method, path: this.#database.path })
    const run = () => this.sessions.run(work, method, options)
    const { value, frameNo } = await traced(transactionChannel, context, run)
    return Ack.of({ durability: this.#saving.durability, frameNo }, value)
  }

  /**
   * Waits until everything that was asked for has been executed, callbacks too. After `closeTimeoutMs` the rest rejects with
   * `closed`, and what runs is interrupted and rolled back. False: the thread does not answer all the same.
   */
  async finish(closed: MylibsqlError): Promise<boolean> {
    // A callback that closes the primary is not waited for: it waits for this.
    if (this.sessions.isInside || (await this.#areSettled())) return true
    this.close(closed)
    return this.#database.interrupt()
  }

  async #areSettled(): Promise<boolean> {
    const all = this.requests.settled().then(() => this.sessions.settled())
    const ended = new AbortController()
    const limit = { ref: false, signal: ended.signal }
    const late = delay(this.#database.closeTimeoutMs, false, limit).catch(() => false)
    const isSettled = await Promise.race([all.then(() => true), late])
    // A timer would keep the primary for as long.
    ended.abort()
    return isSettled
  }

  close(error: unknown): void {
    this.requests.close(error)
    this.sessions.close(error)
  }

  #guarded<T>(
    method: TransactionTrace['method'],
    sql: string | undefined,
    options: CallOptions | undefined,
    start: (slot: number) => Promise<T>,
  ): Promise<T> {
    if (options?.wait === false) this.requests.refuseWhenFull()
    this.#saving.archiver?.requested()
    const context = () => ({ method, ...(sql === undefined ? {} : { sql }), path: this.#database.path })
    return traced(transactionChannel, context, () =>
      this.#database.cancellations.guard(options, method, start),
    )
  }
}
