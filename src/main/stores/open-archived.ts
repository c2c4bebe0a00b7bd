/** Opens the database of a primary from its store. */
import { hostname } from 'node:os'
import { MylibsqlError } from '../../protocol/errors.js'
import type { Position } from '../../protocol/wire.js'
import { checkBoolean, checkOptions, withDefault } from '../arguments.js'
import type { Log } from '../log.js'
import { OpenDatabase, type OpenSettings, openChecks, type PrimaryOptions } from '../open-database.js'
import type { Replica } from '../replica.js'
import { makeReplica } from '../role-change.js'
import { Snapshot } from '../snapshot.js'
import { type ArchivedPrimaryOptions, archiveChecks, checkStore } from './archive-options.js'
import type { Archive } from './archiver.js'
import { attempt } from './attempts.js'
import { noSnapshot } from './history.js'
import { restoreHistory } from './restored-history.js'
import type { Store, StoredSnapshot } from './store.js'

/**
 * Whether the first argument of `Primary.open` is options with a store, and no snapshot. Throws TypeError for a store
 * itself, for arguments behind such options, which would be ignored, and for options of archiving behind a snapshot.
 */
export function isArchived(
  value: object,
  logs: readonly Log[],
  options: PrimaryOptions | undefined,
): value is ArchivedPrimaryOptions {
  if (typeof value !== 'object' || value === null) return false
  if (value instanceof Snapshot) return refuseArchiveOptions(options)
  if ('claimEpoch' in value)
    throw new TypeError('Primary.open takes a store as an option: Primary.open({ store })')
  if (!('store' in value)) return false
  if (options === undefined && Array.isArray(logs) && logs.length === 0) return true
  throw new TypeError('Primary.open({ store }) takes nothing else: all options stand beside "store"')
}

/** With a store nobody says what to open: that is what the store holds. */
function refuseArchiveOptions(options: unknown): false {
  if (typeof options !== 'object' || options === null) return false
  if ('store' in options) {
    throw new TypeError(
      'Primary.open(snapshot, logs, options) takes no "store". Primary.open({ store, ...options }) opens the newest state that ' +
        'the store holds; to begin its history with this snapshot, once: await store.putSnapshot(snapshot)',
    )
  }
  const option = Object.keys(archiveChecks).find((name) => name in options)
  if (option === undefined) return false
  throw new TypeError(
    `Option "${option}" of Primary.open goes with a store: Primary.open({ store, ${option} })`,
  )
}

/**
 * The epoch is claimed before the history is looked at: what an older primary stores after that, it does not
 * acknowledge. So nothing can be missing here that was ever acknowledged. And behind the lock on the working file: nobody is
 * fenced by one that is not going to open.
 */
export async function openArchived(
  options: ArchivedPrimaryOptions,
): Promise<{ database: OpenDatabase; position: Position; archive: Archive }> {
  const known = {
    ...openChecks,
    ...archiveChecks,
    store: checkStore,
    create: withDefault(checkBoolean, false),
  }
  const checked = checkOptions(options, known, 'Primary.open')
  const { store, create, checkpoint, snapshot, compaction, retention, ...settings } = checked
  const { timeoutMs } = checkpoint
  const { database, position, restored } = await OpenDatabase.openRestored(
    'primary',
    settings,
    async (path) => {
      if (create && (await isEmpty(store, timeoutMs))) await begin(store, snapshot.timeoutMs)
      await checkBegun(store, timeoutMs)
      const epoch = await claimEpoch(store, timeoutMs)
      const history = await restoreHistory(store, path)
      await checkNewest(store, epoch, timeoutMs)
      return { ...history, epoch }
    },
  )
  const { epoch, logBytes } = restored
  const schedule = { checkpoint, snapshot, compaction, retention }
  return { database, position, archive: { store, epoch, schedule, logBytes } }
}

/**
 * A look before the claim, which would make a store at a wrong path, and fence whoever writes to one that cannot be opened.
 * It only refuses: what the history is, is seen after the claim.
 */
async function checkBegun(store: Store, timeoutMs: number): Promise<void> {
  if ((await snapshotsOf(store, timeoutMs)).length === 0) throw noSnapshot(store)
}

function snapshotsOf(store: Store, timeoutMs: number): Promise<StoredSnapshot[]> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  return attempt('list its snapshots', limits, (signal) => store.snapshots({ signal }))
}

/** Also one that is not there yet. Logs without a snapshot are what is left of a history, and no place for another one. */
async function isEmpty(store: Store, timeoutMs: number): Promise<boolean> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  try {
    if ((await snapshotsOf(store, timeoutMs)).length > 0) return false
    return (await attempt('list its logs', limits, (signal) => store.logs({ signal }))).length === 0
  } catch (error) {
    if (error instanceof MylibsqlError && error.code === 'ERR_NOT_FOUND') return true
    throw error
  }
}

/** Before the claim: it makes no difference when another primary does the same, because all blank databases are the same. */
async function begin(store: Store, timeoutMs: number): Promise<void> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  const blank = await Snapshot.blank()
  try {
    await attempt('store its first snapshot', limits, (signal) => store.putSnapshot(blank, { signal }))
  } finally {
    await blank.close()
  }
}

/**
 * To be called behind a look at the history. One that was paused since its claim may have listed logs of a newer primary:
 * among those is no place for its own.
 *
 * Throws ERR_FENCED.
 */
export async function checkNewest(store: Store, epoch: number, timeoutMs: number): Promise<void> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  const newest = await attempt('tell its newest epoch', limits, (signal) => store.currentEpoch({ signal }))
  if (newest === epoch) return
  const message = `The primary of epoch ${newest} has taken over ${store.url} while this one, of epoch ${epoch}, was opened`
  throw new MylibsqlError('ERR_FENCED', message, { expected: epoch, actual: newest })
}

export function claimEpoch(store: Store, timeoutMs: number): Promise<number> {
  const limits = { store, timeoutMs, signal: new AbortController().signal }
  return attempt('give an epoch', limits, (signal) =>
    store.claimEpoch(`${hostname()} ${process.pid}`, { signal }),
  )
}

/** Opens the replica that a fenced primary becomes, in its place; it follows the store. */
export async function openReplica(store: Store, options: OpenSettings): Promise<Replica> {
  const { database, position, restored } = await OpenDatabase.openRestored('replica', options, (path) =>
    restoreHistory(store, path),
  )
  return makeReplica(database, position, store, restored.newest)
}
