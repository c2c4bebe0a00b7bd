/** Checks and copies parameters when a call is made: what the caller changes afterwards changes nothing. */
import { MylibsqlError } from '../protocol/errors.js'
import type { SqlParams, SqlValue } from '../protocol/values.js'
import { wrong } from './arguments.js'

/** Of CallOptions. */
const optionNames = new Set(['signal', 'timeoutMs', 'wait'])

/** `sql`: of a call that takes options behind its parameters. Throws a TypeError that names the parameter. */
export function checkParams(params: unknown, name: string, sql?: string): SqlParams | undefined {
  if (params === undefined) return undefined
  if (Array.isArray(params)) {
    for (let index = 0; index < params.length; index += 1) {
      // Not map, which passes over holes.
      if (needsCare(params[index]))
        return Array.from(params, (value, at) => checkValue(value, `${name}[${at}]`))
    }
    return params
  }
  if (!isPlainObject(params)) throw wrong(name, 'an array, or an object of named parameters', params)
  const entries = Object.entries(params)
  if (sql !== undefined) refuseOptions(Object.keys(params), name, sql)
  return Object.fromEntries(entries.map(([key, value]) => [key, checkValue(value, `${name}.${key}`)]))
}

/** SQLite takes names that a statement does not have, without a word: a time limit in their place would be none. */
function refuseOptions(names: readonly string[], where: string, sql: string): void {
  const areOptions = names.length > 0 && names.every((name) => optionNames.has(name))
  if (!areOptions || names.some((name) => new RegExp(`[:@$]${name}\\b`).test(sql))) return
  const message =
    `${where} must be the parameters of the statement, which has none called ${names.join(', ')}: options come ` +
    `behind them, as in (sql, [], { ${names[0]}: … })`
  throw new TypeError(message)
}

export function checkSql(sql: unknown, name: string): string {
  if (typeof sql !== 'string') throw wrong(name, 'a string of SQL', sql)
  return sql
}

/** Both, of a call that takes options behind them. */
export function checkQuery(sql: unknown, params: unknown): [string, SqlParams | undefined] {
  const text = checkSql(sql, 'sql')
  return [text, checkParams(params, 'params', text)]
}

/** Arguments of a procedure: whatever can be cloned. Throws ERR_NOT_CLONEABLE. */
export function checkArguments(name: string, args: readonly unknown[]): readonly unknown[] {
  return args.map((value, index) => {
    if (value === null || !['object', 'function', 'symbol'].includes(typeof value)) return value
    try {
      return structuredClone(value)
    } catch (cause) {
      const message = `Argument ${index} of ${name} cannot be sent to another thread: ${(cause as Error).message}`
      throw new MylibsqlError('ERR_NOT_CLONEABLE', message, {}, { cause })
    }
  })
}

/** A Map or a Date has no properties, and would bind nothing without a word. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Whether a parameter has to be copied, or is none: most are neither. */
export function needsCare(value: unknown): boolean {
  return value !== null && typeof value !== 'number' && typeof value !== 'string' && typeof value !== 'bigint'
}

function checkValue(value: unknown, name: string): SqlValue {
  if (!needsCare(value)) return value as SqlValue
  // A view of a large buffer would send all of it; a copy also keeps the bytes as they are now.
  if (value instanceof Uint8Array) return new Uint8Array(value)
  throw wrong(name, 'null, a number, a bigint, a string or a Uint8Array', value)
}
