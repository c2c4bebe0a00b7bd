/**
 * The statements of a batch as they travel: neighbours with the same text and as many parameters are one run, and all
 * parameters stand one behind the other. A large batch is mostly one statement again and again.
 */
import type { SqlValue } from '../protocol/values.js'
import { namedParams } from '../protocol/wire.js'
import { wrong } from './arguments.js'
import { checkParams, checkSql, needsCare } from './parameters.js'

export interface StatementRun {
  readonly sql: string
  /** Of each statement; `namedParams` when they are one object. */
  readonly paramCount: number
  statementCount: number
}

/** An array that grows beyond this is copied again and again, which took more than all else. */
const pieceValuesMax = 8192

export class StatementRuns {
  readonly runs: StatementRun[] = []
  values: unknown[] = []
  readonly #pieces: unknown[][] = []
  #piece: unknown[] = []
  statementCount = 0
  /** Of strings and blobs among the values, about. */
  byteCount = 0

  /** Checks and copies: what the caller changes afterwards changes nothing. Throws a TypeError that names the statement. */
  static of(statements: unknown): StatementRuns {
    if (!Array.isArray(statements)) throw wrong('statements', 'an array of { sql, params }', statements)
    const runs = new StatementRuns()
    for (let index = 0; index < statements.length; index += 1) runs.#push(statements[index], index)
    runs.#gather()
    return runs
  }

  #push(statement: unknown, index: number): void {
    if (typeof statement !== 'object' || statement === null)
      throw wrong(`statements[${index}]`, 'an object { sql, params }', statement)
    const { sql, params } = statement as { sql?: unknown; params?: unknown }
    const text = typeof sql === 'string' ? sql : checkSql(sql, `statements[${index}].sql`)
    if (params === undefined) refuseOthers(statement, index)
    this.#count(text, this.#pushParams(params, index))
  }

  /** Returns how many there are. */
  #pushParams(params: unknown, index: number): number {
    if (Array.isArray(params) && this.#pushSimple(params)) return params.length
    const checked = checkParams(params, `statements[${index}].params`)
    if (checked === undefined) return 0
    if (!Array.isArray(checked)) {
      this.#keep(checked)
      return namedParams
    }
    for (const value of checked as readonly SqlValue[]) {
      this.#keep(value)
      if (typeof value === 'string' || value instanceof Uint8Array) this.byteCount += value.length
    }
    return checked.length
  }

  #keep(value: unknown): void {
    if (this.#piece.push(value) < pieceValuesMax) return
    this.#pieces.push(this.#piece)
    this.#piece = []
  }

  /** Parameters that need neither a copy nor a sentence: those of most statements. False when some do; none is kept then. */
  #pushSimple(params: readonly unknown[]): boolean {
    for (let at = 0; at < params.length; at += 1) if (needsCare(params[at])) return false
    for (let at = 0; at < params.length; at += 1) {
      const value = params[at]
      if (typeof value === 'string') this.byteCount += value.length
      this.#keep(value)
    }
    return true
  }

  #gather(): void {
    const nothing: unknown[] = []
    // Packed, as its pieces are: others are cloned property by property.
    this.values = this.#pieces.length === 0 ? this.#piece : nothing.concat(...this.#pieces, this.#piece)
  }

  #count(sql: string, paramCount: number): void {
    this.statementCount += 1
    const last = this.runs.at(-1)
    if (last !== undefined && last.sql === sql && last.paramCount === paramCount) last.statementCount += 1
    else this.runs.push({ sql, paramCount, statementCount: 1 })
  }
}

/** Parameters under another name would be none. */
function refuseOthers(statement: object, index: number): void {
  const other = Object.keys(statement).find((name) => name !== 'sql' && name !== 'params')
  if (other === undefined) return
  throw new TypeError(
    `statements[${index}] must be an object { sql, params }, it has "${other}" and no params`,
  )
}
