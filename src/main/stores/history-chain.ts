/**
 * The chain: log behind log, each beginning where the one before ends, by frame number and by lineage (its start checksum
 * is the end checksum of the one before). Epochs mostly go up along it. They go down where a primary was paused between
 * its claim and its look at the history: it goes on behind what a newer one has stored, once, and finds itself fenced.
 * What it stored is not acknowledged, but it continues the history, and the newer one finds its next place taken.
 *
 * What may lie about besides, and is no part of it: a log that a paused primary appended, late, at a start frame where
 * the log of its successor had been pruned, or merged into another one. It begins before the end of the chain and does
 * not continue it, so it is passed over. Only to somebody who stands at that very frame does it look right. So a log of an
 * older epoch than the newest counts if the next log continues it: nothing ever continues a late log, because its primary
 * finds itself fenced then. If none does, a merged log that covers the place counts instead, or (for a replica that was
 * cut off for long: `isKept` false) a snapshot that goes further. A store that fences appends itself has no late logs.
 */
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import { offeredLogsMax } from '../../protocol/limits.js'
import type { Position } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import type { ChainOptions, ChainStart, Target } from './chain-options.js'
import { CoveringLogs, type Mismatch } from './covering-log.js'
import { headOf } from './log-head.js'
import type { ReadableStore } from './patient-store.js'
import { isRemoved, named, ReadAhead } from './read-ahead.js'
import type { CallLimits, StoredLog, StoredSnapshot } from './store.js'
import { atOnce } from './transfer-limit.js'

/** What is offered at once, and one more: it may continue the last of them. */
const upcomingMax = 1 + offeredLogsMax
/** Times that logs may be removed between listing and reading them. */
const relistsMax = 5

export class HistoryChain {
  readonly #store: ReadableStore
  readonly #target: Target
  readonly #limits: CallLimits
  readonly #reads: ReadAhead
  readonly #coverings: CoveringLogs
  #snapshots: readonly StoredSnapshot[] | undefined
  #laterSnapshots: readonly StoredSnapshot[] | undefined
  #at: ChainStart
  #listed: readonly StoredLog[] | undefined
  /** Of the first log listed that begins at the end of the chain or behind it. */
  #behindIndex = 0
  /** There may be others besides. */
  #isPartial: boolean
  #isAll = false
  /** The newest, asked for after the logs were listed. */
  #epochListed: Promise<number> | undefined
  #relistCount = 0
  /** What next() will say, and was looked for already. */
  #begun: Log | 'nothing' | undefined
  readonly #takes: 'files' | 'all' | 'none'
  #readsAhead: boolean
  #isStranded = false
  #isDone = false

  constructor(store: ReadableStore, start: ChainStart, options: ChainOptions = {}) {
    this.#store = store
    this.#at = start
    this.#target = options.target ?? {}
    this.#snapshots = options.snapshots
    this.#listed = options.logs
    this.#isPartial = options.logs !== undefined
    this.#limits = options.signal === undefined ? {} : { signal: options.signal }
    this.#reads = new ReadAhead(store, this.#limits)
    const isTaking = store.keepsFiles ?? (options.takes === 'all' && store.logLocation !== undefined)
    this.#takes = (isTaking && options.takes) || 'none'
    this.#readsAhead = this.#takes === 'none'
    this.#coverings = new CoveringLogs(this.#reads)
  }

  /** Of the next frame behind what was given out. */
  get nextFrameNo(): FrameNo {
    return this.#at.nextFrameNo
  }

  /** Where the newest log that was listed begins. */
  get newestStartFrameNo(): FrameNo | undefined {
    return this.#listed?.at(-1)?.startFrameNo
  }

  /** The start is inside a merged log that cannot be taken there: another start may do. */
  get isStranded(): boolean {
    return this.#isStranded
  }

  /**
   * Looks for the first log already, so that what is wrong with the start is told. Others may never be asked for. Throws as
   * next().
   */
  async begin(): Promise<void> {
    const readsAhead = this.#readsAhead
    this.#readsAhead = false
    this.#begun = (await this.next()) ?? 'nothing'
    this.#readsAhead = readsAhead
  }

  /**
   * The next log, the caller's to close; undefined at the target, or at the end of what was there at the first call.
   *
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE, ERR_CORRUPT, ERR_NOT_A_LOG, each naming the object; ERR_NOT_FOUND
   * when the target is a frame that is not there yet, or inside a merged log; ERR_STORE
   */
  async next(): Promise<Log | undefined> {
    this.#limits.signal?.throwIfAborted()
    const begun = this.#begun
    this.#begun = undefined
    if (begun === 'nothing') return undefined
    if (begun !== undefined) {
      if (this.#readsAhead) this.#reads.begin(this.#behind())
      return begun
    }
    const { to } = this.#target
    if (this.#isDone || (to !== undefined && this.#at.nextFrameNo > to)) return undefined
    if (this.#listed === undefined) {
      // Snapshots first: what is removed in between is what the newest one has made superfluous.
      this.#snapshots ??= await this.#store.snapshots(this.#limits)
      await this.#list(this.#at.nextFrameNo)
    }
    const log = await this.#present()
    if (log === undefined) {
      this.#checkEnd()
      this.#isDone = true
      return undefined
    }
    return this.#untilTarget(log)
  }

  /**
   * Those that were listed behind what was given out, as many as are looked at in one step, if they are taken: who can take some
   * of them by himself says so. They are the next ones of the chain only if each of them continues the one before.
   */
  upcoming(): readonly StoredLog[] {
    // What is not a file is not asked for again and again in vain.
    const isOffered = this.#store.keepsFiles === true || !this.#readsAhead
    return this.#isDone || this.#takes === 'none' || !isOffered ? [] : this.#behind(upcomingMax)
  }

  /** These were taken, up to there; `epoch`: of the last one. When there are none, others are not expected to be soon. */
  async taken(logs: readonly StoredLog[], { nextFrameNo, checksum }: Position, epoch: number): Promise<void> {
    const last = logs.at(-1)
    this.#readsAhead = last === undefined || this.#takes === 'none'
    if (last === undefined) return
    for (const [index, stored] of logs.entries()) {
      const end = logs[index + 1]?.startFrameNo
      this.#coverings.noteEnd(stored, end === undefined ? { nextFrameNo, checksum } : { nextFrameNo: end })
    }
    this.#at = { ...this.#at, nextFrameNo, checksum, epoch }
    await this.#reads.drop(logs)
  }

  /** Closes what was read ahead. */
  async close(): Promise<void> {
    this.#isDone = true
    if (typeof this.#begun === 'object') await this.#begun.close()
    this.#begun = undefined
    await this.#reads.close()
  }

  async #list(from?: FrameNo): Promise<void> {
    const logs = await this.#store.logs({ ...this.#limits, ...(from === undefined ? {} : { from }) })
    this.#listed = [...logs].sort((a, b) => a.startFrameNo - b.startFrameNo)
    this.#behindIndex = 0
    this.#isPartial = false
    this.#isAll = from === undefined
    this.#epochListed = undefined
  }

  /** What compaction has removed since it was listed is in another log now. */
  async #present(): Promise<Log | undefined> {
    let removal: unknown
    for (;;) {
      try {
        const log = await this.#continuation()
        if (log === undefined && removal !== undefined) throw removal
        return log
      } catch (error) {
        if (error === removal || !isRemoved(error) || this.#relistCount === relistsMax) throw error
        this.#relistCount += 1
        removal = error
        if (this.#snapshots !== undefined) this.#snapshots = await this.#store.snapshots(this.#limits)
        await this.#list(this.#at.nextFrameNo)
      }
    }
  }

  /** The first ones that begin at the end of the chain or behind it; there may be very many. */
  #behind(countMax: number = atOnce.countMax): readonly StoredLog[] {
    const listed = this.#listed ?? []
    while (
      this.#behindIndex < listed.length &&
      listed[this.#behindIndex]!.startFrameNo < this.#at.nextFrameNo
    )
      this.#behindIndex += 1
    return listed.slice(this.#behindIndex, this.#behindIndex + countMax)
  }

  async #continuation(): Promise<Log | undefined> {
    const behind = this.#behind()
    this.#reads.begin(this.#readsAhead ? behind : behind.slice(0, 1))
    const stored = behind[0]
    if (stored === undefined || stored.startFrameNo !== this.#at.nextFrameNo) {
      if (this.#isPartial) return undefined
      return this.#covering()
    }
    // Asked for after the log was seen: an older epoch could not have been written any more.
    if (!this.#at.isKept) this.#epochListed = undefined
    // A store that fences appends itself holds no late ones.
    this.#epochListed ??=
      this.#store.fencesAppends === true ? Promise.resolve(0) : this.#store.currentEpoch(this.#limits)
    const currentEpoch = this.#epochListed
    currentEpoch.catch(() => {})
    const log = await this.#reads.take(stored)
    let chosen: Log | undefined
    try {
      if (log.isEmpty) throw this.#gap(`${named(this.#store, stored)} is empty`, stored)
      this.#checkPages(log.pageSize, stored)
      if (log.startChecksum !== this.#at.checksum) throw this.#otherHistory(stored, 'its start checksum')
      chosen = log.epoch >= (await currentEpoch) ? log : await this.#unlessLate(log, stored)
      if (chosen === log) {
        this.#coverings.noteEnd(stored, { nextFrameNo: log.nextFrameNo, checksum: log.endChecksum })
      }
      return chosen
    } finally {
      if (chosen !== log) await log.close()
    }
  }

  /** See above. The log is of an older epoch. */
  async #unlessLate(log: Log, stored: StoredLog): Promise<Log> {
    if (await this.#isContinued(log)) return log
    if (this.#isPartial) {
      await this.#list(this.#at.nextFrameNo)
      if (await this.#isContinued(log)) return log
    }
    const isLast = this.#listed!.at(-1)!.startFrameNo <= log.startFrameNo
    const covering = isLast ? undefined : await this.#searched(false)
    if (covering !== undefined) return covering
    if (!this.#at.isKept) await this.#checkFence(log, stored)
    return log
  }

  async #isContinued(log: Log): Promise<boolean> {
    // Behind what is left of the logs that were merged into it, if it is merged.
    let index = this.#behindIndex
    while (index < this.#listed!.length && this.#listed![index]!.startFrameNo < log.nextFrameNo) index += 1
    const next = this.#listed![index]
    if (next?.startFrameNo !== log.nextFrameNo) return false
    try {
      return (await this.#reads.look(next)).startChecksum === log.endChecksum
    } catch {
      // Who comes to it is told.
      return false
    }
  }

  /** Nothing begins at the position: the log that begins before it and goes on beyond, if the history does go on. */
  async #covering(): Promise<Log | undefined> {
    if (this.#at.nextFrameNo === 0) return undefined
    const isEnd = this.#behind().length === 0 && this.#snapshotBeyond() === undefined
    return this.#searched(isEnd)
  }

  async #searched(isEnd: boolean): Promise<Log | undefined> {
    const found = await this.#coverings.find(this.#listed!, this.#at, isEnd)
    if (found.log !== undefined || (isEnd && found.isJoined)) return found.log
    if (this.#isAll) return this.#notFound(found.mismatches)
    // What was listed before the position is something else: look at everything there is.
    await this.#list()
    const all = await this.#coverings.find(this.#listed!, this.#at, isEnd)
    return all.log ?? this.#notFound(all.mismatches)
  }

  async #notFound(mismatches: readonly Mismatch[]): Promise<undefined> {
    const currentEpoch = mismatches.length === 0 ? 0 : await this.#store.currentEpoch(this.#limits)
    for (const { stored, pageSize, epoch, isBetween } of mismatches) {
      // The newest primary writes nothing that is out of the chain: it is the position that is.
      if (isBetween || epoch === 0 || epoch < Math.max(this.#at.epoch, currentEpoch)) continue
      this.#checkPages(pageSize, stored)
      throw this.#otherHistory(stored, `its checksum of frame ${this.#at.nextFrameNo - 1}`)
    }
    const between = mismatches.find(({ isBetween }) => isBetween)
    if (between === undefined) return undefined
    this.#isStranded = true
    const { stored, startFrameNo, nextFrameNo, boundaries } = between
    const message =
      `Frame ${this.#at.nextFrameNo} is inside the merged log ${named(this.#store, stored)}, which takes a database to ` +
      `frame ${nextFrameNo - 1} from frame ${[startFrameNo, ...boundaries].join(', ')} on, and from nowhere else`
    throw this.#gap(message, stored)
  }

  async #untilTarget(log: Log): Promise<Log | undefined> {
    const { to, at } = this.#target
    const isLate = at !== undefined && log.createdAt !== undefined && log.createdAt > at
    const isLong = to !== undefined && log.nextFrameNo - 1 > to
    if (!isLate && isLong && log.isMerged) {
      await log.close()
      throw this.#insideMerged(to, log)
    }
    const wanted = isLate ? undefined : isLong ? await headOf(log, to) : log
    if (isLate || isLong) this.#isDone = true
    if (wanted === undefined || wanted.nextFrameNo <= this.#at.nextFrameNo) {
      await log.close()
      return undefined
    }
    const { nextFrameNo, endChecksum: checksum, epoch } = wanted
    this.#at = { ...this.#at, nextFrameNo, checksum, epoch }
    return wanted
  }

  #insideMerged(to: FrameNo, log: Log): MylibsqlError {
    const { nextFrameNo } = this.#at
    const before = nextFrameNo === 0 ? 'before frame 0' : `after frame ${nextFrameNo - 1}`
    const message =
      `Frame ${to} of ${this.#store.url} is inside a merged log: what can be restored is the state ${before}, or after ` +
      `frame ${log.nextFrameNo - 1}`
    return new MylibsqlError('ERR_NOT_FOUND', message, { frameNo: to })
  }

  #checkPages(pageSize: number, stored: StoredLog): void {
    if (pageSize === this.#at.pageSize) return
    const message =
      `${named(this.#store, stored)} has pages of ${pageSize} bytes, the history before it of ` +
      `${this.#at.pageSize}`
    const details = { path: stored.id, expected: this.#at.pageSize, actual: pageSize }
    throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
  }

  /** See above: whether this may be a late log at a start frame that was pruned away. */
  async #checkFence(log: Log, stored: StoredLog): Promise<void> {
    // Asked for after the logs were listed: where a late log is seen, the snapshot that let its place be pruned is too.
    this.#laterSnapshots ??= await this.#store.snapshots(this.#limits)
    const further = this.#snapshotBeyond(this.#laterSnapshots)
    if (further === undefined) return
    const message =
      `${named(this.#store, stored)} is of epoch ${log.epoch}, and no log continues it, though the history goes on to ` +
      `snapshot ${further.id}`
    throw this.#gap(message, stored)
  }

  #snapshotBeyond(snapshots = this.#snapshots): StoredSnapshot | undefined {
    return snapshots?.find(({ lastFrameNo }) => (lastFrameNo ?? -1) >= this.#at.nextFrameNo)
  }

  /** Nothing continues the chain: whether that is its end. */
  #checkEnd(): void {
    const { nextFrameNo } = this.#at
    const [next] = this.#behind()
    if (next !== undefined) {
      throw this.#gap(
        `Frame ${nextFrameNo} is in no log of the history: it goes on with ${named(this.#store, next)}`,
        next,
      )
    }
    const further = this.#snapshotBeyond()
    if (further !== undefined) {
      const message = `The logs end before frame ${nextFrameNo}, snapshot ${named(this.#store, further)} goes further`
      throw this.#gap(message, further)
    }
    const { to } = this.#target
    if (to === undefined) return
    const message = `Frame ${to} is not in ${this.#store.url}: the history there ends before frame ${nextFrameNo}`
    throw new MylibsqlError('ERR_NOT_FOUND', message, { frameNo: to })
  }

  #gap(message: string, { id }: StoredLog | StoredSnapshot): MylibsqlError {
    return new MylibsqlError('ERR_LOG_GAP', message, { path: id, expected: this.#at.nextFrameNo })
  }

  #otherHistory(stored: StoredLog, what: string): MylibsqlError {
    const message =
      `${named(this.#store, stored)} belongs to another history: ${what} is not what comes before ` +
      `frame ${this.#at.nextFrameNo} here`
    return new MylibsqlError('ERR_LINEAGE', message, { path: stored.id, frameNo: this.#at.nextFrameNo })
  }
}
