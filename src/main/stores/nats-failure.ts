/** What NATS says, as errors of the library; and calls that end, whatever NATS does. */
import { JetStreamApiError } from '@nats-io/jetstream'
import {
  AuthorizationError,
  InvalidSubjectError,
  PermissionViolationError,
  UserAuthenticationExpiredError,
} from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'
import type { CallLimits } from './store.js'

const apiCodes = { streamNotFound: 10059, wrongLastSequence: [10071, 10164] }

/** ERR_STORE, with what was said as its cause; errors of the library stay what they are. */
export function storeError(url: string, action: string, cause: unknown): MylibsqlError {
  if (cause instanceof MylibsqlError) return cause
  const hint = isRefusal(cause) ? ' (see the permissions and the credentials of this connection)' : ''
  return new MylibsqlError(
    'ERR_STORE',
    `Cannot ${action} ${url}: ${reasonOf(cause)}${hint}`,
    { path: url },
    { cause },
  )
}

/** Somebody else wrote since the sequence number that was expected to be the last one. */
export function isOvertaken(error: unknown): boolean {
  return error instanceof JetStreamApiError && apiCodes.wrongLastSequence.includes(error.code)
}

export function isStreamMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === apiCodes.streamNotFound
}

/** A message or an object that is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.status === 404
}

/** It will be said again, however often one asks. */
export function isFinal(error: unknown): boolean {
  if (error instanceof MylibsqlError || isRefusal(error)) return true
  // 503: no leader just now, or too busy.
  return error instanceof JetStreamApiError && error.status < 500
}

function isRefusal(error: unknown): boolean {
  const types = [
    AuthorizationError,
    PermissionViolationError,
    UserAuthenticationExpiredError,
    InvalidSubjectError,
  ]
  const cause = error instanceof Error ? error.cause : undefined
  return types.some((type) => error instanceof type || cause instanceof type)
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  const isTold = !(cause instanceof Error) || cause.message === '' || error.message.includes(cause.message)
  return isTold ? error.message : `${error.message} (${cause.message})`
}

/** Rejects with the signal's reason when it aborts; what was begun goes on, and nobody waits for it. */
export async function abortable<T>(operation: Promise<T>, limits: CallLimits | undefined): Promise<T> {
  const signal = limits?.signal
  if (signal === undefined) return operation
  if (signal.aborted) {
    operation.catch(() => {})
    throw signal.reason
  }
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([operation, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Rejects with ERR_STORE when it takes longer. */
export async function inTime<T>(operation: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new MylibsqlError('ERR_STORE', `${what}: no answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
  })
  try {
    return await Promise.race([operation, late])
  } finally {
    clearTimeout(timer)
    operation.catch(() => {})
  }
}
