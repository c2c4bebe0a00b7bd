/**
 * The types of the public API. Compiled by `tsc -p test/tsconfig.json`, never run: a wrong type does not compile, and a
 * wrong use that does compile makes its `@ts-expect-error` an error.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { URL } from 'node:url'
import {
  type Ack,
  type ArchiveTrace,
  type CheckpointTrace,
  type Connection,
  type ErrorCode,
  type ErrorDetails,
  FileStore,
  type Frame,
  type FrameBatch,
  type FrameNo,
  Frames,
  type InitResult,
  init,
  type KeptHistory,
  Log,
  type LogBoundary,
  MylibsqlError,
  Primary,
  type PrimaryOptions,
  type PrimaryStats,
  type PruneResult,
  prune,
  type Queryable,
  type QueryTrace,
  Replica,
  type ReplicaStats,
  type ReplicateTrace,
  type RetentionSchedule,
  type Row,
  type RunResult,
  type SaveLog,
  Snapshot,
  type SqlParams,
  type SqlValue,
  type Statement,
  type Store,
  type TransactionTrace,
} from 'mylibsql'
import type { NatsStore } from 'mylibsql/nats'
import type { S3Store } from 'mylibsql/s3'
import { map, type Observable } from 'rxjs'
import { expectTypeOf } from 'vitest'

type Procedures = typeof import('./support/procedures.mjs')

declare const primary: Primary
declare const withProcedures: Primary<Procedures>
declare const replica: Replica
declare const connection: Connection
declare const snapshot: Snapshot
declare const store: Store
declare const log: Log
declare const frames: Frames
declare const batch: FrameBatch
declare const url: URL

export function opening(): void {
  expectTypeOf(Primary.open(snapshot)).resolves.toEqualTypeOf<Primary>()
  expectTypeOf(Primary.open(snapshot, [log], {})).resolves.toEqualTypeOf<Primary>()
  expectTypeOf(Primary.open<Procedures>(snapshot, [], { procedures: url })).resolves.toEqualTypeOf<
    Primary<Procedures>
  >()
  expectTypeOf(Replica.open(snapshot, [log], { path: url, readers: 2 })).resolves.toEqualTypeOf<Replica>()
  expectTypeOf(Replica.open<Procedures>(snapshot, [], { procedures: url })).resolves.toEqualTypeOf<
    Replica<Procedures>
  >()
  expectTypeOf<Replica<Procedures>['promote']>().returns.resolves.toEqualTypeOf<Primary<Procedures>>()
  expectTypeOf<Replica<Procedures>['intoPrimary']>().returns.resolves.toEqualTypeOf<Primary<Procedures>>()
  expectTypeOf<Primary<Procedures>['intoReplica']>().returns.resolves.toEqualTypeOf<Replica<Procedures>>()
  expectTypeOf(init('')).resolves.toEqualTypeOf<InitResult>()
  expectTypeOf(init(async (c) => c.exec(''), { pageSize: 512 })).resolves.toEqualTypeOf<InitResult>()
  expectTypeOf<InitResult>().toEqualTypeOf<{ readonly snapshot: Snapshot; readonly log: Log }>()
  const options: PrimaryOptions = {
    path: 'working.db',
    readers: 1,
    safeIntegers: true,
    busyTimeoutMs: 1,
    idleTimeoutMs: 1,
    closeTimeoutMs: 1,
    unsavedBytesMax: 1,
    subscriberBytesMax: 1,
    procedures: url,
  }
  void Primary.open(snapshot, [], options)
  // What may be there or not is passed on as it is.
  void Primary.open(snapshot, [], { path: undefined, readers: undefined })
  void Primary.open({ store, checkpoint: { intervalMs: undefined }, snapshot: undefined })
  void primary.run('', [], { signal: undefined, timeoutMs: undefined, wait: undefined })
  // @ts-expect-error a path is no snapshot
  void Primary.open('base.db')
  // @ts-expect-error logs are Log objects
  void Primary.open(snapshot, ['0.log'])
  // @ts-expect-error misspelled
  void Primary.open(snapshot, [], { reader: 1 })
  // @ts-expect-error a module is named by URL
  void Primary.open(snapshot, [], { procedures: './procedures.js' })
  // @ts-expect-error objects are made by open
  new Primary()
  // @ts-expect-error objects are made by open
  new Replica()
  // @ts-expect-error objects are made by captureFrames
  new Frames()
  // @ts-expect-error a script, or an async function
  void init(7)
}

/** Of either role. */
export async function report(database: Queryable): Promise<Row | undefined> {
  return database.readTransaction((reading) => reading.get('SELECT 1'))
}

export async function closing(): Promise<void> {
  await using files = new FileStore('history')
  await using primaryOnFiles = await Primary.open({ store: files })
  await using replicaOfFiles = await Replica.follow(files)
  void report(primaryOnFiles)
  void report(replicaOfFiles)
  expectTypeOf(primaryOnFiles.stats()).resolves.toEqualTypeOf<PrimaryStats>()
  expectTypeOf(replicaOfFiles.stats()).resolves.toEqualTypeOf<ReplicaStats>()
  expectTypeOf<NatsStore[typeof Symbol.asyncDispose]>().returns.resolves.toBeVoid()
  expectTypeOf<S3Store[typeof Symbol.asyncDispose]>().returns.resolves.toBeVoid()
}

export function tracing(): void {
  const startMs = new WeakMap<object, number>()
  subscribe('tracing:mylibsql.transaction:start', (trace) => startMs.set(trace as object, performance.now()))
  subscribe('tracing:mylibsql.transaction:asyncEnd', (trace) => {
    const { method, sql } = trace as TransactionTrace
    const tookMs = performance.now() - startMs.get(trace as object)!
    if (tookMs > 100) console.warn(`${method} took ${tookMs} ms: ${sql}`)
  })
  expectTypeOf<QueryTrace>().toHaveProperty('method')
  expectTypeOf<ArchiveTrace>().toHaveProperty('url')
  expectTypeOf<CheckpointTrace>().toHaveProperty('path')
  expectTypeOf<ReplicateTrace>().toHaveProperty('startFrameNo')
}

export function writing(): void {
  expectTypeOf(primary.run('')).resolves.toEqualTypeOf<Ack<RunResult>>()
  expectTypeOf(primary.run('', [1, 1n, 'x', null, new Uint8Array()])).resolves.toEqualTypeOf<Ack<RunResult>>()
  expectTypeOf(primary.run('', { a: 1, b: Buffer.from('') })).resolves.toEqualTypeOf<Ack<RunResult>>()
  expectTypeOf(primary.run('', [], { timeoutMs: 1, signal: AbortSignal.timeout(1) })).resolves.toEqualTypeOf<
    Ack<RunResult>
  >()
  expectTypeOf(primary.batch([{ sql: '' }, { sql: '', params: [1] }])).resolves.toEqualTypeOf<
    Ack<RunResult[]>
  >()
  expectTypeOf(primary.withConnection(async () => 7)).resolves.toEqualTypeOf<Ack<number>>()
  expectTypeOf(primary.withConnection((c) => c.exec(''))).resolves.toEqualTypeOf<Ack<void>>()
  expectTypeOf(primary.transaction((c) => c.get(''))).resolves.toEqualTypeOf<Ack<Row | undefined>>()
  expectTypeOf(primary.checkpoint((sealed) => sealed.copyTo(''))).resolves.toEqualTypeOf<
    FrameNo | undefined
  >()
  expectTypeOf<SaveLog>().parameter(0).toEqualTypeOf<Log>()
  expectTypeOf(primary.lastFrameNo).toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(primary.savedFrameNo).toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(primary.stats()).resolves.toEqualTypeOf<PrimaryStats>()
  expectTypeOf(primary.snapshot('')).resolves.toEqualTypeOf<Snapshot>()
  expectTypeOf(primary).toExtend<AsyncDisposable>()
  expectTypeOf<RunResult>().toEqualTypeOf<{
    readonly changes: number
    readonly lastInsertRowid: number | bigint
    readonly rows?: Row[]
  }>()
  expectTypeOf<Statement['params']>().toEqualTypeOf<SqlParams | undefined>()
  // @ts-expect-error booleans cannot be bound
  void primary.run('', [true])
  // @ts-expect-error dates cannot be bound
  void primary.run('', { at: new Date() })
  // @ts-expect-error undefined cannot be bound
  void primary.run('', [undefined])
  // @ts-expect-error parameters are a list
  void primary.run('', 1, 2)
  // @ts-expect-error statements are objects
  void primary.batch(['SELECT 1'])
  // @ts-expect-error the callback is asynchronous
  void primary.withConnection(() => 7)
  // @ts-expect-error who saves the log is a function
  void primary.checkpoint('logs')
  // @ts-expect-error options of a primary without a snapshot have a store
  void Primary.open({ checkpoint: { intervalMs: 10 } })
  // @ts-expect-error what is known of a primary is read, not set
  primary.lastFrameNo = 7
}

export async function acknowledged(): Promise<void> {
  const ack = await primary.run('')
  expectTypeOf(ack).toEqualTypeOf<Ack<RunResult>>()
  // An Ack is not thenable: await gives the Ack.
  expectTypeOf<Awaited<Ack<RunResult>>>().toEqualTypeOf<Ack<RunResult>>()
  expectTypeOf(ack.peek()).toEqualTypeOf<RunResult>()
  expectTypeOf(ack.durable()).resolves.toEqualTypeOf<RunResult>()
  expectTypeOf(ack.split()).toEqualTypeOf<[RunResult, Ack<void>]>()
  expectTypeOf(ack.frameNo).toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(ack.isDurable).toEqualTypeOf<boolean>()
  // @ts-expect-error no result before it is asked for
  void ack.changes
  // @ts-expect-error
  void ack.then
  // @ts-expect-error
  ack.isDurable = true
}

export function calling(): void {
  expectTypeOf(withProcedures.call('add', 1)).resolves.toEqualTypeOf<Ack<number>>()
  expectTypeOf(withProcedures.call('transfer', 1, 2, 30)).resolves.toEqualTypeOf<Ack<{ left: number }>>()
  expectTypeOf(withProcedures.call('echo', 1, 'x', {})).resolves.toEqualTypeOf<Ack<unknown[]>>()
  expectTypeOf(withProcedures.call('nested')).resolves.toEqualTypeOf<Ack<string | undefined>>()
  expectTypeOf(withProcedures.call('run')).resolves.toEqualTypeOf<Ack<void>>()
  // @ts-expect-error an argument is missing
  void withProcedures.call('transfer', 1, 2)
  // @ts-expect-error an argument is of another type
  void withProcedures.call('add', '1')
  // @ts-expect-error an argument is too many
  void withProcedures.call('add', 1, 2)
  // @ts-expect-error there is no such procedure
  void withProcedures.call('substract', 1)
  // @ts-expect-error procedures are synchronous
  void withProcedures.call('asynchronous')
  expectTypeOf(withProcedures.call('fails', 'type')).resolves.toEqualTypeOf<Ack<never>>()
  // @ts-expect-error that is no function
  void withProcedures.call('notAFunction')
  // @ts-expect-error opened without procedures
  void primary.call('add', 1)
  // @ts-expect-error opened without procedures
  void primary.call('add')

  interface Small {
    ping(): 'pong'
    optional(connection: unknown, n?: number): void
  }
  const small = primary as unknown as Primary<Small>
  expectTypeOf(small.call('ping')).resolves.toEqualTypeOf<Ack<'pong'>>()
  expectTypeOf(small.call('optional')).resolves.toEqualTypeOf<Ack<void>>()
  expectTypeOf(small.call('optional', 7)).resolves.toEqualTypeOf<Ack<void>>()
  // @ts-expect-error it takes no arguments
  void small.call('ping', 1)
}

export function reading(): void {
  for (const database of [primary, replica]) {
    expectTypeOf(database.get('', [1])).resolves.toEqualTypeOf<Row | undefined>()
    expectTypeOf(database.all('', { a: 1 })).resolves.toEqualTypeOf<Row[]>()
    expectTypeOf(database.iterate('')).toEqualTypeOf<AsyncIterableIterator<Row>>()
  }
  expectTypeOf<Row>().toEqualTypeOf<{ [column: string]: SqlValue }>()
  expectTypeOf<SqlValue>().toEqualTypeOf<null | number | bigint | string | Uint8Array>()
  expectTypeOf(connection.run('')).resolves.toEqualTypeOf<RunResult>()
  expectTypeOf(connection.get('')).resolves.toEqualTypeOf<Row | undefined>()
  expectTypeOf(connection.all('')).resolves.toEqualTypeOf<Row[]>()
  expectTypeOf(connection.exec('')).resolves.toEqualTypeOf<void>()
  expectTypeOf(
    connection.transaction(async (same) => (await same.all('')).length),
  ).resolves.toEqualTypeOf<number>()
  // @ts-expect-error a script takes no parameters
  void connection.exec('', [1])
  // @ts-expect-error a connection is lent, not made
  void connection.close()
}

export function replicating(): void {
  expectTypeOf(replica.replicate(log)).resolves.toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(replica.replicateFrames(batch)).resolves.toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(
    replica.waitFor(7, { signal: AbortSignal.timeout(1), timeoutMs: 1 }),
  ).resolves.toEqualTypeOf<void>()
  // The frameNo of an Ack, whatever it is.
  expectTypeOf(replica.waitFor).parameter(0).toEqualTypeOf<FrameNo | undefined>()
  expectTypeOf(replica.withConnection(async (c) => c.all(''))).resolves.toEqualTypeOf<Row[]>()
  expectTypeOf(replica.intoPrimary()).resolves.toEqualTypeOf<Primary>()
  expectTypeOf(primary.intoReplica()).resolves.toEqualTypeOf<Replica>()
  expectTypeOf(replica.stats()).resolves.toEqualTypeOf<ReplicaStats>()
  expectTypeOf(replica).toExtend<AsyncDisposable>()
  // @ts-expect-error a replica does not write
  void replica.run('')
  // @ts-expect-error a replica does not write
  void replica.transaction(async () => {})
  // @ts-expect-error a log is no batch
  void replica.replicateFrames(log)
  // @ts-expect-error a path is no log
  void replica.replicate('0.log')
}

export function streaming(): void {
  expectTypeOf(primary.captureFrames({ credit: 'acknowledged' })).toEqualTypeOf<Frames>()
  expectTypeOf(frames).toExtend<Observable<FrameBatch>>()
  expectTypeOf(frames).toExtend<AsyncIterable<FrameBatch>>()
  expectTypeOf(frames).toExtend<Disposable>()
  expectTypeOf(frames.next()).resolves.toEqualTypeOf<FrameBatch | undefined>()
  expectTypeOf(frames.tryNext()).toEqualTypeOf<FrameBatch | undefined>()
  expectTypeOf(frames.ackReplicated(7)).toEqualTypeOf<void>()
  expectTypeOf(frames.pipe(map(({ nextFrameNo }) => nextFrameNo))).toEqualTypeOf<Observable<FrameNo>>()
  expectTypeOf(batch.frames).toEqualTypeOf<readonly Frame[]>()
  expectTypeOf<Frame>().toEqualTypeOf<{
    readonly frameNo: FrameNo
    readonly pageNo: number
    readonly sizeAfter: number
    readonly checksum: bigint
    readonly data: Uint8Array
  }>()
  // @ts-expect-error
  primary.captureFrames({ credit: 'never' })
  // @ts-expect-error
  batch.frames.push(batch.frames[0]!)
}

export function storing(): void {
  expectTypeOf(Log.open(url, { verify: false })).resolves.toEqualTypeOf<Log>()
  expectTypeOf(Log.create(7, { pageSize: 512, startChecksum: 1n })).resolves.toEqualTypeOf<Log>()
  expectTypeOf(Log.from(new ArrayBuffer(0))).resolves.toEqualTypeOf<Log>()
  expectTypeOf(Log.merge([log, log], { at: [7] })).resolves.toEqualTypeOf<Log>()
  expectTypeOf(log.boundaries).toEqualTypeOf<readonly LogBoundary[]>()
  expectTypeOf(log.isMerged).toEqualTypeOf<boolean>()
  expectTypeOf(log.pushFrames(batch)).resolves.toEqualTypeOf<void>()
  expectTypeOf(log.pushFrames(batch.frames)).resolves.toEqualTypeOf<void>()
  expectTypeOf(log.frames()).toExtend<AsyncIterable<Frame>>()
  expectTypeOf(log.copyTo('', { version: 2 })).resolves.toEqualTypeOf<void>()
  expectTypeOf(Snapshot.open('', { format: 'crate' })).resolves.toEqualTypeOf<Snapshot>()
  expectTypeOf(snapshot.append([log])).resolves.toEqualTypeOf<Snapshot>()
  expectTypeOf(snapshot.lastFrameNo).toEqualTypeOf<FrameNo | undefined>()
  // @ts-expect-error there is no version 4
  void log.copyTo('', { version: 4 })
  // @ts-expect-error checksums are bigints
  void Log.create(7, { startChecksum: 1 })
}

export function retaining(store: Store): void {
  expectTypeOf(prune(store, { keepMs: 7 })).resolves.toEqualTypeOf<PruneResult>()
  void prune(store, { keepSnapshots: 2, signal: AbortSignal.timeout(1) })
  void prune(store, { keepMs: 0, keepSnapshots: 1 })
  expectTypeOf<RetentionSchedule>().toExtend<KeptHistory>()
  void Primary.open({ store, retention: { keepSnapshots: 2, everyMs: 1 } })
  // @ts-expect-error what is to be kept?
  void prune(store, {})
  // @ts-expect-error what is to be kept?
  void prune(store)
  // @ts-expect-error what is to be kept?
  void Primary.open({ store, retention: { everyMs: 1 } })
}

export function failing(error: unknown): void {
  if (!(error instanceof MylibsqlError)) return
  expectTypeOf(error.code).toEqualTypeOf<ErrorCode>()
  expectTypeOf(error.details).toEqualTypeOf<ErrorDetails>()
  expectTypeOf(error).toExtend<Error>()
  // @ts-expect-error no such code
  if (error.code === 'ERR_NOTHING') return
  switch (error.code) {
    case 'ERR_LOG_GAP':
    case 'ERR_CLOSED':
      break
  }
}
