/** Checks of arguments: a TypeError names the argument and what was got. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { isPageSize } from '../protocol/log-format.js'

/** Returns the value when it is good, or throws a TypeError that calls it `name`. */
export type Check<T> = (value: unknown, name: string) => T

/** A path (string or file: URL), made absolute, so that it means the same in every thread. */
export function checkPath(value: unknown, name: string): string {
  const path = value instanceof URL && value.protocol === 'file:' ? fileURLToPath(value) : value
  if (typeof path !== 'string') throw wrong(name, 'a path (string or file: URL)', value)
  if (path === '' || path.includes('\0'))
    throw wrong(name, 'a path that is not empty and has no null bytes', value)
  return resolve(path)
}

/** Of a database that is opened: SQLite's name for one in memory would be a file of that name here. */
export function checkWorkingPath(value: unknown, name: string): string {
  if (value === ':memory:')
    throw wrong(name, 'a path; without one, the working file is a temporary file', value)
  return checkPath(value, name)
}

export function checkFrameNo(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw wrong(name, 'a frame number (integer from 0)', value)
  return value as number
}

export function checkFrameNos(value: unknown, name: string): number[] {
  if (!Array.isArray(value)) throw wrong(name, 'an array of frame numbers', value)
  return value.map((frameNo: unknown, index) => checkFrameNo(frameNo, `${name}[${index}]`))
}

export function checkNonNegativeInteger(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong(name, 'an integer from 0', value)
  return value as number
}

export function checkPositiveInteger(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 1) throw wrong(name, 'a positive integer', value)
  return value as number
}

/** Timers, and SQLite's own, end at 2^31 - 1: beyond it setTimeout fires at once. */
const timeoutMsMax = 2 ** 31 - 1

export function checkTimeoutMs(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > timeoutMsMax) {
    throw wrong(name, `milliseconds from 1 to ${timeoutMsMax}`, value)
  }
  return value as number
}

export function checkPageSize(value: unknown, name: string): number {
  if (typeof value !== 'number' || !isPageSize(value))
    throw wrong(name, 'a power of two from 512 to 65536', value)
  return value
}

export function checkChecksum(value: unknown, name: string): bigint {
  if (typeof value !== 'bigint' || BigInt.asUintN(64, value) !== value) {
    throw wrong(name, 'a bigint from 0n to 2n ** 64n - 1n', value)
  }
  return value
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw wrong(name, 'a boolean', value)
  return value
}

export function checkString(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrong(name, 'a string', value)
  return value
}

// biome-ignore lint/complexity/noBannedTypes: what it takes and returns cannot be seen at run time
export function checkFunction(value: unknown, name: string): Function {
  if (typeof value !== 'function') throw wrong(name, 'a function', value)
  return value
}

export function checkSignal(value: unknown, name: string): AbortSignal {
  if (!(value instanceof AbortSignal)) throw wrong(name, 'an AbortSignal', value)
  return value
}

/** Any Uint8Array (a Buffer too) or ArrayBuffer. */
export function checkBytes(value: unknown, name: string): Uint8Array {
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  if (!(value instanceof Uint8Array)) throw wrong(name, 'a Uint8Array or an ArrayBuffer', value)
  return value
}

/** A class as far as `instanceof` needs it; its constructor may be private. */
export interface Class<T> {
  readonly prototype: T
  readonly name: string
  [Symbol.hasInstance](value: unknown): boolean
}

export function checkInstance<T>(value: unknown, type: Class<T>, name: string): T {
  if (!(value instanceof type)) throw wrong(name, `a ${type.name}`, value)
  return value as T
}

export function oneOf<const T>(...allowed: readonly T[]): Check<T> {
  return (value, name) => {
    const found = allowed.find((item) => item === value)
    if (found === undefined)
      throw wrong(name, `one of ${allowed.map((item) => inspect(item)).join(', ')}`, value)
    return found
  }
}

export function withDefault<T>(check: Check<T>, fallback: T): Check<T> {
  return (value, name) => (value === undefined ? fallback : check(value, name))
}

export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (value, name) => (value === undefined ? undefined : check(value, name))
}

/**
 * Checks an options object against the known options of `method`, each with its own check, and returns the
 * checked values. A misspelled name is an error: silently ignored options are the ones that cost data.
 *
 * @example
 * const { verify } = checkOptions(options, { verify: withDefault(checkBoolean, true) }, 'Log.open')
 */
export function checkOptions<C extends Record<string, Check<unknown>>>(
  value: unknown,
  known: C,
  method: string,
): { [K in keyof C]: ReturnType<C[K]> } {
  const options = value === undefined ? {} : value
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw wrong(`The options of ${method}`, 'an object', value)
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) throw new TypeError(unknownOption(name, Object.keys(known), method))
  }
  const checked = Object.entries(known).map(([name, check]) => [
    name,
    check((options as Record<string, unknown>)[name], `Option "${name}" of ${method}`),
  ])
  return Object.fromEntries(checked)
}

/** A TypeError: `name` must be `what`, and what was got. */
export function wrong(name: string, what: string, got: unknown): TypeError {
  return new TypeError(`${name} must be ${what}, got ${describe(got)}`)
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`
  if (typeof value === 'object') return `an instance of ${value.constructor?.name ?? 'Object'}`
  const text = inspect(value)
  return `${typeof value} ${text.length > 80 ? `${text.slice(0, 80)}...` : text}`
}

function unknownOption(name: string, known: readonly string[], method: string): string {
  const nearest = known
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0]
  if (nearest !== undefined && nearest.distance <= Math.max(2, name.length / 3)) {
    return `Unknown option "${name}" of ${method}; did you mean "${nearest.candidate}"?`
  }
  const list = known.length === 0 ? 'it takes no options' : `known are ${known.join(', ')}`
  return `Unknown option "${name}" of ${method}; ${list}`
}

/** Levenshtein distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [index, letter] of [...a].entries()) {
    const next = [index + 1]
    for (let at = 1; at <= b.length; at++) {
      next.push(Math.min(row[at]! + 1, next[at - 1]! + 1, row[at - 1]! + (letter === b[at - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
