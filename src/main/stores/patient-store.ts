import pRetry from 'p-retry'
import { MylibsqlError } from '../../protocol/errors.js'
import type { CallLimits, Store } from './store.js'

/** What readers call of a store. */
export type ReadableStore = Pick<
  Store,
  'url' | 'fencesAppends' | 'currentEpoch' | 'logs' | 'readLog' | 'snapshots' | 'readSnapshot'
>

/** Of a read that takes minutes in all, one failure is not the end: about three seconds of them are. */
const retryCount = 4
const retryMinMs = 200

/** The same store, read again when it fails with ERR_STORE. That it cannot be reached at all is said at once. */
export function patient(store: Store): ReadableStore {
  return {
    url: store.url,
    ...(store.fencesAppends === undefined ? {} : { fencesAppends: store.fencesAppends }),
    snapshots: (limits) => store.snapshots(limits),
    currentEpoch: (limits) => again(limits, () => store.currentEpoch(limits)),
    logs: (options) => again(options, () => store.logs(options)),
    readLog: (stored, limits) => again(limits, () => store.readLog(stored, limits)),
    readSnapshot: (stored, options) => again(options, () => store.readSnapshot(stored, options)),
  }
}

function again<T>({ signal }: CallLimits = {}, read: () => Promise<T>): Promise<T> {
  return pRetry(read, {
    retries: retryCount,
    minTimeout: retryMinMs,
    shouldRetry: ({ error }) => error instanceof MylibsqlError && error.code === 'ERR_STORE',
    ...(signal === undefined ? {} : { signal }),
  })
}
