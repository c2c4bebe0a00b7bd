import { MylibsqlError } from '../../protocol/errors.js'

/** What says that an object cannot be relied on, as against a store that does not answer. */
const unusable = new Set<string>([
  'ERR_NOT_FOUND',
  'ERR_NOT_A_SNAPSHOT',
  'ERR_NOT_A_LOG',
  'ERR_CORRUPT',
  'ERR_VERSION',
  'ERR_LOG_GAP',
  'ERR_LINEAGE',
  'ERR_PAGE_SIZE',
])

export function isUnusable(error: unknown): error is MylibsqlError {
  return error instanceof MylibsqlError && unusable.has(error.code)
}
