/**
 * Where the newest segment ends, once and for all. Its primary may be paused in the midst of adding a log to it, and go
 * on any time later; so whoever comes next says what counts:
 *
 *     a newer epoch was claimed               before: what the older primary stores from now on, it does not acknowledge
 *     look at the logs of the segment         among them all that were acknowledged
 *     sync the file                           none of them is lost any more
 *     create ends/START_FRAME, create-only    of two who look at different times, one says it
 *
 * A log that comes to lie behind the end is no part of the history. A primary says the same of its own segment when it will
 * add nothing more. Once there is a newer file, that one says where the segment ends: where it begins itself.
 *
 *     { "epoch": of the segment, "nextFrameNo": behind its last log, "byteLength": up to there }
 */
import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { endName, logName, startOfEnd } from '../protocol/object-names.js'
import { storeError } from '../protocol/store-error.js'
import { discardFile, syncPath, writeAll } from './file-io.js'
import { scan } from './segment-scan.js'

export interface SegmentEnd {
  /** Of the segment: one of another epoch at the same place has another end. */
  readonly epoch: number
  readonly nextFrameNo: FrameNo
  /** Of the segment, up to the end of its last log. */
  readonly byteLength: number
}

/** Undefined when nobody has said it. Throws ERR_STORE, ERR_CORRUPT. */
export function readEnd(storePath: string, startFrameNo: FrameNo, epoch: number): SegmentEnd | undefined {
  const path = endPath(storePath, startFrameNo)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw storeError(error, 'read', path)
  }
  const end = parsed(text)
  if (end !== undefined) return end.epoch === epoch ? end : undefined
  throw new MylibsqlError('ERR_CORRUPT', `${path} does not say where a segment ends: it is damaged`, { path })
}

/** Says it, unless somebody has: what counts is returned, undefined when the file is no such segment. Throws what the system says. */
export function makeEnd(
  storePath: string,
  startFrameNo: FrameNo,
  epoch: number,
  temporaryPath: string,
): SegmentEnd | undefined {
  const fd = openSync(join(storePath, 'logs', logName(startFrameNo)), 'r+')
  try {
    const { segment } = scan(fd, { checksLast: true })
    const last = segment?.logs.at(-1)
    if (segment?.epoch !== epoch || last === undefined) return undefined
    fdatasyncSync(fd)
    const { nextFrameNo } = last
    createEnd(storePath, startFrameNo, { epoch, nextFrameNo, byteLength: segment.endOffset }, temporaryPath)
    const end = readEnd(storePath, startFrameNo, epoch)
    // Room that is not needed. What is written there later does not count.
    if (end !== undefined && end.byteLength < fstatSync(fd).size) ftruncateSync(fd, end.byteLength)
    return end
  } finally {
    closeSync(fd)
  }
}

/** Create-only, and durable. Throws what the system says. */
export function createEnd(
  storePath: string,
  startFrameNo: FrameNo,
  end: SegmentEnd,
  temporaryPath: string,
): void {
  const path = endPath(storePath, startFrameNo)
  try {
    const fd = openSync(temporaryPath, 'wx', 0o644)
    try {
      writeAll(fd, Buffer.from(`${JSON.stringify(end)}\n`), 0)
      fdatasyncSync(fd)
    } finally {
      closeSync(fd)
    }
    linkSync(temporaryPath, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw storeError(error, 'write', path)
  } finally {
    discardFile(temporaryPath)
  }
  syncPath(join(storePath, 'ends'))
}

/** Those of segments that begin before the newest file. */
export function removeEndsBefore(storePath: string, newestStart: FrameNo): void {
  for (const name of readdirSync(join(storePath, 'ends'))) {
    const startFrameNo = startOfEnd(name)
    if (startFrameNo !== undefined && startFrameNo < newestStart) discardFile(join(storePath, 'ends', name))
  }
}

function endPath(storePath: string, startFrameNo: FrameNo): string {
  return join(storePath, 'ends', endName(startFrameNo))
}

function parsed(text: string): SegmentEnd | undefined {
  try {
    const { epoch, nextFrameNo, byteLength } = JSON.parse(text)
    const isEnd = [epoch, nextFrameNo, byteLength].every(Number.isSafeInteger)
    return isEnd ? { epoch, nextFrameNo, byteLength } : undefined
  } catch {
    return undefined
  }
}
