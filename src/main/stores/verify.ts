/** Whether what a store holds can be restored: every object is read, and none is changed. */
import { MylibsqlError } from '../../protocol/errors.js'
import { type FrameNo, lastFrameNoBefore, nextFrameNoAfter } from '../../protocol/frame.js'
import type { Position } from '../../protocol/wire.js'
import { checkFunction, checkOptions, checkSignal, optional } from '../arguments.js'
import type { Snapshot } from '../snapshot.js'
import { checkStore } from './archive-options.js'
import type { ChainStart } from './chain-options.js'
import { noSnapshot, readUsable, startOf } from './history.js'
import { HistoryChain } from './history-chain.js'
import { patient, type ReadableStore } from './patient-store.js'
import { named } from './read-ahead.js'
import type { CallLimits, Store, StoredSnapshot } from './store.js'
import { isUnusable } from './unusable.js'

export interface VerifyOptions extends CallLimits {
  onProgress?: ((progress: VerifyProgress) => void) | undefined
}

export interface VerifyProgress {
  /** As stored. */
  readonly bytesDone: number
  readonly bytesTotal: number
}

/** Frames that a restore can go to, from the state of a snapshot on. */
export interface RestorableSpan {
  /** Of the snapshot; undefined: of the blank database before frame 0. */
  readonly from: FrameNo | undefined
  readonly to: FrameNo | undefined
}

export interface VerifyResult {
  /** Found whole. */
  readonly snapshotCount: number
  /** Found whole, and part of the history. Those that the oldest snapshot does not need are not looked at. */
  readonly logCount: number
  /** One, when all is well. Of a merged log only the states before and behind it, and those of snapshots, can be restored. */
  readonly spans: readonly RestorableSpan[]
  /** What is damaged, missing or of another history, each naming the object. None: all is well. */
  readonly problems: readonly MylibsqlError[]
}

/**
 * Reads every snapshot of a store and every log that a restore may need, and checks each byte, that each log continues the
 * one before, and that each snapshot has its place in that history. What is wrong is in the result, and the rest is
 * looked at all the same. A snapshot that stands inside a merged log is no problem, if the history goes on without it; and a
 * damaged record at the very end of a segment that is not closed cannot be told from one that was not finished. Safe beside primaries, compactions and prunes. Runs in task threads.
 *
 * @example
 * const { problems, spans } = await verify(new FileStore('/var/lib/app/history'))
 * for (const problem of problems) console.error(problem.message)
 * @throws ERR_NOT_FOUND for a store without a snapshot; ERR_STORE when it cannot be read; ERR_IO; the signal's reason
 */
export async function verify(store: Store, options?: VerifyOptions): Promise<VerifyResult> {
  checkStore(store, 'store')
  const { signal } = checkOptions(
    options,
    { onProgress: optional(checkFunction), signal: optional(checkSignal) },
    'verify',
  )
  const limits: CallLimits = signal === undefined ? {} : { signal }
  signal?.throwIfAborted()
  const verification = new Verification(patient(store), limits, options?.onProgress)
  for (let planNo = 1; ; planNo += 1) {
    const snapshots = await store.snapshots(limits)
    if (snapshots.length === 0) throw noSnapshot(store)
    const result = await verification.of(snapshots)
    if (!result.problems.some(mayBeRemoved) || planNo === plansMax) return result
    // What was pruned under its hands is missing by right.
    const now = new Set((await store.snapshots(limits)).map(({ id }) => id))
    if (snapshots.every(({ id }) => now.has(id))) return result
  }
}

/** Times that everything is looked at while snapshots are removed. */
const plansMax = 5

function mayBeRemoved({ code }: MylibsqlError): boolean {
  return code === 'ERR_LOG_GAP' || code === 'ERR_NOT_FOUND'
}

/** How far the logs behind a snapshot go: to its own end, and from there on as the walk goes that it has joined. */
interface Walk {
  end: Position
  joined?: Walk
}

/** A restore to a frame begins at the newest snapshot before it. */
interface Beginning {
  readonly nextFrameNo: FrameNo
  /** Undefined: it fails there. */
  readonly walk: Walk | undefined
}

/** Everything once, from the oldest snapshot on: what is behind another snapshot is walked up to where it was walked before. */
class Verification {
  readonly #store: ReadableStore
  readonly #limits: CallLimits
  readonly #onProgress: VerifyOptions['onProgress']
  #bytesDone = 0
  #bytesTotal = 0
  #logBytes = new Map<FrameNo, number>()
  #snapshotCount = 0
  #problems: MylibsqlError[] = []
  /** By the next frame: where a walk has been. */
  #visited = new Map<FrameNo, { readonly checksum: bigint; readonly walk: Walk }>()
  /** Of the position that is furthest. */
  #visitedNextFrameNo = -1
  /** By where they begin and end. */
  #verified = new Set<string>()

  constructor(store: ReadableStore, limits: CallLimits, onProgress: VerifyOptions['onProgress']) {
    this.#store = store
    this.#limits = limits
    this.#onProgress = onProgress
  }

  async of(snapshots: readonly StoredSnapshot[]): Promise<VerifyResult> {
    const logs = await this.#store.logs(this.#limits)
    this.#logBytes = new Map(logs.map(({ startFrameNo, byteLength }) => [startFrameNo, byteLength]))
    this.#bytesDone = 0
    this.#bytesTotal = [...snapshots, ...logs].reduce((sum, { byteLength }) => sum + byteLength, 0)
    this.#snapshotCount = 0
    this.#problems = []
    this.#visited = new Map()
    this.#visitedNextFrameNo = -1
    this.#verified = new Set()
    const beginnings: Beginning[] = []
    for (const stored of snapshots) {
      const beginning = await this.#beginning(stored, snapshots)
      if (beginning !== undefined) beginnings.push(beginning)
      this.#report(stored.byteLength)
    }
    this.#report(this.#bytesTotal - this.#bytesDone)
    return {
      snapshotCount: this.#snapshotCount,
      logCount: this.#verified.size,
      spans: spansOf(beginnings),
      problems: this.#problems,
    }
  }

  /** Undefined: no restore begins there, but at an older one. */
  async #beginning(
    stored: StoredSnapshot,
    snapshots: readonly StoredSnapshot[],
  ): Promise<Beginning | undefined> {
    let snapshot: Snapshot | undefined
    try {
      snapshot = await readUsable(this.#store, stored, this.#limits, this.#problems)
    } catch (error) {
      await this.#note(error)
      return { nextFrameNo: nextFrameNoAfter(stored.lastFrameNo), walk: undefined }
    }
    if (snapshot === undefined) return undefined
    try {
      this.#snapshotCount += 1
      const start = startOf(snapshot)
      const walk = await this.#walkFrom(start, stored, snapshots)
      return walk && { nextFrameNo: start.nextFrameNo, walk }
    } finally {
      await snapshot.close()
    }
  }

  async #walkFrom(
    start: ChainStart,
    stored: StoredSnapshot,
    snapshots: readonly StoredSnapshot[],
  ): Promise<Walk | undefined> {
    const walk: Walk = { end: start }
    const known = this.#visited.get(start.nextFrameNo)
    if (known?.checksum === start.checksum) return known.walk
    if (known !== undefined) {
      this.#add(this.#otherHistory(stored))
      return walk
    }
    const isInside = start.nextFrameNo < this.#visitedNextFrameNo
    this.#visit(start, walk)
    const chain = new HistoryChain(this.#store, start, { ...this.#limits, snapshots })
    try {
      await this.#walk(walk, chain)
    } catch (error) {
      // The history goes on without it: restores begin at an older one.
      if (chain.isStranded && isInside) return undefined
      const isLineage = error instanceof MylibsqlError && error.code === 'ERR_LINEAGE'
      const isForeign = isLineage && isInside && walk.end === start
      await this.#note(isForeign ? this.#otherHistory(stored, error) : error)
    } finally {
      await chain.close()
    }
    return walk
  }

  /** Up to the end of the chain, or where it joins another walk. */
  async #walk(walk: Walk, chain: HistoryChain): Promise<void> {
    for (let log = await chain.next(); log !== undefined; log = await chain.next()) {
      const { startFrameNo, nextFrameNo, endChecksum: checksum } = log
      try {
        this.#limits.signal?.throwIfAborted()
        await log.verify()
      } finally {
        await log.close()
      }
      const key = `${startFrameNo} ${nextFrameNo} ${checksum}`
      if (!this.#verified.has(key)) this.#report(this.#logBytes.get(startFrameNo) ?? 0)
      this.#verified.add(key)
      walk.end = { nextFrameNo, checksum }
      const there = this.#visited.get(nextFrameNo)
      if (there?.checksum === checksum) {
        walk.joined = there.walk
        return
      }
      this.#visit(walk.end, walk)
    }
  }

  #visit({ nextFrameNo, checksum }: Position, walk: Walk): void {
    if (!this.#visited.has(nextFrameNo)) this.#visited.set(nextFrameNo, { checksum, walk })
    this.#visitedNextFrameNo = Math.max(this.#visitedNextFrameNo, nextFrameNo)
  }

  /** Throws what is no finding: the signal's reason, or that the store cannot be reached at all. */
  async #note(error: unknown): Promise<void> {
    this.#limits.signal?.throwIfAborted()
    if (!(error instanceof MylibsqlError)) throw error
    if (error.code === 'ERR_STORE' || error.code === 'ERR_IO') await this.#store.snapshots(this.#limits)
    else if (!isUnusable(error)) throw error
    this.#add(error)
  }

  /** From each snapshot before a damaged log one comes to it. */
  #add(problem: MylibsqlError): void {
    if (this.#problems.every(({ message }) => message !== problem.message)) this.#problems.push(problem)
  }

  #otherHistory(stored: StoredSnapshot, cause?: unknown): MylibsqlError {
    const message = `${named(this.#store, stored)} belongs to another history than the logs before and behind it`
    const { lastFrameNo: frameNo } = stored
    const details = { path: stored.id, ...(frameNo === undefined ? {} : { frameNo }) }
    return new MylibsqlError('ERR_LINEAGE', message, details, { cause })
  }

  #report(byteCount: number): void {
    this.#bytesDone = Math.min(this.#bytesDone + byteCount, this.#bytesTotal)
    this.#onProgress?.({ bytesDone: this.#bytesDone, bytesTotal: this.#bytesTotal })
  }
}

function spansOf(beginnings: readonly Beginning[]): RestorableSpan[] {
  const spans: { start: FrameNo; end: FrameNo }[] = []
  for (const { nextFrameNo: start, walk } of beginnings) {
    const before = spans.at(-1)
    if (walk === undefined) {
      if (before !== undefined) before.end = Math.min(before.end, start - 1)
      continue
    }
    const { nextFrameNo: end } = endOf(walk)
    if (before === undefined || before.end < start) spans.push({ start, end })
    else before.end = end
  }
  return spans.map(({ start, end }) => ({ from: lastFrameNoBefore(start), to: lastFrameNoBefore(end) }))
}

function endOf(walk: Walk): Position {
  return walk.joined === undefined ? walk.end : endOf(walk.joined)
}
