/** What S3 says, as errors of the library; and which of it may be otherwise the next time. */
import { MylibsqlError } from '../../protocol/errors.js'

/** The body of an answer ended early. */
export class Interrupted extends Error {}

interface Said {
  readonly name?: string
  readonly message?: string
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number }
  readonly $response?: { readonly statusCode?: number }
}

const refusals = [
  'AccessDenied',
  'AuthorizationHeaderMalformed',
  'CredentialsProviderError',
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidToken',
  'SignatureDoesNotMatch',
]
const passing = ['RequestTimeout', 'RequestTimeoutException', 'SlowDown', 'Throttling', 'ThrottlingException']

/** Says nothing about what is there: to be asked again. */
export function isTransient(error: unknown): boolean {
  if (error instanceof Interrupted) return true
  // The client marks so whatever came of sending a request.
  const { name = '', $metadata } = said(error)
  if ($metadata === undefined || isRefusal(error)) return false
  const status = statusOf(error)
  if (status === undefined || status < 300 || passing.includes(name)) return true
  // 409 with a condition: others write there just now. With a bucket: somebody has it.
  if (status === 409) return !name.startsWith('Bucket')
  return status === 408 || status === 429 || (status >= 500 && !isUnsupported(error))
}

/** 412: an object is there already. */
export function isTaken(error: unknown): boolean {
  return statusOf(error) === 412
}

/** The client itself had sent the request before. */
export function wasRepeated(error: unknown): boolean {
  return (said(error).$metadata?.attempts ?? 1) > 1
}

export function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && !isBucketMissing(error)
}

export function isBucketMissing(error: unknown): boolean {
  return said(error).name === 'NoSuchBucket'
}

export function isBucketThere(error: unknown): boolean {
  return said(error).name === 'BucketAlreadyOwnedByYou'
}

/** The service does not know what it was asked for. */
export function isUnsupported(error: unknown): boolean {
  return statusOf(error) === 501 || said(error).name === 'NotImplemented'
}

export function isRefusal(error: unknown): boolean {
  return statusOf(error) === 401 || statusOf(error) === 403 || refusals.includes(said(error).name ?? '')
}

/** ERR_STORE, with what was said as its cause; errors of the library stay what they are. */
export function storeError(action: string, where: string, cause: unknown): MylibsqlError {
  if (cause instanceof MylibsqlError) return cause
  const hint = isRefusal(cause) ? ' (see the credentials and what they permit)' : ''
  const message = `Cannot ${action} ${where}: ${reasonOf(cause)}${hint}`
  return new MylibsqlError('ERR_STORE', message, { path: where }, { cause })
}

function reasonOf(error: unknown): string {
  const { name = '', message = '' } = said(error)
  const code = (error as { code?: unknown } | null)?.code
  const words = [name === 'Error' ? '' : name, message, typeof code === 'string' ? code : '']
  const told = words.filter((word, at) => word !== '' && words.indexOf(word) === at)
  const status = statusOf(error)
  const reason = told.length === 0 ? String(error) : told.join(': ')
  return status === undefined ? reason : `${reason} (HTTP ${status})`
}

function statusOf(error: unknown): number | undefined {
  const { $metadata, $response } = said(error)
  return $metadata?.httpStatusCode ?? $response?.statusCode
}

function said(error: unknown): Said {
  return typeof error === 'object' && error !== null ? error : {}
}
