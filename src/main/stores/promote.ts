/** A replica that follows a store takes it over. */
import { checkOptions } from '../arguments.js'
import { type ArchiveOptions, archiveChecks } from './archive-options.js'
import type { Archive } from './archiver.js'
import type { Follower } from './follower.js'
import { checkNewest, claimEpoch } from './open-archived.js'
import type { Store } from './store.js'

/**
 * Claims the next epoch, and then applies what the store has: all that the primary before was ever acknowledged is among
 * it, and what that one stores from now on is not acknowledged. The follower has ended when this resolves, and when it
 * rejects after the claim.
 */
export async function takeOver(follower: Follower, options: ArchiveOptions | undefined): Promise<Archive> {
  const schedule = checkOptions(options, archiveChecks, 'promote')
  const { store } = follower
  const epoch = await claimEpoch(store, schedule.checkpoint.timeoutMs)
  await follower.stop()
  await follower.catchUp(new AbortController().signal)
  await checkNewest(store, epoch, schedule.checkpoint.timeoutMs)
  return { store, epoch, schedule, logBytes: await logBytesOf(store) }
}

/** Bytes of the logs behind the newest snapshot. */
async function logBytesOf(store: Store): Promise<number> {
  const newest = (await store.snapshots()).at(-1)
  const from = (newest?.lastFrameNo ?? -1) + 1
  const logs = await store.logs({ from })
  return logs.filter(({ startFrameNo }) => startFrameNo >= from).reduce((sum, log) => sum + log.byteLength, 0)
}
