import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import type { Compression } from '../../protocol/object-format.js'
import {
  epochName,
  epochOf,
  isSnapshotName,
  lastFrameNoOf,
  snapshotName,
} from '../../protocol/object-names.js'
import type { SegmentTail } from '../../protocol/segment-format.js'
import {
  checkBoolean,
  checkFrameNo,
  checkFunction,
  checkInstance,
  checkOptions,
  checkPath,
  checkPositiveInteger,
  checkSignal,
  checkString,
  checkTimeoutMs,
  optional,
  withDefault,
} from '../arguments.js'
import { Log } from '../log.js'
import { Snapshot } from '../snapshot.js'
import { holdStoreThread, runTask } from '../task-pool.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { checkCompression, compressed, decompressed } from './compression.js'
import { FileLogs } from './file-logs.js'
import { chunksOf, findObject, isThere, readError, writeChunks, writeTemporary } from './file-objects.js'
import type { LogPlace } from './log-place.js'
import { PackThread } from './pack-thread.js'
import type {
  AppendedLog,
  AppendOptions,
  CallLimits,
  FollowLogsOptions,
  Store,
  StoredLog,
  StoredSnapshot,
} from './store.js'
import { StoreFolder } from './store-folder.js'
import { checkOwnSnapshot, namedAs } from './stored-log.js'
import { unlessAborted, within } from './waits.js'

export interface FileStoreOptions {
  /** Whether the first write may make the folder, or a store in an empty one. Default: true. */
  create?: boolean | undefined
  /**
   * Of what is written from now on; any mix is read. 'lz4' costs whoever follows least, 'brotli' makes it smallest; 'zstd' where
   * Node has it (22.15 and later). Default: 'none'.
   */
  compression?: 'none' | 'lz4' | 'deflate' | 'brotli' | 'zstd' | undefined
  /**
   * Milliseconds after which a call that moves few bytes (all but those of snapshots and of logs beyond 1 MiB) fails with
   * ERR_STORE: a disk that hangs. Default: 30,000.
   */
  timeoutMs?: number | undefined
}

/** Epochs kept below the newest one: far more than are claimed while a claimer is paused. */
const epochsKept = 100
const timeoutMsDefault = 30_000

/**
 * A store in a folder: a file for each log and each snapshot, which any tool opens unless they are compressed. Many
 * processes may use it at once, on a file system of this machine: over a network two machines would see each other's
 * files late, and both could be acknowledged.
 *
 * Nothing happens before the first call, and nothing is made before the first write. What is written is synced, its name
 * too, before a call resolves.
 *
 * @example
 * const store = new FileStore('/var/lib/app/history')
 * const primary = await Primary.open({ store })
 */
export class FileStore implements Store {
  readonly url: string
  readonly keepsFiles = true
  readonly #folder: StoreFolder
  readonly #logs: FileLogs
  readonly #compression: Compression | 'none'
  readonly #timeoutMs: number
  readonly #ending = new AbortController()
  readonly #packThread: PackThread

  /** @throws TypeError also when 'zstd' is asked for and Node does not have it */
  constructor(dir: string | URL, options?: FileStoreOptions) {
    const path = checkPath(dir, 'dir')
    const known = {
      create: withDefault(checkBoolean, true),
      compression: withDefault(checkCompression, 'none'),
      timeoutMs: withDefault(checkTimeoutMs, timeoutMsDefault),
    }
    const { create, compression, timeoutMs } = checkOptions(options, known, 'FileStore')
    this.url = `file:${path}`
    this.#folder = new StoreFolder(path, create)
    this.#logs = new FileLogs(this.#folder, { compression, timeoutMs })
    this.#packThread = new PackThread(compression === 'lz4' ? holdStoreThread : undefined)
    this.#compression = compression
    this.#timeoutMs = timeoutMs
  }

  async claimEpoch(holder: string, limits?: CallLimits): Promise<number> {
    checkString(holder, 'holder')
    return this.#packThread.during(() => this.#callSoon('claimEpoch', limits, () => this.#claimEpoch(holder)))
  }

  async currentEpoch(limits?: CallLimits): Promise<number> {
    return this.#callSoon('currentEpoch', limits, async () => Math.max(0, ...(await this.#epochs())))
  }

  async append(log: Log, epoch: number, options?: AppendOptions): Promise<AppendedLog> {
    checkInstance(log, Log, 'log')
    checkPositiveInteger(epoch, 'epoch')
    const { takesTail = false, ...limits } = options ?? {}
    checkBoolean(takesTail, 'Option "takesTail" of FileStore.append')
    const append = () => log.use((file) => this.#logs.append(file, epoch, takesTail))
    if (log.byteLength > logMemoryBytesMax) return this.#call('append', limits, append)
    return this.#callSoon('append', limits, append)
  }

  async endTail(tail: SegmentTail, limits?: CallLimits): Promise<void> {
    return this.#callSoon('endTail', limits, () => this.#logs.endTail(tail))
  }

  async logs(options?: CallLimits & { readonly from?: FrameNo }): Promise<StoredLog[]> {
    const { from, ...limits } = options ?? {}
    const first = optional(checkFrameNo)(from, 'Option "from" of FileStore.logs')
    return this.#callSoon('logs', limits, () => this.#logs.list(first))
  }

  async readLog(stored: StoredLog, limits?: CallLimits): Promise<Log> {
    this.#logs.place(stored)
    return this.#call('readLog', limits, (signal) => this.#logs.read(stored, signal))
  }

  logLocation(stored: StoredLog): LogPlace {
    return this.#logs.place(stored)
  }

  async *follow(
    from: FrameNo,
    { signal, take }: FollowLogsOptions,
  ): AsyncGenerator<StoredLog, void, undefined> {
    checkFrameNo(from, 'from')
    checkSignal(signal, 'Option "signal" of FileStore.follow')
    this.#checkOpen()
    const ended = new AbortController()
    const end = () => ended.abort()
    if (signal.aborted) return
    signal.addEventListener('abort', end)
    this.#ending.signal.addEventListener('abort', end)
    try {
      yield* this.#logs.follow(from, { signal: ended.signal, take })
    } finally {
      signal.removeEventListener('abort', end)
      this.#ending.signal.removeEventListener('abort', end)
    }
  }

  async putSnapshot(snapshot: Snapshot, limits?: CallLimits): Promise<StoredSnapshot> {
    checkInstance(snapshot, Snapshot, 'snapshot')
    return this.#call('putSnapshot', limits, async (signal) => {
      const name = snapshotName(snapshot.lastFrameNo)
      await this.#checkReplaced(name, snapshot)
      const made = await snapshot.use((file) =>
        this.#folder.replace('snapshots', name, async (temporary) => {
          if (this.#compression !== 'none') {
            const chunks = chunksOf(file.path, { signal })
            return writeChunks(temporary, compressed(chunks, snapshot.byteLength, this.#compression))
          }
          // Checks the pages on the way.
          await runTask({ kind: 'copySnapshot', file, path: temporary })
          return open(temporary, 'r+')
        }),
      )
      return { id: this.#folder.pathOf('snapshots', name), lastFrameNo: snapshot.lastFrameNo, ...made }
    })
  }

  async snapshots(limits?: CallLimits): Promise<StoredSnapshot[]> {
    return this.#callSoon('snapshots', limits, async () => {
      const names = (await this.#folder.names('snapshots')).filter(isSnapshotName)
      const found = present(await Promise.all(names.map((name) => this.#findSnapshot(name))))
      return found.sort((left, right) => (left.lastFrameNo ?? -1) - (right.lastFrameNo ?? -1))
    })
  }

  async readSnapshot(
    stored: StoredSnapshot,
    options?: CallLimits & { readonly onProgress?: (byteCount: number) => void },
  ): Promise<Snapshot> {
    const path = this.#pathOf(stored)
    const { onProgress, ...limits } = options ?? {}
    optional(checkFunction)(onProgress, 'Option "onProgress" of FileStore.readSnapshot')
    return this.#call('readSnapshot', limits, (signal) =>
      this.#readSnapshot(stored.lastFrameNo, path, signal, onProgress),
    )
  }

  async replaceLog(log: Log, limits?: CallLimits): Promise<StoredLog> {
    checkInstance(log, Log, 'log')
    return this.#call('replaceLog', limits, (signal) => this.#logs.replace(log, signal))
  }

  async remove(objects: readonly (StoredLog | StoredSnapshot)[], limits?: CallLimits): Promise<void> {
    const logs = objects.filter(isLog)
    const snapshots = new Map(objects.filter((one) => !isLog(one)).map((one) => [this.#pathOf(one), one]))
    for (const stored of logs) this.#logs.place(stored)
    return this.#callSoon('remove', limits, async () => {
      await this.#logs.remove(logs)
      if (snapshots.size === 0) return
      await this.#folder.removeChosen('snapshots', this.#timeoutMs, async () => {
        const there: string[] = []
        for (const [path, stored] of snapshots) if (await isThere(stored, path)) there.push(basename(path))
        return there
      })
    })
  }

  async close(): Promise<void> {
    this.#ending.abort()
    this.#packThread.close()
    await this.#logs.close()
    await this.#folder.tidied()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Create-only, and gapless. Old ones are removed, so one that seemed to be free to a claimer that was paused since may
   * have been held and removed: it takes another one when its own is that old. The newest one is never removed.
   */
  async #claimEpoch(holder: string): Promise<number> {
    const bytes = Buffer.from(`${JSON.stringify({ holder, claimedAt: new Date().toISOString() })}\n`)
    await this.#folder.prepare()
    for (;;) {
      const epoch = Math.max(0, ...(await this.#epochs())) + 1
      const write = (path: string) => writeChunks(path, [bytes])
      if ((await this.#folder.create('epochs', epochName(epoch), write)) === undefined) continue
      const epochs = await this.#epochs()
      if (Math.max(...epochs) - epoch >= epochsKept) continue
      // From the oldest on: while one is there, all behind it are, which those rely on who look for the next one only.
      const old = epochs.filter((other) => epoch - other > epochsKept).sort((left, right) => left - right)
      await this.#folder.remove('epochs', old.map(epochName))
      await this.#logs.claimed(epoch)
      return epoch
    }
  }

  async #epochs(): Promise<number[]> {
    return present((await this.#folder.names('epochs')).map(epochOf))
  }

  async #readSnapshot(
    lastFrameNo: FrameNo | undefined,
    path: string,
    signal: AbortSignal | undefined,
    onProgress: ((byteCount: number) => void) | undefined,
  ): Promise<Snapshot> {
    const temporary = await temporaryPath('.db')
    try {
      await writeTemporary(temporary, decompressed(chunksOf(path, { signal, onProgress }), { path }))
      const file = await runTask({ kind: 'openSnapshot', path: temporary, verify: true, format: 'mylibsql' })
      if (file.trailer.lastFrameNo === lastFrameNo) return Snapshot.fromFile(file, { temporary: true })
      const message = `${path} is named for frame ${lastFrameNo}, but its last frame is ${file.trailer.lastFrameNo}`
      throw new MylibsqlError('ERR_CORRUPT', message, { path })
    } catch (error) {
      await removeTemporaryFile(temporary)
      throw readError(namedAs(path, error, temporary), path)
    }
  }

  /** What is replaced has to be of the same history: a snapshot of another one must not take its place. */
  async #checkReplaced(name: string, snapshot: Snapshot): Promise<void> {
    const stored = await this.#findSnapshot(name)
    if (stored === undefined) return
    const found = await this.#readSnapshot(stored.lastFrameNo, stored.id, undefined, undefined)
    try {
      checkOwnSnapshot(found, stored.id, snapshot)
    } finally {
      await found.close()
    }
  }

  async #findSnapshot(name: string): Promise<StoredSnapshot | undefined> {
    const id = this.#folder.pathOf('snapshots', name)
    const found = await findObject(id)
    return found === undefined ? undefined : { id, lastFrameNo: lastFrameNoOf(name), ...found }
  }

  /** Where a snapshot of this store is; one of another store is the caller's mistake. */
  #pathOf({ id }: StoredLog | StoredSnapshot): string {
    if (dirname(id) === join(this.#folder.path, 'snapshots')) return id
    throw new TypeError(`${id} is no object of the store ${this.url}`)
  }

  #checkOpen(): void {
    if (this.#ending.signal.aborted) throw new MylibsqlError('ERR_CLOSED', `The store ${this.url} is closed`)
  }

  async #call<T>(
    method: string,
    limits: CallLimits | undefined,
    operation: (signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> {
    const { signal } = checkOptions(limits, { signal: optional(checkSignal) }, `FileStore.${method}`)
    this.#checkOpen()
    signal?.throwIfAborted()
    return unlessAborted(operation(signal), signal)
  }

  /** One that moves few bytes: it is waited for so long and no longer. */
  #callSoon<T>(method: string, limits: CallLimits | undefined, operation: () => Promise<T>): Promise<T> {
    const late = () => {
      const what = `${this.url}: ${method} has not been answered for ${this.#timeoutMs} ms`
      throw new MylibsqlError('ERR_STORE', `${what}; whether it will take place is not known`)
    }
    return this.#call(method, limits, () => within(operation(), this.#timeoutMs, late))
  }
}

function isLog(stored: StoredLog | StoredSnapshot): stored is StoredLog {
  return 'startFrameNo' in stored
}

function present<T>(list: readonly (T | undefined)[]): T[] {
  return list.filter((one) => one !== undefined)
}
