/**
 * The way from what an open database holds to what a snapshot holds, as frames: the pages that differ, as one
 * transaction. Appended to the WAL like a log, they take readers from one to the other in one step.
 */
import { closeSync, openSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { frameHeaderBytes } from '../protocol/frame.js'
import { type LogFile, logHeader } from '../protocol/log-format.js'
import type { SnapshotFile } from '../protocol/snapshot-format.js'
import { attempt, attemptAsync, discardFile, readUpTo, withFile, writeAll } from './file-io.js'
import { native } from './native.js'
import { checkFileChecksum } from './working-copy.js'
import type { WorkingDatabase } from './working-database.js'

/** Bytes that are compared at once: whole pages of any size. Between two of them the thread does other things. */
const chunkBytes = 4 * 1024 * 1024

/** They are numbered from 0 and chained from 0n: the position of the snapshot is not theirs. */
export const framesStart = { nextFrameNo: 0, checksum: 0n }

/**
 * Runs `use` with the frames that lead from `database`, as it is now, to `snapshot`, which is checked on the way.
 * Temporary files are made with `pathPrefix`.
 *
 * Throws ERR_CORRUPT, ERR_IO, ERR_CLOSED.
 */
export async function withFramesTo<T>(
  snapshot: SnapshotFile,
  database: WorkingDatabase,
  pathPrefix: string,
  use: (frames: LogFile) => T,
): Promise<T> {
  const presentPath = `${pathPrefix}present`
  const framesPath = `${pathPrefix}frames`
  try {
    const presentPageCount = await copyPresent(database, presentPath)
    return use(await writeDifference(snapshot, presentPath, presentPageCount, framesPath))
  } finally {
    discardFile(presentPath)
    discardFile(framesPath)
  }
}

async function copyPresent({ wal }: WorkingDatabase, path: string): Promise<number> {
  const fd = attempt('write', path, () => openSync(path, 'w+', 0o600))
  try {
    return (await attemptAsync('write', path, () => wal.copyDatabase(fd))).pageCount
  } finally {
    closeSync(fd)
  }
}

async function writeDifference(
  snapshot: SnapshotFile,
  presentPath: string,
  presentPageCount: number,
  path: string,
): Promise<LogFile> {
  const { pageSize, pageCount } = snapshot.trailer
  const frames = new FrameWriter(path, pageSize, pageCount)
  let fileChecksum = 0n
  for (let at = 0; at < pageCount * pageSize; at += chunkBytes) {
    const byteLength = Math.min(chunkBytes, pageCount * pageSize - at)
    const read = (from: string, length: number) =>
      Buffer.from(withFile(from, 'r', (fd) => readUpTo(fd, at, length)).buffer, 0, length)
    const wanted = read(snapshot.path, byteLength)
    const present = read(presentPath, Math.max(0, Math.min(byteLength, presentPageCount * pageSize - at)))
    fileChecksum = native.crc64(wanted, fileChecksum)
    for (let offset = 0; offset < byteLength; offset += pageSize) {
      const end = offset + pageSize
      const isSame = end <= present.length && wanted.compare(present, offset, end, offset, end) === 0
      if (!isSame) frames.push((at + offset) / pageSize + 1, wanted.subarray(offset, end))
    }
    frames.write()
    await setImmediate()
  }
  checkFileChecksum(snapshot, fileChecksum)
  // Something has to be there to say how many pages there are now.
  if (frames.frameCount === 0) {
    frames.push(
      1,
      withFile(snapshot.path, 'r', (fd) => readUpTo(fd, 0, pageSize)),
    )
  }
  return frames.end()
}

/** Writes frames of one transaction. The last one ends it, so each is written when the next one is there. */
class FrameWriter {
  readonly #path: string
  readonly #pageSize: number
  readonly #pageCount: number
  #frames: { pageNo: number; page: Uint8Array }[] = []
  #checksum = 0n
  #writtenCount = 0

  constructor(path: string, pageSize: number, pageCount: number) {
    this.#path = path
    this.#pageSize = pageSize
    this.#pageCount = pageCount
    withFile(path, 'w', () => {})
  }

  get frameCount(): number {
    return this.#writtenCount + this.#frames.length
  }

  push(pageNo: number, page: Uint8Array): void {
    this.#frames.push({ pageNo, page })
  }

  /** All but the last one. */
  write(): void {
    this.#writeFrames(this.#frames.splice(0, this.#frames.length - 1), 0)
  }

  end(): LogFile {
    this.write()
    this.#writeFrames(this.#frames.splice(0), this.#pageCount)
    const header = logHeader({
      pageSize: this.#pageSize,
      startFrameNo: framesStart.nextFrameNo,
      frameCount: this.#writtenCount,
      startChecksum: framesStart.checksum,
      endChecksum: this.#checksum,
    })
    return { location: { path: this.#path }, header: { ...header, headerBytes: 0 } }
  }

  #writeFrames(frames: readonly { pageNo: number; page: Uint8Array }[], sizeAfter: number): void {
    const recordBytes = frameHeaderBytes + this.#pageSize
    const bytes = new Uint8Array(frames.length * recordBytes)
    const view = new DataView(bytes.buffer)
    for (const [index, { pageNo, page }] of frames.entries()) {
      const at = index * recordBytes
      view.setBigUint64(at, BigInt(this.#writtenCount + index), true)
      view.setUint32(at + 16, pageNo, true)
      view.setUint32(at + 20, sizeAfter, true)
      bytes.set(page, at + frameHeaderBytes)
      this.#checksum = native.crc64(bytes.subarray(at, at + 8), this.#checksum)
      this.#checksum = native.crc64(bytes.subarray(at + 16, at + recordBytes), this.#checksum)
      view.setBigUint64(at + 8, this.#checksum, true)
    }
    withFile(this.#path, 'r+', (fd) => writeAll(fd, bytes, this.#writtenCount * recordBytes))
    this.#writtenCount += frames.length
  }
}
