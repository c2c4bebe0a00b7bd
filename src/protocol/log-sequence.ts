/**
 * Which frames of a log are applied at a position of a history. The one rule that snapshots, primaries and
 * replicas share:
 *
 *     log ends at or before the position    skipped: it is applied already; a v3 log that ends at the position
 *                                           must end with its checksum
 *     log starts at the position            all of it; a v3 log must name the position's checksum
 *     log starts before, ends after         the new part; the frame before it must have the position's checksum
 *     the same, and it is merged            all of it, at one of its boundaries; elsewhere ERR_LOG_GAP
 *     log starts after the position         ERR_LOG_GAP, also when it is empty
 *
 * Version 2 logs carry no lineage; all that can be asked of them is that the position is the end of a
 * transaction.
 */
import { MylibsqlError } from './errors.js'
import type { FrameNo } from './frame.js'
import { type LogFile, type LogHeader, logNextFrameNo, type Where } from './log-format.js'
import type { MergeTable } from './merge-table.js'

export interface LogPosition {
  readonly nextFrameNo: FrameNo
  /** Chained checksum of the frame before; undefined when it takes reading the frames of a v2 log to know. */
  readonly checksum: bigint | undefined
  /** Bytes. */
  readonly pageSize: number
}

export type LogStep =
  | { readonly kind: 'skip' }
  | {
      readonly kind: 'apply'
      readonly fromFrameNo: FrameNo
      readonly frameCount: number
      /**
       * The frame before `fromFrameNo` is in this log: its record has to be compared with the position. Not so in a
       * merged log, of which all records are applied.
       */
      readonly overlaps: boolean
    }

/** What to do with one log. Throws ERR_PAGE_SIZE, ERR_LOG_GAP, ERR_LINEAGE. */
export function planLog(position: LogPosition, header: LogHeader, where: Where = {}): LogStep {
  const { nextFrameNo, checksum } = position
  const name = where.path ?? 'The log'
  const endFrameNo = logNextFrameNo(header)
  if (header.frameCount > 0 && header.pageSize !== position.pageSize) {
    const message = `${name} has pages of ${header.pageSize} bytes, the database of ${position.pageSize}`
    throw new MylibsqlError('ERR_PAGE_SIZE', message, {
      ...where,
      expected: position.pageSize,
      actual: header.pageSize,
    })
  }
  if (header.startFrameNo > nextFrameNo) {
    const message = `${name} starts at frame ${header.startFrameNo}, frame ${nextFrameNo} is needed first`
    throw new MylibsqlError('ERR_LOG_GAP', message, {
      ...where,
      expected: nextFrameNo,
      actual: header.startFrameNo,
    })
  }
  if (endFrameNo <= nextFrameNo) {
    // The end of what was applied is where the position stands: a fork of the same length shows here.
    const { endChecksum } = header
    const isComparable = header.version === 3 && header.frameCount > 0 && endFrameNo === nextFrameNo
    if (isComparable && checksum !== undefined && endChecksum !== undefined && endChecksum !== checksum) {
      throw lineageError(where, nextFrameNo, checksum, endChecksum)
    }
    return { kind: 'skip' }
  }
  const overlaps = header.startFrameNo < nextFrameNo
  if (!overlaps && header.version === 3 && checksum !== undefined && header.startChecksum !== checksum) {
    throw lineageError(where, nextFrameNo, checksum, header.startChecksum)
  }
  const frameCount = endFrameNo - nextFrameNo
  if (header.merged === undefined) return { kind: 'apply', fromFrameNo: nextFrameNo, frameCount, overlaps }
  if (overlaps) checkBoundary(position, header.merged, where)
  return { kind: 'apply', fromFrameNo: nextFrameNo, frameCount, overlaps: false }
}

/** Whether a merged log that began before the position may be taken there. */
function checkBoundary(
  { nextFrameNo, checksum }: LogPosition,
  { boundaries }: MergeTable,
  where: Where,
): void {
  const boundary = boundaries.find(({ frameNo }) => frameNo === nextFrameNo)
  if (boundary === undefined) {
    const before = boundaries.filter(({ frameNo }) => frameNo < nextFrameNo).at(-1)
    const after = boundaries.find(({ frameNo }) => frameNo > nextFrameNo)
    const around = [before, after].flatMap((found) => (found === undefined ? [] : [found.frameNo]))
    const list = around.length === 0 ? 'none' : around.join(' and ')
    const message =
      `${where.path ?? 'The log'} is merged: it is taken at its start and at its boundaries, and frame ` +
      `${nextFrameNo} is neither (boundaries nearby: ${list})`
    throw new MylibsqlError('ERR_LOG_GAP', message, { ...where, expected: nextFrameNo })
  }
  if (checksum !== undefined && boundary.checksum !== checksum) {
    throw lineageError(where, nextFrameNo, checksum, boundary.checksum)
  }
}

/** What to do with each of `logs`, in order, as far as headers alone can tell. Throws as planLog. */
export function planLogs(position: LogPosition, logs: readonly LogFile[]): LogStep[] {
  let at = position
  return logs.map(({ header, location }) => {
    const step = planLog(at, header, 'path' in location ? { path: location.path } : {})
    if (step.kind === 'apply') {
      at = { ...at, nextFrameNo: logNextFrameNo(header), checksum: header.endChecksum }
    }
    return step
  })
}

/** The log (or batch) continues another history than the one that stands before `frameNo`. */
export function lineageError(
  where: Where,
  frameNo: FrameNo,
  expected: bigint,
  actual: bigint,
): MylibsqlError {
  const [expectedHex, actualHex] = [hex(expected), hex(actual)]
  const message =
    `${where.path ?? 'The log'} belongs to another history: before frame ${frameNo} it has checksum ${actualHex}, ` +
    `here it is ${expectedHex}`
  return new MylibsqlError('ERR_LINEAGE', message, {
    ...where,
    frameNo,
    expected: expectedHex,
    actual: actualHex,
  })
}

function hex(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0')
}
