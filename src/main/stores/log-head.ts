/** The beginning of a log, for a restore that ends inside it. */
import { decodeFrame, type Frame, type FrameNo, frameHeaderBytes } from '../../protocol/frame.js'
import type { LogFile } from '../../protocol/log-format.js'
import { Log } from '../log.js'
import { LogReader } from '../log-reader.js'

/** Frames that are looked at with one read. */
const stepFrames = 256

/** A head reads the file of its log, which must not be collected before it. */
const wholeOf = new WeakMap<Log, Log>()

/**
 * The transactions of `log`, which is not merged, that are complete with frame `toFrameNo`, as a log that shares its
 * bytes; undefined when there are none. Both are closed with closeWhole(head). When it throws, the log is closed.
 */
export async function headOf(log: Log, toFrameNo: FrameNo): Promise<Log | undefined> {
  const last = await log
    .use((file) => lastCommit(file, toFrameNo))
    .catch(async (error: unknown) => {
      await log.close()
      throw error
    })
  if (last === undefined) return undefined
  const { header, location } = log.file
  const head: LogFile = {
    location,
    header: {
      ...header,
      frameCount: last.frameNo + 1 - header.startFrameNo,
      endChecksum: last.checksum,
      databaseChecksumAfter: 0n,
    },
  }
  const made = Log.fromFile(head, { temporary: false })
  wholeOf.set(made, log)
  return made
}

/** The last frame up to `toFrameNo` that ends a transaction. */
async function lastCommit(file: LogFile, toFrameNo: FrameNo): Promise<Frame | undefined> {
  const { startFrameNo, pageSize } = file.header
  const recordBytes = frameHeaderBytes + pageSize
  const reader = await LogReader.open(file)
  try {
    for (let endFrameNo = toFrameNo + 1; endFrameNo > startFrameNo; ) {
      const fromFrameNo = Math.max(startFrameNo, endFrameNo - stepFrames)
      const records = await reader.read(fromFrameNo - startFrameNo, endFrameNo - fromFrameNo)
      for (let at = records.length - recordBytes; at >= 0; at -= recordBytes) {
        const frame = decodeFrame(records, at, pageSize)
        if (frame.sizeAfter !== 0) return frame
      }
      endFrameNo = fromFrameNo
    }
    return undefined
  } finally {
    await reader.close()
  }
}

/** Closes a log, and the one that it is the head of. */
export async function closeWhole(log: Log): Promise<void> {
  await log.close()
  await wholeOf.get(log)?.close()
}
