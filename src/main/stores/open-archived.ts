/** Opens the database of a primary from its store. */
import { hostname } from 'node:os'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Position } from '../../protocol/wire.js'
import { checkOptions } from '../arguments.js'
import type { Log } from '../log.js'
import { OpenDatabase, type OpenSettings, openChecks, type PrimaryOptions } from '../open-database.js'
import type { Replica } from '../replica.js'
import { makeReplica } from '../role-change.js'
import { type ArchivedPrimaryOptions, archiveChecks, checkStore } from './archive-options.js'
import type { Archive } from './archiver.js'
import { attempt } from './attempts.js'
import { openHistory } from './history.js'
import type { Store } from './store.js'

/**
 * Whether the first argument of `Primary.open` is options with a store, and no snapshot. Throws TypeError for a store
 * itself, and for arguments behind such options, which would be ignored.
 */
export function isArchived(
  value: object,
  logs: readonly Log[],
  options: PrimaryOptions | undefined,
): value is ArchivedPrimaryOptions {
  if (typeof value !== 'object' || value === null) return false
  if ('claimEpoch' in value)
    throw new TypeError('Primary.open takes a store as an option: Primary.open({ store })')
  if (!('store' in value)) return false
  if (options === undefined && Array.isArray(logs) && logs.length === 0) return true
  throw new TypeError('Primary.open({ store }) takes nothing else: all options stand beside "store"')
}

/**
 * The epoch is claimed before anybody looks at the history: what an older primary stores after that, it does not
 * acknowledge. So nothing can be missing here that was ever acknowledged.
 */
export async function openArchived(
  options: ArchivedPrimaryOptions,
): Promise<{ database: OpenDatabase; position: Position; archive: Archive }> {
  const known = { ...openChecks, ...archiveChecks, store: checkStore }
  const { store, checkpoint, snapshot, compaction, retention } = checkOptions(options, known, 'Primary.open')
  const { store: _store, checkpoint: _checkpoint, snapshot: _snapshot, ...others } = options
  const { compaction: _compaction, retention: _retention, ...ofDatabase } = others
  const epoch = await claimEpoch(store, checkpoint.timeoutMs)
  const history = await openHistory(store).catch((error) => explainEmpty(store, error))
  try {
    const opened = await OpenDatabase.open('primary', history.snapshot, history.logs, ofDatabase)
    const logBytes = history.logs.reduce((sum, log) => sum + log.byteLength, 0)
    const schedule = { checkpoint, snapshot, compaction, retention }
    return { ...opened, archive: { store, epoch, schedule, logBytes } }
  } finally {
    await history.close()
  }
}

/** An empty store is not taken for a new one by itself: it may be the wrong folder, or an empty listing. */
async function explainEmpty(store: Store, cause: unknown): Promise<never> {
  const isEmpty = async () => (await store.snapshots()).length === 0 && (await store.logs()).length === 0
  if ((cause as { code?: unknown }).code !== 'ERR_NOT_FOUND' || !(await isEmpty())) throw cause
  const message =
    `${store.url} is empty. To begin a history there, put its first snapshot: ` +
    'store.putSnapshot(await Snapshot.blank()), or one of Snapshot.fromDatabase(path)'
  throw new MylibsqlError('ERR_NOT_FOUND', message, {}, { cause })
}

export function claimEpoch(store: Store, timeoutMs: number): Promise<number> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  return attempt('give an epoch', limits, (signal) =>
    store.claimEpoch(`${hostname()} ${process.pid}`, { signal }),
  )
}

/** Opens the replica that a fenced primary becomes, in its place; it follows the store. */
export async function openReplica(store: Store, options: OpenSettings): Promise<Replica> {
  const { snapshot, logs, close } = await openHistory(store)
  try {
    const { database, position } = await OpenDatabase.open('replica', snapshot, logs, options)
    return makeReplica(database, position, store)
  } finally {
    await close()
  }
}
