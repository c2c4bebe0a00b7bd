/**
 * What a store is: where a history is kept so that it outlives its primary, and where a newer primary fences an older
 * one off. Everything else (archiving, following, restoring, pruning) is built on this contract alone.
 *
 * A store holds three kinds of things:
 *
 * - **epochs**, counted from 1: each primary claims the next one, create-only, before it looks at the history.
 * - **logs**, append-only, create-only at their start frame: of two logs that begin at the same frame the second one is
 *   refused. The history is the chain in which each log begins where the one before ends, frame number and lineage. A log
 *   that is in no chain (a paused primary wrote it where something was pruned away) is no part of the history.
 * - **snapshots**, by their last frame.
 *
 * Why two primaries cannot both be acknowledged. A primary claims its epoch first and lists the logs then. An older
 * one acknowledges a log only if, after the append succeeded, its own epoch is still the newest. So a log that the
 * older one acknowledged was there before the newer one's epoch was claimed, and the newer one has listed it and goes
 * on behind it. (docs/REPLICATION.md has the argument in full.)
 *
 * Every method may reject with ERR_STORE (it cannot be reached, it refuses; `cause` is what it said), and every wait on
 * the outside is bounded. Methods may be called again after a failure: each either took effect as a whole or not at
 * all, and an append whose answer was lost recognises its own log.
 */
import type { FrameNo } from '../../protocol/frame.js'
import type { LogLocation } from '../../protocol/log-format.js'
import type { SegmentTail } from '../../protocol/segment-format.js'
import type { NextLogsEnd, NextLogsRequest } from '../../protocol/wire.js'
import type { Log } from '../log.js'
import type { Snapshot } from '../snapshot.js'

/** A log in a store. What is not here stands in its header: read it. */
export interface StoredLog {
  /** What the store knows it by, for messages and to read it: a path, a key, a sequence number. */
  readonly id: string
  readonly startFrameNo: FrameNo
  /** As it is stored, maybe compressed. */
  readonly byteLength: number
  readonly storedAt: Date
  /** It shares a file with others that is still being added to: until that ends, it is neither replaced nor removed. */
  readonly isOpen?: boolean
}

/** What a store tells of a log that it has stored. */
export interface AppendedLog extends StoredLog {
  /** The newest epoch, if the store has looked at it after the log was there: then the writer need not. */
  readonly newestEpoch?: number
  /**
   * Room behind the log, for those that come next. The primary's thread may store small ones there by itself; one that it
   * finds to be stored while its epoch is still the newest is part of the history for good, any other one may be or not.
   */
  readonly tail?: SegmentTail
}

/** A snapshot in a store. */
export interface StoredSnapshot {
  readonly id: string
  /** Undefined: of the blank database before frame 0. */
  readonly lastFrameNo: FrameNo | undefined
  readonly byteLength: number
  readonly storedAt: Date
}

export interface CallLimits {
  /** Gives the call up; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

export interface AppendOptions extends CallLimits {
  /**
   * The caller has stored the log before just now, can use a `tail`, and ends it when it is done with it. Told only to a
   * store that has `endTail`. Default: false.
   */
  readonly takesTail?: boolean | undefined
}

export interface FollowLogsOptions {
  readonly signal: AbortSignal
  /**
   * Has a replica's thread look for the logs that come next in a folder of this machine, and apply them as they come, until
   * it does not find its way, or its own signal aborts; undefined: it does not do that, now. What it has taken needs not be
   * told; a store that keeps no such folder tells of all.
   */
  readonly take?:
    | ((request: NextLogsRequest, signal: AbortSignal) => Promise<NextLogsEnd | undefined>)
    | undefined
}

export interface Store {
  /** As a user would write it: `file:/var/lib/app`, `nats://host:4222/name`, `s3://bucket/prefix`. For messages. */
  readonly url: string

  /**
   * True: the store itself refuses an append (ERR_FENCED) once a newer epoch was claimed, so that one that succeeded need not
   * be followed by a look at the epoch. Absent: the writer looks.
   */
  readonly fencesAppends?: boolean

  /**
   * True: logs are files of this machine, so that `logLocation` has a path for each at once, whenever it is asked. Absent: it may
   * have to fetch what it is asked for.
   */
  readonly keepsFiles?: boolean

  /** Claims the next epoch: nobody else gets the same one. `holder` says who, for people who look. */
  claimEpoch(holder: string, limits?: CallLimits): Promise<number>
  /** The newest epoch; 0 when none was ever claimed. Never an old answer: it decides about acknowledgements. */
  currentEpoch(limits?: CallLimits): Promise<number>

  /**
   * Stores a log, durably, under its start frame, with `epoch` in its header. Resolves also when it is there already:
   * the same frames under the same epoch (the answer to an earlier attempt was lost).
   *
   * @throws ERR_FENCED when another log begins at that frame
   */
  append(log: Log, epoch: number, options?: AppendOptions): Promise<AppendedLog>

  /** Nothing is stored in this tail any more: whatever comes to lie there is no part of the history. */
  endTail?(tail: SegmentTail, limits?: CallLimits): Promise<void>

  /** Logs that begin at `from` or later, and the last one that begins before, by start frame. Default: all. */
  logs(options?: CallLimits & { readonly from?: FrameNo }): Promise<StoredLog[]>
  /** @throws ERR_NOT_FOUND when it is no longer there; ERR_NOT_A_LOG, ERR_CORRUPT naming the object */
  readLog(stored: StoredLog, limits?: CallLimits): Promise<Log>

  /**
   * Where a replica's thread can read the bytes of a log by itself, as they are stored, maybe compressed: in a file of
   * this machine, or in memory. In memory they must be alone in their ArrayBuffer, and used by nobody else, because it
   * is transferred to that thread. May resolve later, once the bytes were fetched. Merged, large or damaged logs are
   * left to `readLog`. Called for logs in order, up to the first one for which it returns undefined at once.
   */
  logLocation?(
    stored: StoredLog,
    limits?: CallLimits,
  ): LogLocation | undefined | Promise<LogLocation | undefined>

  /**
   * Logs that begin at `from` or later: first those that are there, then those that come; by start frame, each once.
   * Ends when the signal aborts. Does not report holes: a log that was pruned before it was seen is left out.
   */
  follow(from: FrameNo, options: FollowLogsOptions): AsyncIterable<StoredLog>

  /** Stores a snapshot, durably. One of the same frame takes the place of the one before. */
  putSnapshot(snapshot: Snapshot, limits?: CallLimits): Promise<StoredSnapshot>
  /** By last frame. */
  snapshots(limits?: CallLimits): Promise<StoredSnapshot[]>
  /**
   * Copies it to a temporary file. `onProgress` is told the bytes that have come.
   *
   * @throws ERR_NOT_FOUND when it is no longer there; ERR_NOT_A_SNAPSHOT, ERR_CORRUPT naming the object
   */
  readSnapshot(
    stored: StoredSnapshot,
    options?: CallLimits & { readonly onProgress?: (byteCount: number) => void },
  ): Promise<Snapshot>

  /**
   * Replaces the log that begins at the same frame, for compaction. Whoever could apply the old log must be able to
   * apply the new one. So the new one has to be of the same history, to end no earlier, and to be applicable wherever
   * the old one was (at its start and its boundaries) and where the old one ends. Looking at the old log and replacing
   * it are one atomic step: of two calls at once, the later one has seen what the earlier one made. The epoch is that
   * of the log's header. Other logs that the new one covers are removed by the caller, afterwards. Resolves also when
   * it is there already.
   *
   * @throws ERR_LOG_GAP, ERR_LINEAGE, ERR_PAGE_SIZE when it must not take that place, and ERR_NOT_FOUND when nothing begins
   * there: nothing is changed then. ERR_LOCKED when another process that replaces or removes has been paused
   */
  replaceLog(log: Log, limits?: CallLimits): Promise<StoredLog>
  /** Removes what is there of these; what is not, or was replaced since, is passed over. */
  remove(objects: readonly (StoredLog | StoredSnapshot)[], limits?: CallLimits): Promise<void>

  /** Ends follows, releases connections. The second time it does nothing. */
  close(): Promise<void>
}
