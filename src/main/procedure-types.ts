/** What `call` takes and gives, by the module that was given to `Primary.open`. */

/** A module of procedures: functions of a better-sqlite3 connection and whatever arguments can be cloned. */
export type ProcedureModule = object

export type ArgumentsOf<F> = F extends (connection: never, ...args: infer A) => unknown ? A : never

export type ResultOf<F> = F extends (...args: never[]) => infer R ? R : never

/** Functions, but none that is asynchronous: the transaction ends with the call. (One that only throws is `never`.) */
export type ProcedureName<P> = {
  [K in keyof P]: P[K] extends (...args: never[]) => infer R
    ? [R] extends [never]
      ? K
      : R extends PromiseLike<unknown>
        ? never
        : K
    : never
}[keyof P] &
  string
