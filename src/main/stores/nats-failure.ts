/** What NATS says, as errors of the library. */
import { JetStreamApiError } from '@nats-io/jetstream'
import {
  AuthorizationError,
  InvalidSubjectError,
  PermissionViolationError,
  UserAuthenticationExpiredError,
} from '@nats-io/transport-node'
import { MylibsqlError } from '../../protocol/errors.js'

const apiCodes = {
  streamNotFound: 10059,
  nameOrSubjectsTaken: [10058, 10065],
  wrongLastSequence: [10071, 10164],
  noReplicasWithoutCluster: 10074,
}

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

/** There is a stream of that name, or one with its subjects. */
export function isTaken(error: unknown): boolean {
  return error instanceof JetStreamApiError && apiCodes.nameOrSubjectsTaken.includes(error.code)
}

/** A message or an object that is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.status === 404
}

/** It will be said again, however often one asks. */
export function isFinal(error: unknown): boolean {
  if (error instanceof MylibsqlError || error instanceof TypeError || isRefusal(error)) return true
  // From 500 on: no leader just now, too busy, or a server that is away.
  return (
    error instanceof JetStreamApiError &&
    (error.status < 500 || error.code === apiCodes.noReplicasWithoutCluster)
  )
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
