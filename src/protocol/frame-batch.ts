/** Makes a batch of single frames. */
import { crc64Before } from './crc64.js'
import { MylibsqlError } from './errors.js'
import { encodeFrame, type Frame, FrameBatch, frameHeaderBytes } from './frame.js'
import { isPageSize } from './log-format.js'

/**
 * A batch with copies of `frames`, which must be consecutive; undefined when there are none. Its lineage is worked
 * out from the first frame, by running the checksum backwards over it: a damaged first frame shows as another
 * history.
 *
 * Throws TypeError, ERR_LOG_GAP, ERR_PAGE_SIZE.
 */
export function batchOf(frames: Iterable<Frame>, name: string): FrameBatch | undefined {
  const list = [...frames]
  const first = list[0]
  if (first === undefined) return undefined
  checkShape(first, `${name}[0]`)
  const pageSize = first.data.byteLength
  const recordBytes = frameHeaderBytes + pageSize
  const bytes = new Uint8Array(list.length * recordBytes)
  for (const [index, frame] of list.entries()) {
    checkShape(frame, `${name}[${index}]`)
    checkSequence(frame, first.frameNo + index, pageSize)
    encodeFrame(frame, bytes, index * recordBytes)
  }
  return new FrameBatch(bytes, pageSize, first.frameNo, checksumBefore(bytes, recordBytes, first.checksum))
}

function checksumBefore(records: Uint8Array, recordBytes: number, checksum: bigint): bigint {
  const beforePage = crc64Before(records.subarray(16, recordBytes), checksum)
  return crc64Before(records.subarray(0, 8), beforePage)
}

function checkShape(frame: Frame, name: string): void {
  const isFrame =
    typeof frame === 'object' &&
    frame !== null &&
    frame.data instanceof Uint8Array &&
    isPageSize(frame.data.byteLength) &&
    typeof frame.checksum === 'bigint' &&
    Number.isSafeInteger(frame.frameNo) &&
    frame.frameNo >= 0 &&
    isU32(frame.pageNo) &&
    isU32(frame.sizeAfter)
  if (!isFrame) throw new TypeError(`${name} must be a frame { frameNo, pageNo, sizeAfter, checksum, data }`)
}

function isU32(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff
}

function checkSequence(frame: Frame, expected: number, pageSize: number): void {
  const { frameNo } = frame
  if (frameNo !== expected) {
    const message = `Frame ${frameNo} follows frame ${expected - 1}: frames must be consecutive`
    throw new MylibsqlError('ERR_LOG_GAP', message, { expected, actual: frameNo })
  }
  if (frame.data.byteLength !== pageSize) {
    const message = `Frame ${frameNo} has a page of ${frame.data.byteLength} bytes, the ones before of ${pageSize}`
    throw new MylibsqlError('ERR_PAGE_SIZE', message, {
      frameNo,
      expected: pageSize,
      actual: frame.data.byteLength,
    })
  }
}
