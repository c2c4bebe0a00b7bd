import pRetry from 'p-retry'
import { MylibsqlError } from '../../protocol/errors.js'
import type { CallLimits, Store } from './store.js'
import { discard } from './waits.js'

/** What readers call of a store. */
export type ReadableStore = Pick<
  Store,
  | 'url'
  | 'fencesAppends'
  | 'keepsFiles'
  | 'currentEpoch'
  | 'logs'
  | 'readLog'
  | 'logLocation'
  | 'snapshots'
  | 'readSnapshot'
>

/** Of a read that takes minutes in all, one failure is not the end: about three seconds of them are. */
const retryCount = 4
const retryMinMs = 200

/** The same store, read again when it fails with ERR_STORE. That it cannot be reached at all is said at once. */
export function patient(store: Store): ReadableStore {
  return {
    url: store.url,
    ...(store.fencesAppends === undefined ? {} : { fencesAppends: store.fencesAppends }),
    ...(store.keepsFiles === undefined ? {} : { keepsFiles: store.keepsFiles }),
    ...(store.logLocation === undefined ? {} : { logLocation: store.logLocation.bind(store) }),
    snapshots: (limits) => store.snapshots(limits),
    currentEpoch: (limits) => again(limits, () => store.currentEpoch(limits)),
    logs: (options) => again(options, () => store.logs(options)),
    readLog: (stored, limits) => again(limits, () => store.readLog(stored, limits)),
    readSnapshot: (stored, options) => again(options, () => store.readSnapshot(stored, options)),
  }
}

async function again<T>({ signal }: CallLimits = {}, read: () => Promise<T>): Promise<T> {
  let reading: Promise<T> | undefined
  const readOnce = () => {
    reading = read()
    return reading
  }
  try {
    return await pRetry(readOnce, {
      retries: retryCount,
      minTimeout: retryMinMs,
      shouldRetry: ({ error }) => error instanceof MylibsqlError && error.code === 'ERR_STORE',
      ...(signal === undefined ? {} : { signal }),
    })
  } catch (error) {
    // It rejects also when something came, and the signal had aborted by then.
    if (reading !== undefined) discard(reading)
    throw error
  }
}
