import { MylibsqlError } from '../protocol/errors.js'
import type { Row, RunResult, SqlParams } from '../protocol/values.js'
import type { IteratedRows, SessionReply, SessionStatement } from '../protocol/wire.js'
import { checkFunction, checkString } from './arguments.js'
import { BegunStatement } from './begun-statement.js'
import { checkParams, checkSql } from './parameters.js'
import { isPositional } from './request-group.js'

/**
 * An interactive connection, valid inside the callback that was given it. Statements run in the worker thread, one
 * after the other. The callback is over when they are, also those that it did not await; when one of these fails, so does it.
 *
 * @example
 * await primary.transaction(async (connection) => {
 *   const account = await connection.get('SELECT balance FROM accounts WHERE id = ?', [1])
 *   if (Number(account?.balance) < 100) throw new Error('too little') // rolls back
 *   await connection.run('UPDATE accounts SET balance = balance - 100 WHERE id = ?', [1])
 * })
 */
export class Connection {
  readonly #execute: (statement: SessionStatement) => Promise<SessionReply>
  /** 0 outside a transaction; the callback of transaction() starts at 1. */
  #depth: number
  #isEnded = false
  #iterationCount = 0
  /** Iterations that are not over, by the callback that runs, and what it has begun. */
  #iterating = new Set<number>()
  #begun: BegunStatement<unknown>[] = []

  /** @internal */
  constructor(execute: (statement: SessionStatement) => Promise<SessionReply>, isTransaction: boolean) {
    this.#execute = execute
    this.#depth = isTransaction ? 1 : 0
  }

  /** Runs one statement. Throws SqliteError, ERR_REFUSED, ERR_CLOSED after the callback. */
  run(sql: string, params?: SqlParams): Promise<RunResult> {
    return this.#noted(async () => (await this.#statement('run', sql, params)) as RunResult)
  }

  /** The first row, undefined when there is none. */
  get<R = Row>(sql: string, params?: SqlParams): Promise<R | undefined> {
    return this.#noted(async () => (await this.#statement('get', sql, params)) as R | undefined)
  }

  /** All rows. */
  all<R = Row>(sql: string, params?: SqlParams): Promise<R[]> {
    return this.#noted(async () => (await this.#statement('all', sql, params)) as R[])
  }

  /**
   * The rows of a query one by one, fetched in chunks as they are consumed; it is over with its loop, and with the callback.
   * Until then the connection can only be queried: writes are ERR_REFUSED.
   */
  iterate<R = Row>(sql: string, params?: SqlParams): AsyncIterableIterator<R> {
    const checked = checkParams(params, 'params', sql)
    // As they are now: the query begins with the first row that is asked for.
    const kept = checked !== undefined && isPositional(checked) ? checked.slice() : checked
    const iterationNo = this.#iterationCount++
    return this.#iterate<R>({ mode: 'iterate', iterationNo, sql: checkSql(sql, 'sql'), params: kept })
  }

  /** A script of any number of statements, without parameters. */
  exec(sql: string): Promise<void> {
    const send = () => this.#send({ mode: 'exec', sql: checkString(sql, 'sql'), params: undefined })
    return this.#noted(async () => void (await send()))
  }

  /** Runs `work` in a transaction, or in a savepoint when inside one; rolls back when it throws. */
  transaction<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    return this.#noted(() => this.#transaction(work))
  }

  /** @internal Runs a callback, its own or that of a transaction inside it, until all is done that it has begun. */
  async lendTo<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    const before = { begun: this.#begun, iterating: this.#iterating }
    const begun: BegunStatement<unknown>[] = []
    const iterating = new Set<number>()
    this.#begun = begun
    this.#iterating = iterating
    try {
      const result = await work(this)
      // One that is not awaited may begin others meanwhile.
      for (const statement of begun) await statement.unlessUnseen()
      return result
    } finally {
      this.#begun = before.begun
      this.#iterating = before.iterating
      // A loop that nobody ends: the transaction cannot be ended before.
      for (const iterationNo of iterating) await this.#stop(iterationNo)
    }
  }

  async *#iterate<R>(statement: Extract<SessionStatement, { mode: 'iterate' }>): AsyncIterableIterator<R> {
    const { iterationNo } = statement
    const iterating = this.#iterating
    let next: SessionStatement = statement
    iterating.add(iterationNo)
    try {
      for (;;) {
        const asked = next
        const { rows, isDone } = await this.#noted(async () => (await this.#send(asked)) as IteratedRows)
        if (isDone) iterating.delete(iterationNo)
        yield* rows as R[]
        if (isDone) return
        next = { mode: 'next', iterationNo }
      }
    } finally {
      if (iterating.delete(iterationNo)) await this.#stop(iterationNo)
    }
  }

  /** One that the thread does not know any more, because the connection was given back, is over. */
  async #stop(iterationNo: number): Promise<void> {
    if (!this.#isEnded) await this.#execute({ mode: 'stop', iterationNo }).catch(() => {})
  }

  async #transaction<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    checkFunction(work, 'work')
    const name = `nested_${this.#depth}`
    const isOuter = this.#depth === 0
    await this.exec(isOuter ? 'BEGIN IMMEDIATE' : `SAVEPOINT ${name}`)
    this.#depth += 1
    try {
      const result = await this.lendTo(work)
      await this.exec(isOuter ? 'COMMIT' : `RELEASE ${name}`)
      return result
    } catch (error) {
      // The error that matters is the first one; SQLite may have rolled back by itself.
      await this.exec(isOuter ? 'ROLLBACK' : `ROLLBACK TO ${name}; RELEASE ${name}`).catch(() => {})
      throw error
    } finally {
      this.#depth -= 1
    }
  }

  /** @internal */
  end(): void {
    this.#isEnded = true
  }

  #noted<T>(run: () => Promise<T>): Promise<T> {
    // Nobody asks any more: whoever calls it then hears of it as of any rejection.
    if (this.#isEnded) return run()
    const statement = new BegunStatement(run)
    this.#begun.push(statement)
    return statement.result
  }

  #statement(mode: 'run' | 'get' | 'all', sql: string, params: SqlParams | undefined): Promise<SessionReply> {
    return this.#send({ mode, sql: checkSql(sql, 'sql'), params: checkParams(params, 'params', sql) })
  }

  #send(statement: SessionStatement): Promise<SessionReply> {
    if (this.#isEnded) {
      throw new MylibsqlError(
        'ERR_CLOSED',
        'This connection was given back: it works only inside its callback',
      )
    }
    return this.#execute(statement)
  }
}
