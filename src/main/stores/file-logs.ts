/** The logs of a FileStore: in files of their own, and in segments (protocol/segment-format.ts). */
import { open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import type { LogFile } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import { epochOf, logName, startFrameNoOf } from '../../protocol/object-names.js'
import { type SegmentTail, segmentBlockBytes, segmentRecordBytes } from '../../protocol/segment-format.js'
import { storeError } from '../../protocol/store-error.js'
import { Log } from '../log.js'
import { runStoreTask } from '../task-pool.js'
import { gathered } from './compression.js'
import { FileAppender } from './file-appender.js'
import { followLogs } from './file-follow.js'
import { findObject, notFound, readError, readLogObject, writeLogObject } from './file-objects.js'
import { firstOfSegment } from './log-finder.js'
import { logObject, plainParts } from './log-object.js'
import { LogOpener } from './log-opener.js'
import { isSameLog, type LogPlace, placedLog, placeOf } from './log-place.js'
import { checkReplaces } from './log-positions.js'
import type { AppendedLog, FollowLogsOptions, StoredLog } from './store.js'
import type { StoreFolder } from './store-folder.js'
import { checkOwnLog, stampedHeader } from './stored-log.js'

interface Settings {
  readonly compression: Compression | 'none'
  /** For the lock of the store. */
  readonly timeoutMs: number
}

export class FileLogs {
  readonly #folder: StoreFolder
  readonly #settings: Settings
  readonly #appender: FileAppender
  readonly #opener = new LogOpener((locations) => runStoreTask({ kind: 'openStoredLogs', locations }))
  /** Epochs that were claimed here: nobody else appends under them. */
  readonly #ownEpochs = new Set<number>()
  /** Logs that were listed: what is listed is part of the history for good. */
  readonly #listed = new WeakSet<StoredLog>()

  constructor(folder: StoreFolder, settings: Settings) {
    this.#folder = folder
    this.#settings = settings
    this.#appender = new FileAppender(folder)
  }

  /**
   * Those that begin at `from` or later, up to the first one behind `upTo`, and the last one before. Throws ERR_STORE,
   * ERR_NOT_FOUND, ERR_CORRUPT.
   */
  async list(from?: FrameNo, upTo?: FrameNo): Promise<StoredLog[]> {
    return (await this.#list(from, upTo)).logs
  }

  async #list(from?: FrameNo, upTo?: FrameNo): Promise<{ logs: StoredLog[]; tookMs: number }> {
    const { path: storePath } = this.#folder
    const temporaryPath = this.#folder.newTemporaryPath()
    const found = await this.#folder.read('logs', () =>
      runStoreTask({ kind: 'listLogs', storePath, from, upTo, temporaryPath }),
    )
    const { logs: listed, tookMs } = found ?? { logs: [], tookMs: 0 }
    const logs = listed.map(placedLog)
    for (const stored of logs) this.#listed.add(stored)
    return { logs, tookMs }
  }

  /** The epoch was claimed here; what is said of older ones is said for good. Throws ERR_STORE. */
  async claimed(epoch: number): Promise<void> {
    await this.#endSegment(epoch)
    this.#ownEpochs.add(epoch)
  }

  /** Nothing is added to it any more. Throws ERR_STORE. */
  async endTail({ path, epoch }: SegmentTail): Promise<void> {
    if (this.#ownEpochs.has(epoch)) await this.#endSegment(epoch, startFrameNoOf(basename(path)))
  }

  /** Throws ERR_FENCED when another log begins there. ERR_STORE. */
  async append(file: LogFile, epoch: number, takesTail: boolean): Promise<AppendedLog> {
    const { startFrameNo } = file.header
    const header = stampedHeader(file.header, epoch)
    const name = logName(startFrameNo)
    // A place inside a segment has no name that would be taken. Of an epoch that is one's own, nobody else wrote there.
    const isFree = this.#ownEpochs.has(epoch) || (await this.#find(startFrameNo)) === undefined
    const made = isFree ? await this.#make(name, header, file, { epoch, takesTail }) : undefined
    if (made !== undefined) return { id: this.#folder.pathOf('logs', name), startFrameNo, ...made }
    const stored = await this.#storedLog(startFrameNo)
    const found = await this.read(stored, undefined)
    try {
      checkOwnLog(found, stored.id, file.header, epoch)
    } finally {
      await found.close()
    }
    // The earlier attempt may have failed just there.
    await this.#folder.syncFolder('logs')
    return stored
  }

  /** Throws ERR_NOT_FOUND, ERR_NOT_A_LOG, ERR_CORRUPT, ERR_STORE. */
  async read(stored: StoredLog, signal: AbortSignal | undefined): Promise<Log> {
    const place = this.place(stored)
    if (place.byteOffset !== undefined) return this.#readFromSegment(stored, place, signal)
    const isSmall = stored.byteLength <= logMemoryBytesMax
    const small = isSmall ? await this.#opener.open({ path: place.path }) : undefined
    const log = small ?? (await readLogObject(place.path, signal))
    if (log.startFrameNo === stored.startFrameNo) return log
    await log.close()
    const message = `${place.path} is named for frame ${stored.startFrameNo}, but holds frames from ${log.startFrameNo} on`
    const details = { path: place.path, expected: stored.startFrameNo, actual: log.startFrameNo }
    throw new MylibsqlError('ERR_CORRUPT', message, details)
  }

  /** Where a log of this store is; one of another store is the caller's mistake. */
  place(stored: StoredLog): LogPlace {
    const place = placeOf(stored)
    if (dirname(place.path) === join(this.#folder.path, 'logs')) return place
    throw new TypeError(`${stored.id} is no object of the store file:${this.#folder.path}`)
  }

  follow(from: FrameNo, options: FollowLogsOptions): AsyncGenerator<StoredLog, void, undefined> {
    const folder = {
      storePath: this.#folder.path,
      list: (start: FrameNo) => this.#list(start),
      isNewestEpoch: (epoch: number) => this.#isNewest(epoch),
      findFirst: (startFrameNo: FrameNo) => this.#findFirst(startFrameNo),
    }
    return followLogs(folder, from, options)
  }

  /** Throws as Store.replaceLog. */
  async replace(log: Log, signal: AbortSignal | undefined): Promise<StoredLog> {
    return log.use(async (file) => {
      const { startFrameNo, epoch } = file.header
      const header = stampedHeader(file.header, epoch)
      const name = logName(startFrameNo)
      const { compression, timeoutMs } = this.#settings
      const made = await this.#folder.replace(
        'logs',
        name,
        (temporary) => writeLogObject(temporary, file, header, compression),
        { timeoutMs, isMeant: () => this.#isReplacedBy(log, signal) },
      )
      if (made === undefined) return this.#storedLog(startFrameNo)
      return { id: this.#folder.pathOf('logs', name), startFrameNo, ...made }
    })
  }

  /** What is not there, was replaced since, or may still be added to is passed over. Throws ERR_STORE, ERR_LOCKED. */
  async remove(logs: readonly StoredLog[]): Promise<void> {
    if (logs.length === 0) return
    for (const stored of logs) this.place(stored)
    await this.#folder.removeChosen('logs', this.#settings.timeoutMs, () => this.#removableNames(logs))
  }

  /** Segments stay as they are: a primary may still add to them. */
  async close(): Promise<void> {
    await this.#appender.close()
  }

  async #make(
    name: string,
    header: Uint8Array,
    file: LogFile,
    { epoch, takesTail }: { epoch: number; takesTail: boolean },
  ): Promise<Omit<AppendedLog, 'id' | 'startFrameNo'> | undefined> {
    const { compression } = this.#settings
    const packs = compression === 'lz4'
    const parts = plainParts(file, header)
    if (!this.#appender.takes(file, takesTail, packs) || parts === undefined) {
      return this.#folder.create('logs', name, (path) => writeLogObject(path, file, header, compression))
    }
    const { pieces, records } = parts
    if (packs) return this.#appender.append(name, pieces, { packs, ...(records && { records }) })
    if (compression !== 'none') {
      const object = await gathered(logObject(file, header, compression))
      return this.#appender.append(name, [object], {})
    }
    // A segment holds plain logs only.
    const tailOf = takesTail && this.#ownEpochs.has(epoch) ? epoch : undefined
    return this.#appender.append(name, pieces, { tailOf })
  }

  async #readFromSegment(
    stored: StoredLog,
    { path, byteOffset = 0 }: LogPlace,
    signal: AbortSignal | undefined,
  ): Promise<Log> {
    const log = await this.#opener.open({ path, byteOffset })
    const isHere = log?.startFrameNo === stored.startFrameNo && log.byteLength === stored.byteLength
    if (isHere && (await this.#counts(stored, log.epoch))) return log
    const now = await this.#find(stored.startFrameNo)
    if (now === undefined || !isSameLog(now, stored)) throw notFound(stored.id)
    if (now.id !== stored.id) return this.read(now, signal)
    if (isHere) return log
    try {
      return await Log.from((await readRange(path, byteOffset, stored.byteLength)) ?? new Uint8Array())
    } catch (error) {
      throw readError(error, stored.id)
    }
  }

  /** Whether a log that is there is part of the history for good; false: that has to be looked at more closely. */
  async #counts(stored: StoredLog, epoch: number): Promise<boolean> {
    return this.#listed.has(stored) || this.#isNewest(epoch)
  }

  async #isNewest(epoch: number): Promise<boolean> {
    const epochs = (await this.#folder.names('epochs')).map((name) => epochOf(name) ?? 0)
    return Math.max(0, ...epochs) <= epoch
  }

  async #findFirst(startFrameNo: FrameNo): Promise<StoredLog | undefined> {
    const id = this.#folder.pathOf('logs', logName(startFrameNo))
    const found = await findObject(id)
    if (found === undefined) return undefined
    const mayBeSegment = found.byteLength > 0 && found.byteLength % segmentBlockBytes === 0
    const first = mayBeSegment ? await firstOfSegment(dirname(id), startFrameNo) : undefined
    const isAlone = first === undefined || first.byteLength === found.byteLength
    return isAlone ? { id, startFrameNo, ...found } : first
  }

  /** @throws ERR_NOT_FOUND */
  async #storedLog(startFrameNo: FrameNo): Promise<StoredLog> {
    const stored = await this.#find(startFrameNo)
    if (stored === undefined) throw notFound(this.#folder.pathOf('logs', logName(startFrameNo)))
    return stored
  }

  async #find(startFrameNo: FrameNo): Promise<StoredLog | undefined> {
    const listed = await this.list(startFrameNo, startFrameNo)
    return listed.find((stored) => stored.startFrameNo === startFrameNo)
  }

  /** Under the lock. One that shares its file with others gets one of its own. */
  async #isReplacedBy(log: Log, signal: AbortSignal | undefined): Promise<boolean> {
    const stored = await this.#storedLog(log.startFrameNo)
    if (stored.isOpen === true) throw stillOpen(stored)
    const found = await this.read(stored, signal)
    try {
      if (!(await checkReplaces(log, found, stored.id))) return false
    } finally {
      await found.close()
    }
    const { path, byteOffset } = this.place(stored)
    if (byteOffset !== undefined) await this.#split(path, [byteOffset, endOffsetOf(stored, byteOffset)])
    return true
  }

  /** Under the lock: files of which every log is to be removed. Those that share one with others get one of their own first. */
  async #removableNames(logs: readonly StoredLog[]): Promise<string[]> {
    const names = new Set<string>()
    const byStart = new Map(logs.map((stored) => [stored.startFrameNo, stored]))
    const [from, upTo] = [Math.min(...byStart.keys()), Math.max(...byStart.keys())]
    for (;;) {
      // The last one before tells whether the first one has its file to itself.
      const listed = await this.list(from, upTo)
      const isMeant = (stored: StoredLog) => {
        const meant = byStart.get(stored.startFrameNo)
        return stored.isOpen !== true && meant !== undefined && isSameLog(meant, stored)
      }
      let isSplit = false
      names.clear()
      for (const [path, inside] of this.#byPath(listed)) {
        const meant = inside.filter(isMeant)
        if (meant.length === inside.length) names.add(basename(path))
        else if (meant.length > 0) {
          await this.#split(path, cutOffsets(inside, isMeant))
          isSplit = true
        }
      }
      if (isSplit) continue
      const temporaryPath = this.#folder.newTemporaryPath()
      const task = { storePath: this.#folder.path, names: [...names], temporaryPath }
      await runStoreTask({ kind: 'cutSegments', ...task })
      return [...names]
    }
  }

  #byPath(logs: readonly StoredLog[]): Map<string, StoredLog[]> {
    const byPath = new Map<string, StoredLog[]>()
    for (const stored of logs) {
      const { path } = this.place(stored)
      const inside = byPath.get(path)
      if (inside === undefined) byPath.set(path, [stored])
      else inside.push(stored)
    }
    return byPath
  }

  async #split(path: string, cutOffsets: readonly number[]): Promise<void> {
    const temporaryPath = this.#folder.newTemporaryPath()
    const { path: storePath } = this.#folder
    await runStoreTask({ kind: 'splitSegment', storePath, path, cutOffsets, temporaryPath })
  }

  async #endSegment(epoch: number, ownStart?: FrameNo): Promise<void> {
    const temporaryPath = this.#folder.newTemporaryPath()
    await runStoreTask({ kind: 'endSegment', storePath: this.#folder.path, epoch, ownStart, temporaryPath })
  }
}

/** Of logs of one segment: where those begin of which only some are meant, or the others. */
function cutOffsets(inside: readonly StoredLog[], isMeant: (stored: StoredLog) => boolean): number[] {
  const changes = inside.filter(
    (stored, index) => index > 0 && isMeant(stored) !== isMeant(inside[index - 1]!),
  )
  return changes.map((stored) => placeOf(stored).byteOffset ?? 0)
}

function endOffsetOf({ byteLength }: StoredLog, byteOffset: number): number {
  return byteOffset + segmentRecordBytes(byteLength)
}

/** Undefined when there is no such file; fewer bytes where it ends. */
async function readRange(
  path: string,
  byteOffset: number,
  byteLength: number,
): Promise<Uint8Array | undefined> {
  try {
    const handle = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await handle.read(new Uint8Array(byteLength), 0, byteLength, byteOffset)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw storeError(error, 'read', path)
  }
}

function stillOpen({ id }: StoredLog): MylibsqlError {
  const message = `${id} cannot be replaced yet: its primary still adds logs to that file`
  return new MylibsqlError('ERR_LOCKED', message, { path: id })
}
