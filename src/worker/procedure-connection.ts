/**
 * What a procedure can do to the connection besides SQL, which its neighbours share: close it, or leave an iteration open,
 * whereupon better-sqlite3 refuses everything else.
 */
import type Database from 'better-sqlite3'
import { MylibsqlError } from '../protocol/errors.js'

type Iterate = Database.Statement<unknown[]>['iterate']
type Iteration = ReturnType<Iterate>

/** By the functions that note them. */
const iterationsOf = new WeakMap<Iterate, Iteration[]>()

export class ProcedureConnection {
  readonly connection: Database.Database
  /** Begun since `endIterations`; most of them have ended by themselves. */
  readonly #iterations: Iteration[]

  constructor(connection: Database.Database) {
    this.connection = connection
    Object.defineProperty(connection, 'close', { value: refuseClosing, configurable: true })
    this.#iterations = notedIterations(connection)
  }

  /** True: some were open. */
  endIterations(): boolean {
    if (this.#iterations.length === 0) return false
    const wasBusy = isBusy(this.connection)
    for (const iteration of this.#iterations.splice(0)) if (wasBusy) iteration.return?.()
    return wasBusy
  }
}

function refuseClosing(): never {
  throw new MylibsqlError('ERR_REFUSED', 'A procedure must not close the connection, which others share')
}

/** All statements of a thread have one prototype, and it has one connection with procedures, again after a change of role. */
function notedIterations(connection: Database.Database): Iteration[] {
  const prototype = Object.getPrototypeOf(connection.prepare('SELECT 1')) as { iterate: Iterate }
  const { iterate } = prototype
  const noted = iterationsOf.get(iterate)
  if (noted !== undefined) return noted
  const iterations: Iteration[] = []
  prototype.iterate = function (this: Database.Statement<unknown[]>, ...params) {
    const iteration = iterate.apply(this, params)
    iterations.push(iteration)
    return iteration
  }
  iterationsOf.set(prototype.iterate, iterations)
  return iterations
}

/** better-sqlite3 refuses it while an iteration is open, and otherwise does nothing. */
function isBusy(connection: Database.Database): boolean {
  try {
    connection.exec('')
    return false
  } catch {
    return true
  }
}
