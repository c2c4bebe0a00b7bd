/** Checks and copies parameters when a call is made: what the caller changes afterwards changes nothing. */
import { MylibsqlError } from '../protocol/errors.js'
import type { SqlParams, SqlValue } from '../protocol/values.js'
import { wrong } from './arguments.js'

/** Throws a TypeError that names the parameter. */
export function checkParams(params: unknown, name: string): SqlParams | undefined {
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
  return Object.fromEntries(entries.map(([key, value]) => [key, checkValue(value, `${name}.${key}`)]))
}

export function checkSql(sql: unknown, name: string): string {
  if (typeof sql !== 'string') throw wrong(name, 'a string of SQL', sql)
  return sql
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
