/** What `call` takes and gives, by the module that was given to `Primary.open`. */

/** A module of procedures: functions of a better-sqlite3 connection and whatever arguments can be cloned. */
export type ProcedureModule = object

export type ArgumentsOf<F> = F extends (connection: never, ...args: infer A) => unknown ? A : never

export type ResultOf<F> = F extends (...args: never[]) => infer R ? R : never

export type ProcedureName<P> = {
  [K in keyof P]: P[K] extends (...args: never[]) => unknown ? K : never
}[keyof P] &
  string
