/** What reading the headers of log files has in common: numbers that have to be safe, and what is said of damage. */
import { type ErrorDetails, MylibsqlError } from './errors.js'

/** What an error says about where the bytes come from. */
export interface Where {
  readonly path?: string
}

/** Throws ERR_CORRUPT when it is beyond 2^53 - 1. */
export function safeU64(view: DataView, byteOffset: number, field: string, where: Where, at = 0): number {
  const value = view.getBigUint64(byteOffset, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw corrupt(where, at + byteOffset, `${field} ${value} is beyond 2^53 - 1`)
  return Number(value)
}

export function corrupt(
  where: Where,
  byteOffset: number,
  reason: string,
  details: ErrorDetails = {},
): MylibsqlError {
  const message = `${where.path ?? 'The bytes'}: damaged at byte ${byteOffset}: ${reason}`
  return new MylibsqlError('ERR_CORRUPT', message, { ...where, byteOffset, ...details })
}
