/** The user's procedures: synchronous functions `(connection, ...args) => result`, run inside a transaction. */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'
import { Iterations } from './iterations.js'
import type { WalConnection } from './native.js'
import { importModule, isPromise } from './user-module.js'
import type { WorkingDatabase } from './working-database.js'

type Procedure = (connection: Database.Database, ...args: readonly unknown[]) => unknown

export class Procedures {
  readonly #connection: Database.Database
  readonly #iterations: Iterations
  readonly #wal: WalConnection
  readonly #byName: ReadonlyMap<string, Procedure>
  readonly #url: string | undefined
  #hasSavepoints = false

  private constructor(database: WorkingDatabase, url: string | undefined, module: object) {
    this.#connection = database.connection
    this.#iterations = new Iterations(database.connection)
    this.#wal = database.wal
    this.#url = url
    // Has better-sqlite3 prepare what its transaction() needs: while a procedure runs, BEGIN and COMMIT are refused.
    this.#connection.transaction(() => {})
    const functions = Object.entries(module).filter(([, value]) => typeof value === 'function')
    this.#byName = new Map(functions as [string, Procedure][])
  }

  /** Imports the module. Throws ERR_PROCEDURE with the cause when that fails. */
  static async load(database: WorkingDatabase, url: string | undefined): Promise<Procedures> {
    const module = url === undefined ? {} : await importModule(url, 'the procedures', 'ERR_PROCEDURE')
    return new Procedures(database, url, module)
  }

  /**
   * One of them has prepared a savepoint of its own, so that any may leave one behind in the transaction. Those of
   * better-sqlite3's transaction() do not count: they end with it.
   */
  get haveSavepoints(): boolean {
    return this.#hasSavepoints
  }

  /** Runs inside the transaction of the caller. Throws what the procedure throws, and ERR_PROCEDURE. */
  call(name: string, args: readonly unknown[], isGuarded: boolean): unknown {
    const procedure = this.#byName.get(name)
    if (procedure === undefined) throw this.#unknown(name)
    const result = this.#run(name, procedure, ownArguments(args), isGuarded)
    if (!this.#connection.inTransaction) {
      const message = `Procedure ${name} lost the transaction that it runs in: SQLite has rolled it back, or the procedure did`
      throw new MylibsqlError('ERR_PROCEDURE', message)
    }
    if (isPromise(result)) {
      const message = `Procedure ${name} returned a promise. Procedures are synchronous: the transaction ends with them`
      throw new MylibsqlError('ERR_PROCEDURE', message)
    }
    return cloneable(name, result)
  }

  /** Its neighbours share the transaction: it must not commit what it did by halves, nor what they did. */
  #run(name: string, procedure: Procedure, args: readonly unknown[], isGuarded: boolean): unknown {
    this.#wal.holdTransaction(true)
    if (isGuarded) this.#wal.noticeInterrupts(true)
    let leftOpen = false
    let result: unknown
    try {
      result = procedure(this.#connection, ...args)
    } finally {
      leftOpen = this.#iterations.end()
      if (isGuarded) this.#wal.noticeInterrupts(false)
      if (this.#wal.holdTransaction(false)) this.#hasSavepoints = true
    }
    if (!leftOpen) return result
    const message = `Procedure ${name} left an iteration open: read it to its end, leave its loop, or call its return()`
    throw new MylibsqlError('ERR_PROCEDURE', message)
  }

  #unknown(name: string): MylibsqlError {
    const known = [...this.#byName.keys()].join(', ')
    const message =
      this.#url === undefined
        ? `There is no procedure ${name}: open the primary with { procedures: new URL('./procedures.js', import.meta.url) }`
        : `${this.#url} exports no function ${name}; it has ${known === '' ? 'none' : known}`
    return new MylibsqlError('ERR_PROCEDURE', message)
  }
}

/** A procedure may change what it is given, and may have to run again with what came. */
function ownArguments(args: readonly unknown[]): readonly unknown[] {
  return args.some((value) => typeof value === 'object' && value !== null) ? structuredClone(args) : args
}

/** A result that cannot travel must fail before the commit, not after it. */
function cloneable(name: string, result: unknown): unknown {
  if (
    result === null ||
    (typeof result !== 'object' && typeof result !== 'function' && typeof result !== 'symbol')
  ) {
    return result
  }
  try {
    return structuredClone(result)
  } catch (cause) {
    const message = `Procedure ${name} returned what cannot be sent to another thread: ${(cause as Error).message}`
    throw new MylibsqlError('ERR_NOT_CLONEABLE', message, {}, { cause })
  }
}
