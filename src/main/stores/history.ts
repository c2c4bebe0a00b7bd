/** What a store holds, ready to be opened: its newest usable snapshot and the chain of logs behind it. */
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, nextFrameNoAfter } from '../../protocol/frame.js'
import type { Snapshot } from '../snapshot.js'
import type { ChainStart, Target } from './chain-options.js'
import { HistoryChain } from './history-chain.js'
import type { ReadableStore } from './patient-store.js'
import { named } from './read-ahead.js'
import type { CallLimits, StoredSnapshot } from './store.js'

export interface HistoryOptions extends Target, CallLimits {
  /** As of a chain. */
  readonly takes?: 'files' | 'all'
}

/** A snapshot that was chosen, and the chain behind it, which is read as it is asked for. */
interface ChosenHistory {
  readonly stored: StoredSnapshot
  readonly snapshot: Snapshot
  readonly chain: HistoryChain
  readonly problems: readonly MylibsqlError[]
}

/** Plans that are made when objects vanish while they are read. */
const plansMax = 5
const planAgainMs = 50

/** Runs `attempt` again, a few times, while what it planned to read is removed under its hands: not when all is as it was. */
export async function planning<T>(
  store: ReadableStore,
  { signal }: CallLimits,
  attempt: () => Promise<T>,
): Promise<T> {
  const limits: CallLimits = signal === undefined ? {} : { signal }
  let before: string | undefined
  for (let planNo = 1; ; planNo++) {
    try {
      return await attempt()
    } catch (error) {
      signal?.throwIfAborted()
      if (!hasGap(error) || planNo === plansMax) throw error
      const found = [...(await store.snapshots(limits)), ...(await store.logs(limits))]
      const listing = found.map(({ id }) => id).join('\n')
      if (listing === before) throw error
      before = listing
      await delay(planNo * planAgainMs)
      signal?.throwIfAborted()
    }
  }
}

/**
 * The newest usable snapshot at or before the target, and the chain of logs behind it up to there. The
 * snapshot is read (`onProgress` is told of its bytes), the logs are to be read from the chain. The caller closes both.
 */
export async function chooseHistory(
  store: ReadableStore,
  options: HistoryOptions & { onProgress?: (stored: StoredSnapshot, byteCount: number) => void },
): Promise<ChosenHistory> {
  const { to, at, signal, takes, onProgress } = options
  const limits: CallLimits = signal === undefined ? {} : { signal }
  const snapshots = await store.snapshots(limits)
  if (snapshots.length === 0) throw noSnapshot(store)
  const problems: MylibsqlError[] = []
  let oldestAt: Date | undefined
  for (const stored of candidatesOf(snapshots, { to, at })) {
    const reading = {
      ...limits,
      onProgress: (byteCount: number) => onProgress?.(stored, byteCount),
    }
    const snapshot = await readUsable(store, stored, reading, problems)
    if (snapshot === undefined) continue
    if (at === undefined || snapshot.createdAt === undefined || snapshot.createdAt <= at) {
      const chain = new HistoryChain(store, startOf(snapshot), {
        ...limits,
        snapshots,
        target: { to, at },
        ...(takes === undefined ? {} : { takes }),
      })
      if (await isGoingOn(chain, snapshot, problems)) return { stored, snapshot, chain, problems }
    } else {
      if (oldestAt === undefined || snapshot.createdAt < oldestAt) oldestAt = snapshot.createdAt
      await snapshot.close()
    }
  }
  throw notFound(store, { to, at }, problems, oldestText(snapshots, to, oldestAt))
}

/**
 * Whether the logs go on from the snapshot; false, and a problem, when it stands inside a merged log, which does not know
 * it: it was stored after its logs had been merged. When not, or when anything else is wrong, both are closed.
 */
async function isGoingOn(
  chain: HistoryChain,
  snapshot: Snapshot,
  problems: MylibsqlError[],
): Promise<boolean> {
  try {
    await chain.begin()
    return true
  } catch (error) {
    await Promise.all([chain.close(), snapshot.close()])
    if (!chain.isStranded || !(error instanceof MylibsqlError)) throw withProblems(error, problems)
    problems.push(error)
    return false
  }
}

/** Where a chain behind a snapshot of the store starts. */
export function startOf({ lastFrameNo, checksum, pageSize }: Snapshot): ChainStart {
  return { nextFrameNo: nextFrameNoAfter(lastFrameNo), checksum, pageSize, epoch: 0, isKept: true }
}

/** Whether frames are missing: in a newer plan they may not be. */
export function hasGap(error: unknown): boolean {
  return error instanceof MylibsqlError && error.code === 'ERR_LOG_GAP'
}

/** A hole behind an older snapshot is what it is because of the newer one that cannot be used. */
export function withProblems(error: unknown, problems: readonly MylibsqlError[]): unknown {
  const [problem] = problems
  if (problem === undefined || !(error instanceof MylibsqlError) || error.cause !== undefined) return error
  const message = `${error.message}. A newer snapshot cannot be used: ${problem.message}`
  return new MylibsqlError(error.code, message, error.details, { cause: problem })
}

/**
 * Snapshots to try, best first. When a snapshot was made stands in the snapshot itself; when it was stored, which is
 * later, tells which ones to try first. In a store that was copied these times may all be new.
 */
function candidatesOf(snapshots: readonly StoredSnapshot[], { to, at }: Target): StoredSnapshot[] {
  const frameNoOf = ({ lastFrameNo }: StoredSnapshot) => lastFrameNo ?? -1
  const newestFirst = snapshots
    .filter((stored) => to === undefined || frameNoOf(stored) <= to)
    .sort((a, b) => frameNoOf(b) - frameNoOf(a))
  if (at === undefined) return newestFirst
  const isBefore = ({ storedAt }: StoredSnapshot) => storedAt <= at
  return [...newestFirst.filter(isBefore), ...newestFirst.filter((stored) => !isBefore(stored)).reverse()]
}

/** Undefined, and a problem, when it is damaged or no longer there. */
export async function readUsable(
  store: ReadableStore,
  stored: StoredSnapshot,
  reading: Parameters<ReadableStore['readSnapshot']>[1],
  problems: MylibsqlError[],
): Promise<Snapshot | undefined> {
  try {
    const snapshot = await store.readSnapshot(stored, reading)
    if (snapshot.lastFrameNo === stored.lastFrameNo) return snapshot
    await snapshot.close()
    const message =
      `${named(store, stored)} is damaged: it ends with frame ${snapshot.lastFrameNo}, its name says ` +
      `${stored.lastFrameNo}`
    problems.push(new MylibsqlError('ERR_CORRUPT', message, { path: stored.id }))
  } catch (error) {
    if (!(error instanceof MylibsqlError) || !unusable.has(error.code)) throw error
    problems.push(error)
  }
  return undefined
}

const unusable = new Set<string>(['ERR_NOT_FOUND', 'ERR_NOT_A_SNAPSHOT', 'ERR_CORRUPT', 'ERR_VERSION'])

/** An empty store is not taken for a new one by itself: it may be the wrong folder, bucket or prefix. */
export function noSnapshot({ url }: Pick<ReadableStore, 'url'>): MylibsqlError {
  const message =
    `${url} holds no snapshot, so there is nothing to begin with. Is it the right place? To begin a history there: ` +
    'Primary.open({ store, create: true }), or store.putSnapshot() with a snapshot of Snapshot.fromDatabase(path)'
  return new MylibsqlError('ERR_NOT_FOUND', message)
}

/** Where what can be restored begins, when the target is before it. `oldestAt`: of the snapshots that were read. */
function oldestText(
  snapshots: readonly StoredSnapshot[],
  to: FrameNo | undefined,
  oldestAt: Date | undefined,
): string {
  if (oldestAt !== undefined) return `. The oldest usable one was made at ${oldestAt.toISOString()}`
  const oldest = Math.min(...snapshots.map(({ lastFrameNo }) => lastFrameNo ?? -1))
  return to === undefined || oldest <= to ? '' : `. The oldest one ends with frame ${oldest}`
}

function notFound(
  store: ReadableStore,
  { to, at }: Target,
  problems: readonly MylibsqlError[],
  oldest: string,
): MylibsqlError {
  const place =
    to !== undefined
      ? ` at or before frame ${to}`
      : at !== undefined
        ? ` at or before ${at.toISOString()}`
        : ''
  const reasons = problems.map(({ message }) => `. ${message}`).join('')
  const message = `${store.url} has no snapshot${place} that can be used${oldest}${reasons}`
  return new MylibsqlError(
    'ERR_NOT_FOUND',
    message,
    { ...(to === undefined ? {} : { frameNo: to }) },
    { cause: problems[0] },
  )
}
