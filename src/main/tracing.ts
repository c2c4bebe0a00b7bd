/**
 * Tracing channels of node:diagnostics_channel: `mylibsql.transaction`, `mylibsql.query`, `mylibsql.checkpoint`,
 * `mylibsql.replicate`, `mylibsql.archive`. They carry what was asked for and where, never bound parameters. Without subscribers they cost a
 * comparison.
 *
 * @example
 * // One object from the start of an operation to its end.
 * const startMs = new WeakMap<object, number>()
 * subscribe('tracing:mylibsql.transaction:start', (trace) => startMs.set(trace as object, performance.now()))
 * subscribe('tracing:mylibsql.transaction:asyncEnd', (trace) => {
 *   const { method, sql } = trace as TransactionTrace
 *   const tookMs = performance.now() - startMs.get(trace as object)!
 *   if (tookMs > 100) console.warn(`${method} took ${tookMs} ms: ${sql}`)
 * })
 */
import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'

/** A write that was asked for. */
export interface TransactionTrace {
  readonly method: 'run' | 'batch' | 'call' | 'withConnection' | 'transaction'
  /** Text of the statement, or of the first one of a batch; name of the procedure. No parameters. */
  readonly sql?: string
  /** Working file of the primary. */
  readonly path: string
}

export interface CheckpointTrace {
  readonly path: string
}

/** A query that was asked for; an iteration, from its first row to the end of its loop. */
export interface QueryTrace {
  readonly method: 'get' | 'all' | 'iterate' | 'readTransaction'
  /** Text of the query; undefined for a transaction. No parameters. */
  readonly sql?: string
  /** Working file of the primary or replica. */
  readonly path: string
}

/** What is about to be applied. */
export interface ReplicateTrace {
  /** Working file of the replica. */
  readonly path: string
  readonly startFrameNo: number
  readonly frameCount: number
}

/** One attempt to bring a log or a snapshot into a store; one run of compaction or pruning on a schedule. */
export interface ArchiveTrace {
  readonly operation: 'append' | 'putSnapshot' | 'compact' | 'prune'
  /** Of the store: `file:/var/lib/app`. */
  readonly url: string
  /** Of the primary. */
  readonly epoch: number
  /** Working file of the primary. */
  readonly path: string
  /** Last frame of the log or snapshot; undefined: of a snapshot before frame 0, of no single object. */
  readonly lastFrameNo: number | undefined
  /** Of the log or snapshot, 0: of no single object. */
  readonly byteLength: number
}

export const transactionChannel = tracingChannel<TransactionTrace>('mylibsql.transaction')
export const queryChannel = tracingChannel<QueryTrace>('mylibsql.query')
export const checkpointChannel = tracingChannel<CheckpointTrace>('mylibsql.checkpoint')
export const replicateChannel = tracingChannel<ReplicateTrace>('mylibsql.replicate')
export const archiveChannel = tracingChannel<ArchiveTrace>('mylibsql.archive')

/** Whether somebody listens. */
export function isTraced<C extends object>(channel: TracingChannel<C>): boolean {
  return (
    channel.start.hasSubscribers ||
    channel.end.hasSubscribers ||
    channel.asyncStart.hasSubscribers ||
    channel.asyncEnd.hasSubscribers ||
    channel.error.hasSubscribers
  )
}

/** Runs `operation`, with its trace when somebody listens. */
export function traced<C extends object, T>(
  channel: TracingChannel<C>,
  context: () => C,
  operation: () => Promise<T>,
): Promise<T> {
  if (!isTraced(channel)) return operation()
  return channel.tracePromise(operation, context()) as unknown as Promise<T>
}
