/**
 * The wire: everything that crosses between the main thread and an actor or reader thread.
 *
 * An actor has two ports. The **data port** carries what is frequent: groups of requests one way, their
 * results and the frames the other way. The **control port** carries what is rare, through Comlink, as
 * `Control` names it. A request is answered in the order it was sent, so that no request needs a number.
 */
import type { Histogram } from 'node:perf_hooks'
import type { WireError } from './errors.js'
import type { FrameNo } from './frame.js'
import type { LogFile, LogLocation } from './log-format.js'
import type { ColumnarRows } from './rows.js'
import type { SegmentTail } from './segment-format.js'
import type { SnapshotFile } from './snapshot-format.js'
import type { Row, RunResult, SqlParams, SqlValue } from './values.js'

/**
 * Requests that travel together, in the order in which they are answered, flattened into two arrays, because a structured
 * clone costs by the object:
 *
 *     run    ops: Op.run, textNo, paramCount, n         values: the parameters of each of n requests
 *     batch  ops: Op.batch, n, n x (textNo, paramCount, statementCount)
 *                                                       values: the parameters of each statement
 *     call   ops: Op.call, textNo, argumentCount         values: the arguments
 *     lease  ops: Op.lease, leaseId, 1 inside a transaction, 0 not
 *
 *     guarded  ops: Op.guarded, slot: the first request that follows can be given up (protocol/cancellation.ts)
 *
 * `paramCount` is `namedParams` when the parameters are one object. A text (SQL, or a procedure's name) is
 * sent once and then known by its number, until `resetTexts` empties the list on both sides.
 */
export const Op = { run: 0, batch: 1, call: 2, lease: 3, guarded: 4 } as const
export const namedParams = -1

/** Texts that the actor does not know yet. */
export interface NewTexts {
  readonly texts: readonly string[]
  /** It is to forget those that it knows. */
  readonly isReset: boolean
}

/** Messages without names: of a small object it is the names of its fields that take the most time to be cloned. */
export type GroupMessage = readonly [
  ops: readonly number[],
  values: readonly unknown[],
  requestCount: number,
  /** When the first of them was asked for: milliseconds since 1970, with fractions. */
  askedAtMs: number,
  news?: NewTexts,
]

/** Results that are more than changes and rowid, with the index of their request. */
export interface OtherResults {
  readonly batches: readonly (readonly [number, BatchResults])[]
  readonly values: readonly (readonly [number, unknown])[]
  readonly failures: readonly (readonly [number, WireError])[]
}

/** Answers the next requests, as many as `changes` has elements. */
export type ResultsMessage = readonly [
  /** The last frame that was committed by then. */
  frameNo: FrameNo | undefined,
  changes: readonly number[],
  rowids: readonly (number | bigint)[],
  others?: OtherResults,
]

/** Messages that travel together are an array, which is one message of the port. */
export type ToActor =
  | GroupMessage
  /** Starts the stream of frames under a new number, or stops it. */
  | { readonly kind: 'feed'; readonly feedNo: number | undefined }
  | { readonly kind: 'credit'; readonly byteCount: number }
  /** Seal the log of all frames since the last one. By this port, so that writes asked for before are in it. */
  | { readonly kind: 'seal' }
  | { readonly kind: 'saved'; readonly nextFrameNo: FrameNo }
  /** Small logs that are sealed from now on go there, until one does not fit; undefined: nowhere. */
  | { readonly kind: 'tail'; readonly tail: SegmentTail | undefined }

export type FromPrimary =
  /** Answers `seal`: the log, undefined when there were no new frames. `stored`: what came of storing it in the tail. */
  | {
      readonly kind: 'sealed'
      readonly outcome: Outcome<LogFile | undefined>
      readonly stored?: Outcome<StoredInTail>
    }
  /** Frames are lost: nothing is committed, saved or acknowledged any more. */
  | { readonly kind: 'failed'; readonly error: WireError }
  | ResultsMessage
  /** Answers the next request, a lease: it may now send statements by the control port. */
  | { readonly kind: 'leased'; readonly leaseId: number }
  /** The connection was idle for too long: its transaction is rolled back and its lease has ended. */
  | { readonly kind: 'leaseExpired'; readonly leaseId: number; readonly error: WireError }
  /** Committed frames (protocol/frames-message.ts). */
  | ArrayBuffer

/** Logs were applied that the thread has found by itself. */
export interface FromReplica {
  readonly kind: 'applied'
  readonly logs: AppliedLogs
}

export type FromActor = FromPrimary | FromReplica

/** What is known once a log is in a tail, durably. */
export interface StoredInTail {
  readonly newestEpoch: number
  /** When that was looked at: milliseconds since 1970, with fractions. */
  readonly lookedAtMs: number
}

/** Results of the statements of a batch, by columns. */
export interface BatchResults {
  readonly changes: Float64Array
  readonly rowids: Float64Array | readonly (number | bigint)[]
  /** [index, rows] of the statements that returned some. */
  readonly rows: readonly (readonly [number, Row[]])[]
}

/** What a replica's thread has taken of the logs that were at hand. */
export interface AppliedLogs {
  readonly position: Position
  /** Of the logs that it was told of, so many, from the first one on. The next one needs a closer look. */
  readonly appliedCount: number
  /** Of the last one that was applied; 0 and undefined when none was. */
  readonly epoch: number
  readonly createdAtMs: number | undefined
}

/** Logs of a store that are at hand, in order, as their places are. */
export interface LogsAtHand {
  readonly locations: readonly LogLocation[]
  /** Of the log behind them, when it is at hand too: it may continue the last one. */
  readonly behind: LogLocation | undefined
  /** The newest epoch, asked for after the logs were listed; 0: the store has no logs that came too late. */
  readonly epochMin: number
}

/** Where a replica's thread looks by itself for the logs of a FileStore that come next. */
export interface NextLogsPlace {
  readonly storePath: string
  /** Behind the last log that was seen there, when that is in a segment. */
  readonly after: { readonly path: string; readonly byteOffset: number } | undefined
}

export interface NextLogsRequest extends NextLogsPlace {
  /** Frame at which the thread has met a log of which only the whole store tells whether it counts: known by now. */
  readonly doubtedFrameNo: FrameNo | undefined
  /** All logs of the folder are listed so long from now, unless logs come where they should. */
  readonly listInMs: number
}

/** Why it has stopped to take them, and where. */
export interface NextLogsEnd {
  readonly position: Position
  /**
   * `doubtful`: the next log is there, and only a look at the whole store tells whether it is part of the history.
   * `unfound`: an event told of another one, or it is time to list them. `stopped`: it was told to.
   */
  readonly reason: 'doubtful' | 'unfound' | 'stopped'
}

/** What the task of an actor is given. */
export interface ActorStart {
  readonly control: import('node:worker_threads').MessagePort
  readonly data: import('node:worker_threads').MessagePort
}

/** A statement of an interactive connection, or what comes next of an iteration, which whoever begins it numbers. */
export type SessionStatement =
  | {
      readonly mode: 'run' | 'get' | 'all' | 'exec'
      readonly sql: string
      readonly params: SqlParams | undefined
    }
  | {
      readonly mode: 'iterate'
      readonly iterationNo: number
      readonly sql: string
      readonly params: SqlParams | undefined
    }
  | { readonly mode: 'next' | 'stop'; readonly iterationNo: number }
export interface IteratedRows {
  readonly rows: readonly Row[]
  readonly isDone: boolean
}
export type SessionReply = RunResult | Row | Row[] | IteratedRows | undefined

export type Role = 'primary' | 'replica'

/** When an actor polls for its next message before it sleeps; `adaptive`: while that pays off. */
export type Polling = 'always' | 'adaptive' | 'never'

/** Where a database stands in its history. */
export interface Position {
  readonly nextFrameNo: FrameNo
  /** Chained checksum of the last frame, 0n before frame 0. */
  readonly checksum: bigint
}

/** A database that is being restored from what a store holds: pages so far, nothing of it synced. */
export interface RestoredFile {
  readonly path: string
  /** Bytes. */
  readonly pageSize: number
  readonly pageCount: number
  readonly position: Position
}

/** What a working database begins with: a snapshot and logs, or a file in the same folder, which takes its place. */
export type OpenSource =
  | { readonly snapshot: SnapshotFile; readonly logs: readonly LogFile[] }
  | { readonly restored: RestoredFile }

export interface OpenRequest {
  readonly role: Role
  readonly source: OpenSource
  /** Working file, which is nobody else's. Temporary ones are in a folder of their own and vanish with it. */
  readonly path: string
  readonly keepFiles: boolean
  /** Logs are written to this path with a number behind it: to temporary files, which outlive the database. */
  readonly logPathPrefix: string
  readonly safeIntegers: boolean
  readonly busyTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly unsavedBytesMax: number
  readonly subscriberBytesMax: number
  readonly setupUrl: string | undefined
  readonly proceduresUrl: string | undefined
  readonly cancelTable: SharedArrayBuffer
  /** One 32-bit word, counted up with each message on the data port. */
  readonly doorbell: SharedArrayBuffer
  readonly polling: Polling
  /** To the readers of the database: takes FromReaders, gives ToReaders. */
  readonly readers: import('node:worker_threads').MessagePort
}

export interface OpenReply {
  readonly position: Position
  readonly pageSize: number
  /** What `native.interrupt` knows the writing connection by. */
  readonly connectionId: number
  readonly stats: ActorStats
}

/** Histograms of an actor thread, in microseconds; clones of them travel. */
export interface ThreadTimes {
  readonly queueWaitUs: Histogram
  readonly executeUs: Histogram
  readonly commitUs: Histogram
  readonly applyUs: Histogram
}

export interface ActorStats {
  readonly role: Role
  readonly position: Position
  readonly pageSize: number
  readonly walBytes: number
  readonly readerGapCount: number
  readonly readerGapMs: number
  readonly unsavedBytes: number
  readonly transactionCount: number
  readonly requestCount: number
  readonly lastWalError: WireError | undefined
  readonly times: ThreadTimes
}

/** What the role that it plays knows of it. */
export type RoleStats = Omit<ActorStats, 'role' | 'times' | 'readerGapCount' | 'readerGapMs'>

/** The control plane: method names, arguments and replies. */
export interface Control {
  open(request: OpenRequest): Promise<OpenReply>
  sessionStatement(leaseId: number, statement: SessionStatement): Promise<SessionReply>
  /** Ends a lease; a transaction is committed or rolled back. Replies the last frame committed by then. */
  endSession(leaseId: number, outcome: 'commit' | 'rollback'): Promise<FrameNo | undefined>
  /** `temporaryPath`, in the same folder, is there in vain when the thread ends half-way. */
  snapshot(path: string, temporaryPath: string): Promise<SnapshotFile>
  applyLog(file: LogFile): Promise<Position>
  /**
   * Applies logs of a store, files of it or bytes that came from there, one behind the other, up to the first one that is
   * not beyond doubt: that does not begin where the replica stands, is older than `epochMin`, merged, damaged, compressed
   * and large, or not there any more.
   */
  applyStoredLogs(logs: LogsAtHand): Promise<AppliedLogs>
  /** Looks for the logs that come next in a FileStore, and applies them, likewise, as they come ('applied' tells of them). */
  followNextLogs(request: NextLogsRequest): Promise<NextLogsEnd>
  stopNextLogs(): Promise<void>
  applyFrames(
    bytes: Uint8Array,
    pageSize: number,
    startFrameNo: FrameNo,
    startChecksum: bigint,
  ): Promise<Position>
  /** Makes a replica what a newer snapshot holds. `pathPrefix`: of temporary files. */
  applySnapshot(file: SnapshotFile, pathPrefix: string): Promise<Position>
  /** Throws ERR_UNSAVED_WRITES, and stays a primary, when there are frames from `savedNextFrameNo` on. */
  becomeReplica(savedNextFrameNo: FrameNo): Promise<Position>
  becomePrimary(): Promise<Position>
  stats(): Promise<ActorStats>
  close(): Promise<void>
}

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: WireError }

/** The one function that Comlink exposes: errors travel as values, so that class, code and cause survive. */
export type Invoke = <K extends keyof Control>(
  method: K,
  args: Parameters<Control[K]>,
) => Promise<Outcome<Awaited<ReturnType<Control[K]>>>>

// ---- reader threads -------------------------------------------------------------------------------------

/** What the connections of a reader thread are to. */
export interface ReaderStart {
  readonly cancelTable: SharedArrayBuffer
  readonly path: string
  readonly safeIntegers: boolean
  readonly idleTimeoutMs: number
  readonly setupUrl: string | undefined
  /** protocol/connection-list.ts */
  readonly connectionList: SharedArrayBuffer
}

/** Number of the gap in which no reader is to begin anything; undefined: it is over. */
export type ToReaders = number | undefined
/** Number of the gap that it is: no reader has anything under way. */
export type FromReaders = number

/** What queries have in common that differ in the values of their parameters only. */
export interface QueryShape {
  readonly sql: string
  /** Whether the first row is wanted or all of them. */
  readonly isGet: boolean
  /** `namedParams` when the parameters are one object. */
  readonly paramCount: number
}

/** Queries that travel together. A message is answered before the next one of the same thread. */
export interface QueryMessage {
  readonly shapes: readonly QueryShape[]
  /** Of each query, its place in `shapes`. */
  readonly shapeNos: readonly number[]
  /** The parameters, one after the other. */
  readonly values: readonly unknown[]
  /** Of the cancel table, for each query; undefined when none of them can be given up. */
  readonly slots: readonly number[] | undefined
}

/** Answers to the next `queryCount` queries of a message: one that takes long is split over several. */
export interface QueryAnswers {
  readonly queryCount: number
  /** Of the columns, for each shape of which there are first rows. */
  readonly names: readonly (readonly string[] | undefined)[]
  /** First rows of those that want one, value by value, one row after the other. */
  readonly values: readonly SqlValue[]
  /** Places, counted from the first query that is answered here, of those that found no first row. */
  readonly withoutRow: readonly number[]
  /** Rows of those that want all, one after the other. */
  readonly allRows: readonly ColumnarRows[]
  /** [place, error] of those that failed: they are in none of the other lists. */
  readonly failures: readonly (readonly [number, WireError])[]
}

/** What a reader thread is given by Piscina: `queries` first, which goes on until its port is closed. */
export type ReaderTask =
  | {
      readonly kind: 'queries'
      readonly start: ReaderStart
      /** Takes QueryMessage, gives QueryAnswers. */
      readonly port: import('node:worker_threads').MessagePort
    }
  | {
      readonly kind: 'iterate'
      readonly sql: string
      readonly params: SqlParams | undefined
      readonly slot: number
      readonly port: import('node:worker_threads').MessagePort
    }
  | {
      readonly kind: 'session'
      readonly slot: number
      readonly port: import('node:worker_threads').MessagePort
    }

/** Over the port of an iterate task. */
export type ToCursor = { readonly kind: 'next' } | { readonly kind: 'stop' }
/** Its end, and what went wrong, is the outcome of the task. */
export type FromCursor = { readonly kind: 'rows'; readonly rows: ColumnarRows; readonly done: boolean }

/** Over the port of a session task. */
export type ToSession =
  | { readonly kind: 'statement'; readonly statement: SessionStatement }
  | { readonly kind: 'end' }
export type FromSession =
  | { readonly kind: 'ready' }
  | { readonly kind: 'reply'; readonly outcome: Outcome<SessionReply> }
