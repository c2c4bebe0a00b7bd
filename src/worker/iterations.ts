/** Iterations that code of the application leaves open, whereupon better-sqlite3 refuses everything else. */
import type Database from 'better-sqlite3'

type Iterate = Database.Statement<unknown[]>['iterate']
type Iteration = ReturnType<Iterate>

/** By the functions that note them. */
const iterationsOf = new WeakMap<Iterate, Iteration[]>()

/** Those of all connections of the thread, whose statements have one prototype, until `forget`. */
export class Iterations {
  readonly #connection: Database.Database
  readonly #prototype: { iterate: Iterate }
  readonly #iterate: Iterate
  /** Begun since `end`; most of them have ended by themselves. */
  readonly #begun: Iteration[]

  constructor(connection: Database.Database) {
    this.#connection = connection
    this.#prototype = Object.getPrototypeOf(connection.prepare('SELECT 1'))
    this.#iterate = this.#prototype.iterate
    this.#begun = noted(this.#prototype)
  }

  /** True: some were open. */
  end(): boolean {
    if (this.#begun.length === 0) return false
    const wasBusy = isBusy(this.#connection)
    for (const iteration of this.#begun.splice(0)) if (wasBusy) iteration.return?.()
    return wasBusy
  }

  /** From now on they are not noted. */
  forget(): void {
    this.#prototype.iterate = this.#iterate
  }
}

/** Again after a change of role. */
function noted(prototype: { iterate: Iterate }): Iteration[] {
  const { iterate } = prototype
  const known = iterationsOf.get(iterate)
  if (known !== undefined) return known
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
