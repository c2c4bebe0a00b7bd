// Also where a project names no types.
/// <reference types="node" preserve="true" />
export { type ErrorCode, type ErrorDetails, errorCodes, MylibsqlError } from '../protocol/errors.js'
export { type Frame, FrameBatch, type FrameNo } from '../protocol/frame.js'
export type { LogBoundary } from '../protocol/merge-table.js'
export type { ImportProgress } from '../protocol/tasks.js'
export type { Row, RunResult, SqlParams, SqlValue, Statement } from '../protocol/values.js'
export { Ack, type DurableOptions } from './ack.js'
export type { CallOptions } from './cancellations.js'
export type { SaveLog } from './checkpoints.js'
export { Connection } from './connection.js'
export { Frames, type FramesOptions } from './frames.js'
export { type InitOptions, type InitResult, init } from './init.js'
export { Log } from './log.js'
export type { LogCopyOptions, LogCreateOptions, LogMergeOptions, LogOpenOptions } from './log-options.js'
export type { OpenOptions, PrimaryOptions } from './open-database.js'
export { Primary } from './primary.js'
export type { ProcedureModule } from './procedure-types.js'
export type { Queryable } from './queryable.js'
export { Replica } from './replica.js'
export type { FollowOptions, ReplicaOptions, WaitForOptions } from './replica-options.js'
export {
  Snapshot,
  type SnapshotBlankOptions,
  type SnapshotImportOptions,
  type SnapshotOpenOptions,
} from './snapshot.js'
export { SqliteError } from './sqlite-error.js'
export type { ArchiveStats, PrimaryStats, ReplicaStats } from './stats.js'
export type {
  ArchivedPrimaryOptions,
  ArchiveOptions,
  CheckpointSchedule,
  CompactionSchedule,
  RetentionSchedule,
  SnapshotSchedule,
} from './stores/archive-options.js'
export { type CompactOptions, type CompactProgress, type CompactResult, compact } from './stores/compact.js'
export { FileStore, type FileStoreOptions } from './stores/file-store.js'
export type { FollowStats } from './stores/follower.js'
export { type PruneResult, prune } from './stores/prune.js'
export type { KeptHistory, PruneOptions } from './stores/prune-options.js'
export { type RestoreOptions, type RestoreResult, restore } from './stores/restore.js'
export type { RestoreProgress } from './stores/restored-history.js'
export type * from './stores/store.js'
export {
  type RestorableSpan,
  type VerifyOptions,
  type VerifyProgress,
  type VerifyResult,
  verify,
} from './stores/verify.js'
export type {
  ArchiveTrace,
  CheckpointTrace,
  QueryTrace,
  ReplicateTrace,
  TransactionTrace,
} from './tracing.js'
