/**
 * The native addon, typed. One `.node` file is both this Node addon and a SQLite loadable extension.
 *
 * TypeScript checks every argument before it calls in here; the C++ side asserts what was promised. Every
 * function runs on the calling worker thread unless its comment says otherwise.
 *
 * A *frame record* is what logs, frame batches and the injector share, and is described in
 * protocol/log-format.ts: 24 bytes (frame number u64, checksum u64, page number u32, size after u32, all
 * little-endian) followed by the page. A WAL frame has the same size, which is why reading one is a `pread`
 * into the target and a header rewritten in place.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** Where the connection's WAL stands, read from the wal-index header (both copies compared). */
export interface WalPosition {
  /** Committed frames in the WAL (mxFrame). WAL indexes run from 1 to this. */
  readonly frameCount: number
  /** Frames already folded into the database file (nBackfill). */
  readonly foldedCount: number
  /** Salts of this generation of the WAL; they change when SQLite resets it. */
  readonly salt1: number
  readonly salt2: number
  /** Database size in pages as of the last commit in the WAL; 0 when the WAL holds no commit. */
  readonly pageCount: number
  /** Page size in bytes; 0 when the WAL has never been written. */
  readonly pageSize: number
  /** Transactions that were committed by anybody, modulo 2^32; goes on when the WAL is reset. */
  readonly changeCount: number
}

/** Where frame records are read from: a buffer of records, or a file and the offset of its first record. */
export type FrameSource =
  | { readonly bytes: Uint8Array }
  | { readonly fd: number; readonly byteOffset: number }

/** What checking a run of frame records found. */
export interface FrameCheck {
  /** Chained v3 checksum after the last frame. For v2 records: recomputed over the same frames. */
  readonly endChecksum: bigint
  /** Index of the first bad record, or -1 when all are good. */
  readonly badIndex: number
  /**
   * What is wrong with it: 'frameNo' | 'pageNo' | 'sizeAfter' | 'checksum' | 'truncated' | 'lineage'. Of the last
   * record, and by `inject` alone: 'unfinished' (it does not end a transaction) | 'endChecksum' (it is not the
   * one named).
   */
  readonly reason: string | undefined
  /** `sizeAfter` of the last record: 0 means that the run ends inside a transaction. */
  readonly lastSizeAfter: number
}

export interface FrameRun {
  /** Of records. */
  readonly frameCount: number
  readonly pageSize: number
  readonly startFrameNo: number
  /** 2: checksum over the page only, chain starts at `fileStartChecksum`. 3: chained, covers the header too. */
  readonly version: 2 | 3
  /** The start checksum that the log's own header names. */
  readonly fileStartChecksum: bigint
  /** The chained v3 checksum of the frame before the run (for version 3 equal to `fileStartChecksum`). */
  readonly startChecksum: bigint
  /**
   * The records are those of a merged log that covers the frames from `startFrameNo` up to this one, excluded: numbers go
   * up, with gaps; the last one is the last frame covered, it alone has a sizeAfter, and no page is beyond that.
   */
  readonly mergedEndFrameNo?: number
}

/**
 * The connection that loaded the extension, with its WAL. All methods throw an Error with a `code` property:
 * 'ERR_CLOSED' when the connection is closed, 'SQLITE_...' with `sqlite: true` for SQLite's own results, 'ERR_IO' with
 * `errno`, `errnoName` (ENOSPC), `syscall` and, when the file is the WAL, its `path`. Promises reject with the same; closing stops jobs and
 * waits until they have.
 */
export interface WalConnection {
  readonly isOpen: boolean
  /** Frame count reported by the last commit's WAL hook; 0 before the first. */
  readonly hookFrameCount: number
  position(): WalPosition
  /** What readPosition() found: frameCount, foldedCount, salt1, salt2, changeCount. */
  readonly positionWords: Uint32Array
  /** As position(), into `positionWords`: for after each commit. */
  readPosition(): void
  /**
   * Reads committed WAL frames `walIndex` .. `walIndex + frameCount - 1` into `target` as v3 frame records,
   * numbered from `startFrameNo`, chained from `checksum`. Returns the checksum of the last one. With
   * `target` undefined it only computes the checksum. Throws 'ERR_WAL_RESET' when a frame's salts are not
   * those of the present generation, 'ERR_CORRUPT' on a short read.
   */
  readFrames(
    target: Uint8Array | undefined,
    walIndex: number,
    frameCount: number,
    startFrameNo: number,
    checksum: bigint,
  ): bigint
  /** Like readFrames, into file `fd` at `byteOffset`. Sync on the calling thread. */
  copyFramesSync(
    fd: number,
    byteOffset: number,
    walIndex: number,
    frameCount: number,
    startFrameNo: number,
    checksum: bigint,
  ): bigint
  /** The same on a libuv thread. */
  copyFrames(
    fd: number,
    byteOffset: number,
    walIndex: number,
    frameCount: number,
    startFrameNo: number,
    checksum: bigint,
  ): Promise<bigint>
  /**
   * Checks frame records, appends them to the WAL on the way, and publishes them as one step: readers see all
   * or none. Restarts the WAL first when it is folded completely and no reader needs it. The last record must
   * be a commit, with the chained v3 checksum `endChecksum` when that is given. Applied is what the result finds
   * good (`badIndex` -1); of anything else, and on any error, nothing is published and the write lock is released.
   */
  inject(source: FrameSource, run: FrameRun, endChecksum?: bigint): FrameCheck
  /** PASSIVE checkpoint on a connection of its own, on a libuv thread. At most one at a time. */
  fold(): Promise<{ frameCount: number; foldedCount: number }>
  /** The same on the calling thread. 'truncate' also empties the WAL file (throws SQLITE_BUSY when readers are in the way). */
  foldSync(mode: 'passive' | 'truncate'): { frameCount: number; foldedCount: number }
  /**
   * From now on SQLite starts the WAL over only when it has no more than so many frames of the generation with that salt;
   * undefined: always. Only with the guard.
   */
  allowRestartAt(frameCount: number | undefined, salt1?: number): void
  /**
   * Copies the database, as of the last committed frame when it is called, page for page to `fd` (from
   * offset 0), on a libuv thread, under a read transaction of its own. `checksum` is the CRC-64 of the bytes
   * written, `frameCount` the WAL index it stands for.
   */
  copyDatabase(
    fd: number,
  ): Promise<{ pageCount: number; pageSize: number; checksum: bigint; frameCount: number }>
  /** Transactions in the WAL: frames that end one. */
  countCommits(): number
  /** Whether the open transaction could not be committed now, because of a deferred foreign key. */
  hasDeferredViolation(): boolean
  /** Makes the statement that is running on this connection fail with SQLITE_INTERRUPT. */
  interrupt(): void
  /** Why the authorizer refused something since the last call, and forgets it; undefined when it did not. */
  takeRefusal(): string | undefined
  /**
   * While on, BEGIN, COMMIT and ROLLBACK are refused (takeRefusal tells why) when they are prepared, and a statement that
   * would commit by itself fails with SQLITE_CONSTRAINT_COMMITHOOK. Savepoints, and statements prepared before, go on.
   * Only with the guard. Returns whether a statement about a savepoint was prepared since it was turned on.
   */
  holdTransaction(on: boolean): boolean
  /** While on, an interrupt that comes between two statements ends the next one. For a procedure that can be given up. */
  noticeInterrupts(on: boolean): void
  /** Whether the last connection to close folds the WAL and deletes it (SQLite's default; off after attach). */
  setCheckpointOnClose(on: boolean): void
  /** Closes the connections of its own. The JavaScript connection is closed by its owner. */
  close(): void
}

export interface NativeAddon {
  /** Binds to the connection that loaded the extension last on this thread. */
  attach(options: { guard: boolean }): WalConnection
  /** Number of the open connection that loaded the extension last on this thread, process-wide; 0: there is none. */
  connectionId(): number
  /** Makes what that connection is running fail with SQLITE_INTERRUPT. From any thread. False: it is closed. */
  interrupt(connectionId: number): boolean
  /**
   * The same of the connection that runs the call whose two words (protocol/cancellation.ts) begin at `at`, if it was given up.
   * False: no connection runs it any more.
   */
  interruptCall(words: Uint32Array, at: number): boolean
  /** That call does not run any more: once this returns, nothing that is meant for it interrupts its connection. */
  endCall(words: Uint32Array, at: number): void
  /** CRC-64/GO-ISO of `bytes`, continuing from `previous` (0n to begin), as zlib's crc32 continues. */
  crc64(bytes: Uint8Array, previous?: bigint): bigint
  /** The portable code path of crc64, for tests that compare the two. */
  crc64Portable(bytes: Uint8Array, previous?: bigint): bigint
  /**
   * The checksum of a WAL (both sums) continued over `bytes`, a multiple of 8, by each of the code paths that this
   * processor can take, the plain definition last. For tests that compare them.
   */
  walChecksums(bytes: Uint8Array, bigEndianWords: boolean, first: number, second: number): [number, number][]
  /** Bytes of the LZ4 block that it wrote to `target`, which has room for `lz4BytesMax` of protocol/lz4-frame.ts. */
  packLz4(source: Uint8Array, target: Uint8Array): number
  /** Fills `target`. False: it is no LZ4 block of exactly so many bytes. */
  unpackLz4(source: Uint8Array, target: Uint8Array): boolean
  /** Takes an exclusive advisory lock on an open file without waiting; released when the file is closed. */
  tryLock(fd: number): boolean
  /** Checks a run of frame records; `pageNos` takes the page numbers of all. Allocates no more than a fixed chunk, whatever the numbers claim. */
  checkFrames(source: FrameSource, run: FrameRun, pageNos?: Uint32Array): FrameCheck
  /**
   * Checks a run and writes the records that have a byte in `isPicked` other than 0 to `fd` from `byteOffset` on, with
   * their numbers, chained from `startChecksum`. Their sizeAfter is 0, but for the last record of the run when it
   * `endsLog`. `checksum` is that of the last record written. When `check` is bad, what was written means nothing.
   */
  pickFrames(
    source: FrameSource,
    run: FrameRun,
    isPicked: Uint8Array,
    fd: number,
    byteOffset: number,
    startChecksum: bigint,
    endsLog: boolean,
  ): { check: FrameCheck; checksum: bigint }
  /**
   * Writes the same frames as records of another version (2 or 3) or numbering into `fd` at `byteOffset`;
   * chains from `startChecksum` (v3) or `fileStartChecksum` (v2). Returns the last checksum.
   */
  rewriteFrames(
    source: FrameSource,
    run: FrameRun,
    toVersion: 2 | 3,
    fd: number,
    byteOffset: number,
    startChecksum: bigint,
  ): bigint
  /** Writes the pages of a run (checked before, whole transactions) into a database file that nobody has open.
   *  Returns the database size in pages after it; the file is truncated to it. */
  applyFrames(source: FrameSource, run: FrameRun, databaseFd: number): number
  /** Copies `byteLength` bytes between files and returns their CRC-64. `targetFd` -1: only the checksum. */
  copyFile(sourceFd: number, targetFd: number, byteLength: number): bigint
}

const require = createRequire(import.meta.url)
const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
const locate = require('node-gyp-build') as { (root: string): NativeAddon; path(root: string): string }

/** Path of the `.node` file, as `loadExtension` wants it. */
export const extensionPath: string = locate.path(packageRoot)
export const extensionEntryPoint = 'sqlite3_mylibsql_init'
export const native: NativeAddon = locate(packageRoot)
