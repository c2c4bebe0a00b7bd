import { describe, expect, it } from 'vitest'
import type { ErrorCode } from '../../src/protocol/errors.js'
import { type LogFile, logHeader, logHeaderBytesV2, mergedLogHeader } from '../../src/protocol/log-format.js'
import { type LogPosition, planLogs } from '../../src/protocol/log-sequence.js'

const at = (nextFrameNo: number, checksum: bigint | undefined = 10n, pageSize = 4096): LogPosition => ({
  nextFrameNo,
  checksum,
  pageSize,
})

/** A v3 log of frames [start, end): checksums before and after are the numbers, times `history`. */
function log(start: number, end: number, history = 1n, pageSize = 4096): LogFile {
  const header = logHeader({
    pageSize,
    startFrameNo: start,
    frameCount: end - start,
    startChecksum: BigInt(start) * history,
    endChecksum: BigInt(end) * history,
  })
  return { location: { path: `/${start}-${end}.log` }, header }
}

function logV2(start: number, end: number): LogFile {
  const { location, header } = log(start, end)
  return {
    location,
    header: {
      ...header,
      version: 2,
      headerBytes: logHeaderBytesV2,
      startChecksum: 0n,
      endChecksum: undefined,
    },
  }
}

/** The checksum at a boundary, the same for all. */
const boundaryChecksum = 4n

function merged(start: number, end: number, boundaries: readonly number[], history?: bigint): LogFile {
  const { location, header } = log(start, end, history)
  const { headerBytes: _, ...fields } = header
  const table = boundaries.map((frameNo) => ({ frameNo, checksum: boundaryChecksum }))
  return {
    location,
    header: mergedLogHeader({
      ...fields,
      merged: { recordCount: 1, recordsChecksum: 9n, boundaries: table },
    }),
  }
}

const apply = (fromFrameNo: number, frameCount: number, overlaps = false) => ({
  kind: 'apply',
  fromFrameNo,
  frameCount,
  overlaps,
})
const skip = { kind: 'skip' }

describe('planLogs', () => {
  it.each<[string, LogPosition, LogFile[], object[]]>([
    ['no logs', at(10), [], []],
    ['exactly at', at(10), [log(10, 15)], [apply(10, 5)]],
    ['from the beginning', at(0, 0n), [log(0, 3), log(3, 4)], [apply(0, 3), apply(3, 1)]],
    ['one after the other', at(10), [log(10, 15), log(15, 16)], [apply(10, 5), apply(15, 1)]],
    ['applied already', at(10), [log(3, 8), log(8, 10)], [skip, skip]],
    ['applied already, further back', at(10), [log(3, 8, 7n)], [skip]],
    ['overlap', at(10), [log(5, 15)], [apply(10, 5, true)]],
    ['the same again', at(10), [log(10, 15), log(10, 15)], [apply(10, 5), skip]],
    ['overlapping each other', at(10), [log(10, 15), log(12, 20)], [apply(10, 5), apply(15, 5, true)]],
    ['empty at', at(10), [log(10, 10), log(10, 11)], [skip, apply(10, 1)]],
    ['empty before', at(10), [log(4, 4)], [skip]],
    ['empty of another page size', at(10), [log(10, 10, 1n, 512)], [skip]],
    ['merged, at its start', at(10), [merged(10, 15, [12])], [apply(10, 5)]],
    ['merged, at a boundary', at(12, boundaryChecksum), [merged(10, 15, [11, 12])], [apply(12, 3)]],
    ['merged, applied already', at(15, 15n), [merged(10, 15, [12])], [skip]],
    ['merged, and what follows', at(10), [merged(10, 15, []), log(15, 16)], [apply(10, 5), apply(15, 1)]],
    [
      'merged after v2: known when read',
      at(10, 77n),
      [logV2(10, 12), merged(10, 15, [12])],
      [apply(10, 2), apply(12, 3)],
    ],
    ['v2 carries no lineage', at(10, 77n), [logV2(10, 15)], [apply(10, 5)]],
    ['v3 after v2: known when read', at(10), [logV2(10, 15), log(15, 16, 9n)], [apply(10, 5), apply(15, 1)]],
  ])('%s', (_, position, logs, steps) => {
    expect(planLogs(position, logs)).toEqual(steps)
  })

  it.each<[string, LogPosition, LogFile[], ErrorCode, object]>([
    ['gap', at(10), [log(11, 15)], 'ERR_LOG_GAP', { expected: 10, actual: 11, path: '/11-15.log' }],
    ['gap between', at(10), [log(10, 12), log(13, 15)], 'ERR_LOG_GAP', { expected: 12, actual: 13 }],
    ['empty beyond', at(10), [log(11, 11)], 'ERR_LOG_GAP', { expected: 10, actual: 11 }],
    ['v2 gap', at(10), [logV2(11, 12)], 'ERR_LOG_GAP', { expected: 10, actual: 11 }],
    ['fork', at(10), [log(10, 12, 2n)], 'ERR_LINEAGE', { frameNo: 10, path: '/10-12.log' }],
    ['fork that ends here', at(10), [log(3, 10, 7n)], 'ERR_LINEAGE', { frameNo: 10 }],
    ['fork between', at(10), [log(10, 12), log(12, 13, 2n)], 'ERR_LINEAGE', { frameNo: 12 }],
    ['merged, beyond', at(9), [merged(10, 15, [12])], 'ERR_LOG_GAP', { expected: 9, actual: 10 }],
    ['merged, between', at(11), [merged(10, 15, [12])], 'ERR_LOG_GAP', { expected: 11, path: '/10-15.log' }],
    ['merged, without boundaries', at(11), [merged(10, 15, [])], 'ERR_LOG_GAP', { expected: 11 }],
    ['merged, fork', at(10), [merged(10, 15, [12], 2n)], 'ERR_LINEAGE', { frameNo: 10 }],
    ['merged, fork at a boundary', at(12), [merged(10, 15, [12])], 'ERR_LINEAGE', { frameNo: 12 }],
    ['merged, fork that ends here', at(15, 7n), [merged(10, 15, [12])], 'ERR_LINEAGE', { frameNo: 15 }],
    ['page size', at(10), [log(10, 12, 1n, 512)], 'ERR_PAGE_SIZE', { expected: 4096, actual: 512 }],
  ])('%s is refused', (_, position, logs, code, details) => {
    expect(() => planLogs(position, logs)).toThrow(
      expect.objectContaining({ code, details: expect.objectContaining(details) }),
    )
  })
})
