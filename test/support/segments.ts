/** Segments of a FileStore, made log by log. */
import { FileStore, type Log, type StoredLog } from 'mylibsql'
import { onTestFinished } from 'vitest'
import type { SegmentTail } from '../../src/protocol/segment-format.js'
import { LogTail } from '../../src/worker/log-tail.js'
import { chain } from '../stores/contract.js'
import { temporaryFolder } from './folder.js'

/** Logs that come one after the other before one begins a segment. */
const plainCount = 4

export interface SegmentUnderTest {
  readonly dir: string
  readonly store: FileStore
  readonly epoch: number
  /** All of them, in order: four in files of their own, then those of the segment. */
  readonly logs: readonly Log[]
  readonly tail: SegmentTail
  /** The thread of the primary, as it adds logs. */
  readonly writer: LogTail
  /** Another process. */
  reopen(): FileStore
}

/** A store with one segment of `logCount` logs of 2 frames, and logs that come next. */
export async function storeWithSegment(logCount: number, nextCount = 4): Promise<SegmentUnderTest> {
  const dir = temporaryFolder()
  const reopen = () => {
    const store = new FileStore(dir)
    onTestFinished(() => store.close())
    return store
  }
  const store = reopen()
  const epoch = await store.claimEpoch('test')
  const logs = await chain(plainCount + logCount + nextCount)
  let tail: SegmentTail | undefined
  for (const log of logs.slice(0, plainCount + 1))
    ({ tail } = await store.append(log, epoch, { takesTail: true }))
  if (tail === undefined) throw new Error('no segment was begun')
  const writer = new LogTail(tail)
  onTestFinished(() => writer.close())
  for (const log of logs.slice(plainCount + 1, plainCount + logCount)) addTo(writer, log)
  return { dir, store, epoch, logs, tail, writer, reopen }
}

export function starts(logs: readonly StoredLog[]): number[] {
  return logs.map(({ startFrameNo }) => startFrameNo)
}

/** Stores a log of which the bytes are in memory. */
export function addTo(writer: LogTail, log: Log): ReturnType<LogTail['storeNow']> {
  const { location, header } = log.file
  if (!('bytes' in location)) throw new Error('the log is in a file')
  return writer.storeNow(location.bytes, header)
}
