/**
 * Work for the task threads: everything on logs, snapshots and temporary files that takes long or needs the
 * addon. Each task is answered with an `Outcome` of wire.ts, so that errors arrive as they were thrown.
 */
import type { MessagePort } from 'node:worker_threads'
import type { FrameNo } from './frame.js'
import type { LogFile, LogHeader, LogLocation } from './log-format.js'
import type { SnapshotFile } from './snapshot-format.js'
import type { LogsAtHand, RestoredFile } from './wire.js'

export interface OpenedLog {
  readonly file: LogFile
  /** Checksum of the last frame as the file has it (version 2: the log's own chain). */
  readonly endChecksum: bigint
}

export interface ImportProgress {
  readonly pagesDone: number
  readonly pageCount: number
}

/** Where a restore ends, with the last log that does not go beyond. */
export interface HistoryEnd {
  readonly frameNo?: FrameNo
  /** Milliseconds since 1970. */
  readonly sealedMs?: number
}

/** A log that a FileStore has now, synced, the name of its file too. */
export interface StoredFile {
  readonly byteLength: number
  readonly storedAtMs: number
  /** As of after the file was there; 0: there is none. */
  readonly newestEpoch: number
}

/** A log of a FileStore. */
export interface ListedLog {
  readonly path: string
  /** Where it begins in a segment; absent: it has the file to itself. */
  readonly byteOffset?: number
  readonly startFrameNo: FrameNo
  /** As it is stored. */
  readonly byteLength: number
  readonly storedAtMs: number
  /** Its segment may be added to. */
  readonly isOpen: boolean
}

/** Frame records in a file, behind another header of the same size. */
export interface PlainRecords {
  readonly path: string
  /** Of the log: its header and the records. */
  readonly byteLength: number
}

/** A log as it is to be stored, but for compression. */
export interface PlainLog {
  /** The whole log; its header where there are `records`. */
  readonly bytes: Uint8Array
  readonly records?: PlainRecords
}

interface TaskTable {
  /** `verify` false: the header and the last record only. */
  openLog: { arguments: { path: string; verify: boolean }; result: OpenedLog }
  /** The same of all logs of a segment. */
  openLogs: { arguments: { path: string; verify: boolean }; result: OpenedLog[] }
  verifyLog: { arguments: { file: LogFile }; result: undefined }
  /**
   * Small logs of a store, unpacked, checked and in memory. Undefined for one in which something is wrong, and for one that
   * is merged, or too large: whoever looks closer at it finds out.
   */
  openStoredLogs: { arguments: { locations: readonly LogLocation[] }; result: (LogFile | undefined)[] }
  /**
   * Checks frame records against each other and against `startChecksum`, then appends them to `file`. When `path`
   * is another file, the log is copied there first. On any error the log is as it was.
   */
  appendFrames: {
    arguments: {
      file: LogFile
      /** Checksum of the log's last frame, in the chain of its version. */
      endChecksum: bigint
      path: string
      records: Uint8Array
      frameCount: number
      startChecksum: bigint
    }
    result: OpenedLog
  }
  /**
   * Writes the frames from `fromFrameNo` on into a new log at `path`; beyond the end: an empty log that starts
   * there. `durably`: complete or not at all, and synced.
   */
  writeLog: {
    arguments: { file: LogFile; version: 2 | 3; fromFrameNo: FrameNo; path: string; durably: boolean }
    result: OpenedLog
  }
  /** One log of the last version of each page; `at`: positions at which it is to be taken too, where they are states. */
  mergeLogs: {
    arguments: { logs: readonly LogFile[]; at: readonly FrameNo[]; path: string }
    result: LogFile
  }
  openSnapshot: {
    arguments: { path: string; verify: boolean; format: SnapshotFile['format'] }
    result: SnapshotFile
  }
  /** Complete or not at all, and synced. */
  copySnapshot: { arguments: { file: SnapshotFile; path: string }; result: undefined }
  appendLogs: {
    arguments: { file: SnapshotFile; logs: readonly LogFile[]; path: string }
    result: SnapshotFile
  }
  /** `mayTake`: the snapshot's file is not needed any more. */
  beginRestore: {
    arguments: { snapshot: SnapshotFile; mayTake: boolean; path: string }
    result: RestoredFile
  }
  restoreLog: { arguments: { file: RestoredFile; log: LogFile }; result: RestoredFile }
  /**
   * Up to the first one that is not beyond doubt (`isDoubtful`). `last`: the one that was applied last; `logBytes`: of those
   * that were, unpacked.
   */
  restoreStoredLogs: {
    arguments: { file: RestoredFile; logs: LogsAtHand; until: HistoryEnd }
    result: {
      readonly file: RestoredFile
      readonly appliedCount: number
      readonly last: LogHeader | undefined
      readonly logBytes: number
      readonly isDoubtful: boolean
    }
  }
  /** Throws ERR_PATH_EXISTS when something is at `target`. */
  endRestore: { arguments: { file: RestoredFile; target: string }; result: undefined }
  blankSnapshot: { arguments: { pageSize: number; path: string }; result: SnapshotFile }
  /** Over `progress`, when given: ImportProgress. */
  importDatabase: {
    arguments: { source: string; path: string; progress: MessagePort | undefined }
    result: SnapshotFile
  }
  /** Its object, packed with LZ4; undefined: it would not be smaller. */
  packLog: { arguments: { log: PlainLog }; result: Uint8Array | undefined }
  /** The LZ4 block of these bytes; the bytes themselves when it would not be smaller. */
  packLz4: { arguments: { bytes: Uint8Array }; result: Uint8Array }
  /** What a block holds; undefined: it is no block of exactly so many bytes. */
  unpackLz4: { arguments: { block: Uint8Array; rawBytes: number }; result: Uint8Array | undefined }
  /** Takes the lock on a descriptor that the caller opened: descriptors are per process. Errors name `path`. */
  lockFile: { arguments: { fd: number; path: string }; result: boolean }
  /**
   * Create-only, by way of `temporaryPath`, which may be there already, of `fileBytes` zeros. A log that has more room
   * than it needs begins a segment. Undefined: there is one of that name.
   */
  storeFile: {
    arguments: {
      log: PlainLog
      /** Packed with LZ4, where that makes it smaller. */
      packs: boolean
      fileBytes: number
      temporaryPath: string
      isMade: boolean
      path: string
      epochsPath: string
    }
    result: StoredFile | undefined
  }
  /** Removes one temporary file, and makes another one of so many zeros if that is wanted. */
  tidyStore: {
    arguments: {
      temporaryPath: string
      next: { readonly path: string; readonly byteLength: number } | undefined
    }
    result: undefined
  }
  /** Logs of a FileStore: those that begin at `from` or later, up to the first one behind `upTo`, and the last one before. */
  listLogs: {
    arguments: {
      storePath: string
      from: FrameNo | undefined
      upTo: FrameNo | undefined
      temporaryPath: string
    }
    result: { logs: ListedLog[]; tookMs: number }
  }
  /**
   * Says where the newest segment ends, if it may be added to: one of an epoch before `epoch`; with `ownStart`, when it is
   * still the one that begins there.
   */
  endSegment: {
    arguments: { storePath: string; epoch: number; ownStart: FrameNo | undefined; temporaryPath: string }
    result: undefined
  }
  /**
   * Takes out of segments what files are there for that begin behind the segment's start: with those it would be back. For
   * files that are about to be removed.
   */
  cutSegments: {
    arguments: { storePath: string; names: readonly string[]; temporaryPath: string }
    result: undefined
  }
  /** Makes several files of a segment: at each of these places in it, where a log begins or the last one ends, begins another. */
  splitSegment: {
    arguments: { storePath: string; path: string; cutOffsets: readonly number[]; temporaryPath: string }
    result: undefined
  }
  /** Ends the statement that a connection runs; false when there is no such connection. */
  interrupt: { arguments: { connectionId: number }; result: boolean }
  /** The same of a call that was given up: of the connection that runs it then, if it still runs. */
  interruptCall: { arguments: { words: Uint32Array; at: number }; result: boolean }
  /** Removes what processes that are gone left behind in `root`. */
  sweepTemporaryDirectories: { arguments: { root: string }; result: undefined }
  /** Does nothing. */
  wake: { arguments: object; result: undefined }
}

export type TaskKind = keyof TaskTable
export type TaskOf<K extends TaskKind> = { readonly kind: K } & Readonly<TaskTable[K]['arguments']>
export type TaskResult<K extends TaskKind> = TaskTable[K]['result']
export type Task = { [K in TaskKind]: TaskOf<K> }[TaskKind]
