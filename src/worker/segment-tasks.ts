/** What is done to segments of a FileStore besides adding logs to them. */
import { closeSync, fdatasyncSync, linkSync, openSync, renameSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { logName, startFrameNoOf } from '../protocol/object-names.js'
import { storeError } from '../protocol/store-error.js'
import type { TaskOf } from '../protocol/tasks.js'
import { copyRange, discardFile, syncPath } from './file-io.js'
import { createEnd, makeEnd, readEnd, removeEndsBefore, type SegmentEnd } from './segment-end.js'
import { type ScannedFile, type SegmentLog, scan, scanFile } from './segment-scan.js'
import { startsIn } from './store-listing.js'

/**
 * Whoever has claimed an epoch says where the newest segment of an older one ends, if it may be added to. No other one can
 * be: who made it had the one before ended. Whoever will add nothing more to his own says so of that one only: the task may
 * be late, and he may have begun another.
 */
export function endSegment({ storePath, epoch, ownStart, temporaryPath }: TaskOf<'endSegment'>): undefined {
  const folder = join(storePath, 'logs')
  try {
    const start = startsIn(folder).at(-1)
    if (start === undefined) return
    removeEndsBefore(storePath, start)
    if (ownStart !== undefined && ownStart !== start) return
    const segment = scanFile(join(folder, logName(start)))?.segment
    if (segment === undefined) return
    const isMeant = ownStart === undefined ? segment.epoch < epoch : segment.epoch === epoch
    if (isMeant && readEnd(storePath, start, segment.epoch) === undefined)
      makeEnd(storePath, start, segment.epoch, temporaryPath)
  } catch (error) {
    throw storeError(error, 'end a segment in', folder)
  }
}

/**
 * In this order, so that it may end anywhere: the new files first, which take precedence over what the old one holds
 * from their start on; the old one last, which keeps the logs before the first new one. The caller holds the lock of the store.
 */
export function splitSegment({
  storePath,
  path,
  cutOffsets,
  temporaryPath,
}: TaskOf<'splitSegment'>): undefined {
  try {
    const fd = openSync(path, 'r')
    try {
      const counted = countedIn(storePath, path, scan(fd))
      const [first, ...others] = partsOf(counted, path, cutOffsets)
      if (others.length === 0) return
      const { end } = counted
      const last = others.at(-1)!
      // That the last part is not added to has to be said of it, as it was of the whole.
      if (end !== undefined) {
        const byteLength = last.endOffset - last.byteOffset
        createEnd(storePath, last.startFrameNo, { ...end, byteLength }, temporaryPath)
      }
      for (const part of others.reverse())
        writePart(fd, part, temporaryPath, (written) => link(written, storePath, part))
      syncPath(dirname(path))
      writePart(fd, first!, temporaryPath, (written) => renameSync(written, path))
      syncPath(dirname(path))
      removeEndsBefore(storePath, startsIn(dirname(path)).at(-1) ?? 0)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw storeError(error, 'split', path)
  }
}

/** What a split has left that was cut off, and a paused primary has added late. The caller holds the lock of the store. */
export function cutSegments({ storePath, names, temporaryPath }: TaskOf<'cutSegments'>): undefined {
  const folder = join(storePath, 'logs')
  try {
    const starts = startsIn(folder)
    const removed = new Set(names.map(startFrameNoOf))
    for (const [index, start] of starts.entries()) {
      const before = starts[index - 1]
      if (before === undefined || !removed.has(start) || removed.has(before)) continue
      cutSegment(join(folder, logName(before)), start, temporaryPath)
    }
  } catch (error) {
    throw storeError(error, 'cut segments in', folder)
  }
}

function cutSegment(path: string, nextStart: FrameNo, temporaryPath: string): void {
  const { segment } = scanFile(path) ?? {}
  const next = segment?.logs.find(({ startFrameNo }) => startFrameNo >= nextStart)
  const first = segment?.logs[0]
  if (next === undefined || first === undefined) return
  const fd = openSync(path, 'r')
  try {
    const { startFrameNo } = first
    const kept = { startFrameNo, byteOffset: 0, endOffset: next.byteOffset }
    writePart(fd, kept, temporaryPath, (written) => renameSync(written, path))
    syncPath(dirname(path))
  } finally {
    closeSync(fd)
  }
}

/** Logs that follow on each other. */
interface Part {
  readonly startFrameNo: FrameNo
  readonly byteOffset: number
  readonly endOffset: number
}

/** What of a segment is part of the history. */
interface Counted {
  readonly logs: readonly SegmentLog[]
  readonly endOffset: number
  /** Of the newest file. */
  readonly end: SegmentEnd | undefined
}

/**
 * Without what a primary has added late: behind its end, or behind the start of the next file. In a file of its own that
 * would take the place of a log that counts.
 */
function countedIn(storePath: string, path: string, { segment, byteLength }: ScannedFile): Counted {
  const start = startFrameNoOf(basename(path))
  if (segment === undefined || start === undefined) throw moved(path)
  const nextStart = startsIn(dirname(path)).find((other) => other > start)
  const end = nextStart === undefined ? readEnd(storePath, start, segment.epoch) : undefined
  const nextFrameNo = nextStart ?? end?.nextFrameNo
  if (nextFrameNo === undefined) {
    const message = `${path} cannot be split yet: its primary may still add logs to it`
    throw new MylibsqlError('ERR_LOCKED', message, { path })
  }
  const logs = segment.logs.filter(({ startFrameNo }) => startFrameNo < nextFrameNo)
  const byteOffset = segment.logs[logs.length]?.byteOffset ?? segment.endOffset
  const startFrameNo = logs.at(-1)!.nextFrameNo
  const restEnd = end?.byteLength ?? byteLength
  const isWhole =
    startFrameNo >= nextFrameNo || restEnd <= byteOffset || (end === undefined && !segment.isDirty)
  if (isWhole) return { logs, endOffset: byteOffset, end }
  // What cannot be read of the last ones stays: who comes to it is told.
  const rest = { byteOffset, byteLength: restEnd - byteOffset, startFrameNo, nextFrameNo, createdAtMs: 0 }
  return { logs: [...logs, rest], endOffset: restEnd, end }
}

function partsOf({ logs, endOffset }: Counted, path: string, cutOffsets: readonly number[]): Part[] {
  const cuts = [...new Set([0, ...cutOffsets])].filter((at) => at < endOffset).sort((a, b) => a - b)
  return cuts.map((byteOffset, no) => {
    const log = logs.find((other) => other.byteOffset === byteOffset)
    if (log === undefined) throw moved(path, byteOffset)
    return { startFrameNo: log.startFrameNo, byteOffset, endOffset: cuts[no + 1] ?? endOffset }
  })
}

/** As a segment of its own. */
function writePart(
  fd: number,
  { byteOffset, endOffset }: Part,
  temporaryPath: string,
  give: (temporaryPath: string) => void,
): void {
  try {
    const target = openSync(temporaryPath, 'wx', 0o644)
    try {
      copyRange(fd, byteOffset, target, 0, endOffset - byteOffset)
      fdatasyncSync(target)
    } finally {
      closeSync(target)
    }
    give(temporaryPath)
  } finally {
    discardFile(temporaryPath)
  }
}

/** One that is there already is of an earlier attempt, or has taken the place of that. */
function link(written: string, storePath: string, { startFrameNo }: Part): void {
  try {
    linkSync(written, join(storePath, 'logs', logName(startFrameNo)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function moved(path: string, byteOffset = 0): MylibsqlError {
  const message = `${path} holds no log at byte ${byteOffset} (any more)`
  return new MylibsqlError('ERR_NOT_FOUND', message, { path, byteOffset })
}
