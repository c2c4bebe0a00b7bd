/** The logs of a FileStore, in files of their own and in segments, as far as they count. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { newestEpoch } from '../protocol/epoch-name.js'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { logName, startFrameNoOf } from '../protocol/object-names.js'
import { segmentBlockBytes } from '../protocol/segment-format.js'
import { storeError } from '../protocol/store-error.js'
import type { ListedLog, TaskOf } from '../protocol/tasks.js'
import { makeEnd, readEnd, type SegmentEnd } from './segment-end.js'
import { type ScannedFile, type Segment, type SegmentLog, scanFile } from './segment-scan.js'

/** Each of them because files have come meanwhile, of which a split makes a few. */
const attemptsMax = 100

/**
 * By start frame: those that begin at `from` or later, and the last one that begins before. Each of them is part of the
 * history for good, as far as the store can tell: none is in the newest segment behind what may be decided otherwise.
 *
 * Throws ERR_STORE, ERR_CORRUPT.
 */
export function listLogs(task: TaskOf<'listLogs'>): { logs: ListedLog[]; tookMs: number } {
  const startMs = performance.now()
  const logs = logsOf(task)
  return { logs, tookMs: performance.now() - startMs }
}

function logsOf({ storePath, from, upTo, temporaryPath }: TaskOf<'listLogs'>): ListedLog[] {
  const folder = join(storePath, 'logs')
  try {
    let starts = startsIn(folder)
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const first = from === undefined ? 0 : starts.findLastIndex((start) => start < from)
      const behind = upTo === undefined ? -1 : starts.findIndex((start) => start > upTo)
      const wanted = starts.slice(Math.max(0, first), behind === -1 ? undefined : behind + 1)
      const listed = wanted.flatMap((start, index) => {
        const nextStart = wanted[index + 1] ?? starts[starts.indexOf(start) + 1]
        return logsIn(storePath, start, nextStart, temporaryPath)
      })
      // Was one of them split meanwhile? Then logs that were in it are in new files.
      const now = startsIn(folder)
      if (!isSplit(starts, now, wanted[0], listed)) return between(listed, from, upTo)
      starts = now
    }
  } catch (error) {
    throw storeError(error, 'list', folder)
  }
  throw new MylibsqlError('ERR_STORE', `${folder} changes faster than it can be listed`, { path: folder })
}

/** New names among the old ones are parts of a segment. So may be those behind all others, when the newest file was one. */
function isSplit(
  before: readonly FrameNo[],
  now: readonly FrameNo[],
  first: FrameNo | undefined,
  listed: readonly ListedLog[],
): boolean {
  const known = new Set(before)
  const newest = before.at(-1) ?? 0
  const wasSegment = listed.at(-1)?.byteOffset !== undefined
  return now.some((start) => !known.has(start) && start > (first ?? 0) && (start < newest || wasSegment))
}

function between(logs: ListedLog[], from: FrameNo | undefined, upTo: FrameNo | undefined): ListedLog[] {
  const first = from === undefined ? 0 : logs.findLastIndex(({ startFrameNo }) => startFrameNo < from)
  const behind = upTo === undefined ? -1 : logs.findIndex(({ startFrameNo }) => startFrameNo > upTo)
  return logs.slice(Math.max(0, first), behind === -1 ? undefined : behind + 1)
}

/** 0 in a copy of a store without its epochs. */
export function newestEpochIn(storePath: string): number {
  const path = join(storePath, 'epochs')
  return existsSync(path) ? newestEpoch(readdirSync(path)) : 0
}

/** Start frames of files, in order. */
export function startsIn(folder: string): FrameNo[] {
  const starts = readdirSync(folder).map(startFrameNoOf)
  return starts.filter((start) => start !== undefined).sort((left, right) => left - right)
}

/** The logs in one file. Those that begin where the next file does, or behind, are there instead. */
function logsIn(
  storePath: string,
  start: FrameNo,
  nextStart: FrameNo | undefined,
  temporaryPath: string,
): ListedLog[] {
  const path = join(storePath, 'logs', logName(start))
  const facts = statSync(path, { throwIfNoEntry: false })
  if (facts === undefined) return []
  const mayBeSegment = facts.size > 0 && facts.size % segmentBlockBytes === 0 && facts.isFile()
  const file = mayBeSegment ? scanFile(path, { checksLast: nextStart === undefined }) : undefined
  if (file?.segment === undefined) {
    const storedAtMs = facts.mtime.getTime()
    return [{ path, startFrameNo: start, byteLength: facts.size, storedAtMs, isOpen: false }]
  }
  if (nextStart === undefined) return logsInNewest(storePath, start, file, temporaryPath)
  const { logs, isDirty } = file.segment
  const rest = restUpTo(file.segment, { nextFrameNo: nextStart, byteLength: file.byteLength })
  const all = isDirty ? [...logs, ...rest] : logs
  return listed(
    path,
    all.filter(({ startFrameNo }) => startFrameNo < nextStart),
    false,
  )
}

/** Nothing follows it that would say where it ends. */
function logsInNewest(
  storePath: string,
  start: FrameNo,
  scanned: ScannedFile,
  temporaryPath: string,
): ListedLog[] {
  const path = join(storePath, 'logs', logName(start))
  const { epoch } = scanned.segment!
  let { segment } = scanned
  let end = readEnd(storePath, start, epoch)
  // Looked at behind the logs: if its epoch is the newest now, nobody has decided that they do not count, or can.
  if (end === undefined && newestEpochIn(storePath) > epoch) {
    end = unlessForbidden(() => makeEnd(storePath, start, epoch, temporaryPath))
    // Ends go when there is a newer file: this one may have had another.
    const nextStart = startsIn(join(storePath, 'logs')).find((other) => other > start)
    if (nextStart !== undefined) return logsIn(storePath, start, nextStart, temporaryPath)
    segment = scanFile(path)?.segment
  }
  if (segment === undefined) return []
  if (end === undefined) return listed(path, segment.logs, true)
  const { nextFrameNo } = end
  const logs = [...segment.logs, ...restUpTo(segment, end)]
  return listed(
    path,
    logs.filter((log) => log.nextFrameNo <= nextFrameNo),
    false,
  )
}

/** What should be there and cannot be read: who comes to it is told what is wrong. */
function restUpTo(
  { logs, endOffset }: Segment,
  end: Pick<SegmentEnd, 'nextFrameNo' | 'byteLength'>,
): SegmentLog[] {
  const startFrameNo = logs.at(-1)?.nextFrameNo
  if (startFrameNo === undefined || startFrameNo >= end.nextFrameNo) return []
  const byteLength = end.byteLength - endOffset
  return [{ byteOffset: endOffset, byteLength, startFrameNo, nextFrameNo: end.nextFrameNo, createdAtMs: 0 }]
}

/** Somebody who may only read takes what is there: whoever has claimed the newer epoch is about to say what counts. */
function unlessForbidden<T>(operation: () => T): T | undefined {
  try {
    return operation()
  } catch (error) {
    const { code } = ((error as Error).cause ?? error) as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOENT') return undefined
    throw error
  }
}

function listed(path: string, logs: readonly SegmentLog[], isOpen: boolean): ListedLog[] {
  return logs.map(({ byteOffset, byteLength, startFrameNo, createdAtMs }) => {
    return { path, byteOffset, startFrameNo, byteLength, storedAtMs: createdAtMs, isOpen }
  })
}
