/**
 * Where the log that comes next in a FileStore is, for a replica's thread that looks for it itself: behind the last one in
 * its segment, or in a file of that name.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { FrameNo } from '../protocol/frame.js'
import { type LogFile, logByteLength } from '../protocol/log-format.js'
import { logName } from '../protocol/object-names.js'
import { segmentRecordBytes } from '../protocol/segment-format.js'
import type { NextLogsPlace } from '../protocol/wire.js'
import { logAt } from './segment-scan.js'

interface Place {
  readonly path: string
  readonly byteOffset: number
}

interface FoundLog {
  readonly file: LogFile
  /** Behind it, where another one may come; undefined: it has the file to itself. */
  readonly after: Place | undefined
}

/** What is no plain file must not keep the thread waiting. */
const { O_RDONLY, O_NONBLOCK = 0 } = constants

export class NextLog {
  #found: FoundLog | undefined
  /** Behind the last one that was taken. */
  #after: Place | undefined

  /** The log that begins with this frame, as far as its place and its name tell; undefined: there is none yet. */
  find({ storePath, after }: NextLogsPlace, nextFrameNo: FrameNo): LogFile | undefined {
    const own = { path: join(storePath, 'logs', logName(nextFrameNo)), byteOffset: 0 }
    for (const place of [this.#after, after, own]) {
      if (place === undefined) continue
      const found = logIn(place)
      if (found?.file.header.startFrameNo !== nextFrameNo) continue
      this.#found = found
      return found.file
    }
    return undefined
  }

  /** The one that was found last is applied. */
  taken(): void {
    this.#after = this.#found?.after
  }
}

/** Complete, or not there: the mark is written last, a name is given last. */
function logIn({ path, byteOffset }: Place): FoundLog | undefined {
  let fd: number
  try {
    fd = openSync(path, O_RDONLY | O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const facts = fstatSync(fd)
    const header = facts.isFile() ? logAt(fd, byteOffset, facts.size) : undefined
    if (header === undefined) return undefined
    const logBytes = logByteLength(header)
    if (byteOffset === 0 && logBytes === facts.size)
      return { file: { location: { path }, header }, after: undefined }
    // Records are found from the beginning of the file on.
    const placed = { ...header, headerBytes: byteOffset + header.headerBytes }
    const after = { path, byteOffset: byteOffset + segmentRecordBytes(logBytes) }
    return { file: { location: { path }, header: placed }, after }
  } catch {
    return undefined
  } finally {
    closeSync(fd)
  }
}
