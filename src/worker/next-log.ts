/**
 * Where the log that comes next in a FileStore is, for a replica's thread that looks for it itself: behind the last one in
 * its segment, or in a file of that name.
 */
import { closeSync, fstatSync } from 'node:fs'
import { join } from 'node:path'
import type { FrameNo } from '../protocol/frame.js'
import { logByteLength } from '../protocol/log-format.js'
import { logName } from '../protocol/object-names.js'
import { placedHeader, segmentRecordBytes } from '../protocol/segment-format.js'
import type { NextLogsPlace } from '../protocol/wire.js'
import { openToRead } from './file-io.js'
import type { OpenedLog } from './log-source.js'
import { logAt } from './segment-scan.js'
import { readUnpackedLog } from './unpacked-log.js'

interface Place {
  readonly path: string
  readonly byteOffset: number
}

interface FoundLog {
  readonly file: OpenedLog
  /** Behind it, where another one may come; undefined: it has the file to itself. */
  readonly after: Place | undefined
}

interface OpenFile {
  readonly path: string
  readonly fd: number
  /** A segment has its size from the beginning. */
  readonly byteLength: number
}

export class NextLog {
  /** Behind the one that was found last. */
  #afterFound: Place | undefined
  /** Behind the last one that was taken. */
  #after: Place | undefined
  /** The segment that the last one was found in: there the next one is most likely. */
  #open: OpenFile | undefined

  /**
   * The log that begins with this frame, as far as its place and its name tell, open up to the next call; undefined: there is
   * none yet. 'other': there is a file of that name, which somebody has to look at more closely. `mayBeginFile` false: there is
   * no file of that name.
   */
  find(
    { storePath, after }: NextLogsPlace,
    nextFrameNo: FrameNo,
    { mayBeginFile = true } = {},
  ): OpenedLog | 'other' | undefined {
    const own = mayBeginFile
      ? { path: join(storePath, 'logs', logName(nextFrameNo)), byteOffset: 0 }
      : undefined
    for (const place of [this.#after, after, own]) {
      const found = place === undefined ? undefined : this.#logFrom(place, nextFrameNo)
      if (found === 'other') return 'other'
      if (found === undefined) continue
      this.#afterFound = found.after
      return found.file
    }
    return undefined
  }

  /** The one that was found last is applied. */
  taken(): void {
    this.#after = this.#afterFound
  }

  /** Closes the file that it keeps open. */
  release(): void {
    const { fd } = this.#open ?? {}
    this.#open = undefined
    if (fd !== undefined) closeSync(fd)
  }

  /** That log, at this place or behind it: those before have been applied by somebody else. */
  #logFrom(place: Place, nextFrameNo: FrameNo): FoundLog | 'other' | undefined {
    let found = this.#logIn(place)
    while (found !== undefined && found !== 'other') {
      const { startFrameNo } = found.file.header
      if (startFrameNo === nextFrameNo) return found
      if (startFrameNo > nextFrameNo || found.after === undefined) return undefined
      found = this.#logIn(found.after)
    }
    return found
  }

  /** Complete, or not there: the mark is written last, a name is given last. */
  #logIn({ path, byteOffset }: Place): FoundLog | 'other' | undefined {
    try {
      const file = this.#opened(path)
      const header = file && logAt(file.fd, byteOffset, file.byteLength)
      if (header === undefined) return byteOffset === 0 ? unpacked(file) : undefined
      const logBytes = logByteLength(header)
      const isAlone = byteOffset === 0 && logBytes === file!.byteLength
      const after = isAlone ? undefined : { path, byteOffset: byteOffset + segmentRecordBytes(logBytes) }
      return { file: { location: { path }, header: placedHeader(header, byteOffset), fd: file!.fd }, after }
    } catch {
      return undefined
    }
  }

  /** Undefined for what is no file. Throws what the system says. */
  #opened(path: string): OpenFile | undefined {
    if (this.#open?.path === path) return this.#open
    const file = openFile(path)
    this.release()
    this.#open = file
    return file
  }
}

/** What is no plain log may be a compressed one. */
function unpacked(opened: OpenFile | undefined): FoundLog | 'other' {
  try {
    const file = opened && readUnpackedLog(opened.fd, opened.byteLength)
    return file === undefined ? 'other' : { file, after: undefined }
  } catch {
    return 'other'
  }
}

function openFile(path: string): OpenFile | undefined {
  const fd = openToRead(path)
  let file: OpenFile | undefined
  try {
    const facts = fstatSync(fd)
    if (facts.isFile()) file = { path, fd, byteLength: facts.size }
  } finally {
    if (file === undefined) closeSync(fd)
  }
  return file
}
