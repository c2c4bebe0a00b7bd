/** The beginning of a log, for a restore that ends inside it. */
import { MylibsqlError } from '../../protocol/errors.js'
import { decodeFrame, type Frame, type FrameNo, frameHeaderBytes } from '../../protocol/frame.js'
import { whereIs } from '../../protocol/log-check.js'
import { type LogFile, logNextFrameNo } from '../../protocol/log-format.js'
import { Log } from '../log.js'
import { LogReader } from '../log-reader.js'

/** Frames that are looked at with one read. */
const stepFrames = 256

/** A head reads the file of its log, which must not be collected before it. */
const wholeOf = new WeakMap<Log, Log>()

/**
 * The transactions of `log` that are complete with frame `toFrameNo`, as a log that shares its bytes; undefined when
 * there are none. Both are closed with closeWhole(head).
 */
export async function headOf(log: Log, toFrameNo: FrameNo): Promise<Log | undefined> {
  const last = await log.use((file) => lastCommit(file, toFrameNo))
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
  const { startFrameNo, pageSize, merged } = file.header
  if (merged !== undefined) throw insideMerged(file, toFrameNo)
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

/** No state of the database in between can be made of a merged log: it holds the last version of each page alone. */
function insideMerged(file: LogFile, frameNo: FrameNo): MylibsqlError {
  const { startFrameNo } = file.header
  const message =
    `Frame ${frameNo} is inside a merged log, which gives the state after its last frame, ` +
    `${logNextFrameNo(file.header) - 1}, and none before it: the one before that is after frame ${startFrameNo - 1}`
  return new MylibsqlError('ERR_NOT_FOUND', message, { ...whereIs(file), frameNo })
}

/** Closes a log, and the one that it is the head of. */
export async function closeWhole(log: Log): Promise<void> {
  await log.close()
  await wholeOf.get(log)?.close()
}
