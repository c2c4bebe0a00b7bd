/** What is done to segments of a FileStore besides adding logs to them. */
import { closeSync, fdatasyncSync, linkSync, openSync, renameSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { logName, startFrameNoOf } from '../protocol/object-names.js'
import { storeError } from '../protocol/store-error.js'
import type { TaskOf } from '../protocol/tasks.js'
import { copyRange, discardFile, syncPath } from './file-io.js'
import { createEnd, makeEnd, readEnd, removeEndsBefore } from './segment-end.js'
import { type Segment, scan, scanFile } from './segment-scan.js'
import { startsIn } from './store-listing.js'

/**
 * Whoever has claimed an epoch, or will add nothing more, says where the newest segment ends, if it may be added to. No
 * other one can be: who made it had the one before ended.
 */
export function endSegment({ storePath, epoch, isOwn, temporaryPath }: TaskOf<'endSegment'>): undefined {
  const folder = join(storePath, 'logs')
  try {
    const start = startsIn(folder).at(-1)
    if (start === undefined) return
    removeEndsBefore(storePath, start)
    const segment = scanFile(join(folder, logName(start)))?.segment
    if (segment === undefined) return
    const isMeant = isOwn ? segment.epoch === epoch : segment.epoch < epoch
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
  byteOffset,
  temporaryPath,
}: TaskOf<'splitSegment'>): undefined {
  try {
    const fd = openSync(path, 'r')
    try {
      const { segment } = scan(fd)
      const index = segment?.logs.findIndex((log) => log.byteOffset === byteOffset) ?? -1
      if (segment === undefined || index === -1) throw moved(path, byteOffset)
      const [first, ...others] = partsOf(segment, index)
      const last = others.at(-1)
      if (last !== undefined) keepEnd(storePath, path, segment, last, temporaryPath)
      for (const part of others.reverse())
        writePart(fd, part, temporaryPath, (written) => link(written, storePath, part))
      if (others.length > 0) syncPath(dirname(path))
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

/** The logs before the one at `index`, that one, and those behind it, as far as there are any. */
function partsOf({ logs, endOffset }: Segment, index: number): Part[] {
  const places = [...new Set([0, index, index + 1])].filter((at) => at < logs.length)
  return places.map((at, no) => {
    const { startFrameNo, byteOffset } = logs[at]!
    return { startFrameNo, byteOffset, endOffset: logs[places[no + 1] ?? -1]?.byteOffset ?? endOffset }
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

/** That the last part is not added to has to be said of it, as it was of the whole. */
function keepEnd(
  storePath: string,
  path: string,
  { epoch }: Segment,
  { startFrameNo, byteOffset, endOffset }: Part,
  temporaryPath: string,
): void {
  const start = startFrameNoOf(basename(path))
  const end = start === undefined ? undefined : readEnd(storePath, start, epoch)
  if (end === undefined) return
  createEnd(storePath, startFrameNo, { ...end, byteLength: endOffset - byteOffset }, temporaryPath)
}

/** One that is there already is of an earlier attempt, or has taken the place of that. */
function link(written: string, storePath: string, { startFrameNo }: Part): void {
  try {
    linkSync(written, join(storePath, 'logs', logName(startFrameNo)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function moved(path: string, byteOffset: number): MylibsqlError {
  const message = `${path} holds no log at byte ${byteOffset} (any more)`
  return new MylibsqlError('ERR_NOT_FOUND', message, { path, byteOffset })
}
