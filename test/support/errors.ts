import Database from 'better-sqlite3'
import { type ErrorCode, MylibsqlError } from 'mylibsql'
import { expect } from 'vitest'

/** What a promise is rejected with; fails when it resolves. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('value' in outcome) expect.fail(`expected a rejection, got ${String(outcome.value)}`)
  return outcome.error as Error
}

/** Fails unless the promise is rejected with a MylibsqlError of this code. */
export async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<MylibsqlError> {
  const error = await rejection(promise)
  expect(error).toBeInstanceOf(MylibsqlError)
  expect(error.code, error.message).toBe(code)
  return error as MylibsqlError
}

/** Fails unless the promise is rejected with better-sqlite3's own error of this code. */
export async function expectSqlite(promise: Promise<unknown>, code: string): Promise<Error> {
  const error = await rejection(promise)
  expect(error).toBeInstanceOf(Database.SqliteError)
  expect(error.code, error.message).toBe(code)
  return error
}
