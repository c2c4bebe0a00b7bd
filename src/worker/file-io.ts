/** Synchronous file access of the task threads: whole reads and writes, durable files, errors as ERR_IO. */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { addonPath, MylibsqlError } from '../protocol/errors.js'
import { ioError } from '../protocol/io-error.js'
import { besides } from '../protocol/temporary.js'

const chunkBytes = 1024 * 1024

/** Runs `use` with the file open and closes it. System errors become ERR_IO. */
export function withFile<T>(path: string, flags: string, use: (fd: number) => T): T {
  const fd = attempt(flags === 'r' ? 'read' : 'write', path, () => openSync(path, flags, 0o644))
  try {
    return attempt(flags === 'r' ? 'read' : 'write', path, () => use(fd))
  } finally {
    closeSync(fd)
  }
}

/** Turns what the system says into ERR_IO, and what the addon says into an error of the library. */
export function attempt<T>(action: string, path: string, operation: () => T): T {
  try {
    return operation()
  } catch (error) {
    throw named(error, action, path)
  }
}

/** The same for one that opens a database, of which SQLite says that the system refused it. */
export function attemptOpen<T>(path: string, operation: () => T): T {
  try {
    return operation()
  } catch (error) {
    const code = String((error as { code?: unknown }).code)
    throw /^SQLITE_(CANTOPEN|FULL|IOERR|READONLY)/.test(code) ? ioError(error, 'open', path) : error
  }
}

/** The same for an operation that goes on in another thread. */
export async function attemptAsync<T>(action: string, path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation()
  } catch (error) {
    throw named(error, action, path)
  }
}

/** Of a file of which others say what it is: where it is no plain file, nobody waits for what may come out of it. Throws what the system says. */
export function openToRead(path: string): number {
  return openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
}

export function fileBytes(fd: number): number {
  return fstatSync(fd).size
}

/** Bytes from `byteOffset` on, fewer at the end of the file. */
export function readUpTo(fd: number, byteOffset: number, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength)
  return bytes.subarray(0, readInto(fd, byteOffset, bytes))
}

/** The same, to where there is memory for them. Returns how many there were. */
export function readInto(fd: number, byteOffset: number, target: Uint8Array): number {
  let at = 0
  while (at < target.length) {
    const count = readSync(fd, target, at, target.length - at, byteOffset + at)
    if (count === 0) break
    at += count
  }
  return at
}

export function writeAll(fd: number, bytes: Uint8Array, byteOffset: number): void {
  let at = 0
  while (at < bytes.length) at += writeSync(fd, bytes, at, bytes.length - at, byteOffset + at)
}

/** From the start of the file on. */
export function writeZeros(fd: number, byteLength: number): void {
  const zeros = new Uint8Array(Math.min(chunkBytes, byteLength))
  for (let at = 0; at < byteLength; at += zeros.length) {
    writeAll(fd, zeros.subarray(0, Math.min(zeros.length, byteLength - at)), at)
  }
}

/** Copies a range between files; throws ERR_CORRUPT when the source ends before it. */
export function copyRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  byteLength: number,
): void {
  for (let at = 0; at < byteLength; at += chunkBytes) {
    const wanted = Math.min(chunkBytes, byteLength - at)
    const bytes = readUpTo(from, fromOffset + at, wanted)
    if (bytes.length < wanted) {
      const message = `The file ends at byte ${fromOffset + at + bytes.length}, in the middle of what was there`
      throw new MylibsqlError('ERR_CORRUPT', message, { byteOffset: fromOffset + at + bytes.length })
    }
    writeAll(to, bytes, toOffset + at)
  }
}

/**
 * Writes a file that is there complete or not at all, also after a loss of power: under another name in the same
 * folder, synced, renamed, and the folder synced. Replaces what was at `path`.
 */
export function writeDurably<T>(path: string, write: (fd: number, temporaryPath: string) => T): T {
  return replaceDurably(path, (temporaryPath) =>
    withFile(temporaryPath, 'wx+', (fd) => write(fd, temporaryPath)),
  )
}

/** The same for a file that `write` makes by itself at the path it is given. */
export function replaceDurably<T>(path: string, write: (temporaryPath: string) => T): T {
  const temporaryPath = besides(path)
  try {
    const result = write(temporaryPath)
    commitFile(temporaryPath, path)
    return result
  } catch (error) {
    discardFile(temporaryPath)
    throw folderIsMissing(error, path) ? noFolder(path, error) : error
  }
}

function folderIsMissing(error: unknown, path: string): error is Error {
  const cause = (error as Error).cause as NodeJS.ErrnoException | undefined
  return cause?.code === 'ENOENT' && !existsSync(dirname(path))
}

function noFolder(path: string, { cause }: Error): MylibsqlError {
  const message = `Cannot write ${path}: the folder ${dirname(path)} does not exist`
  return new MylibsqlError('ERR_IO', message, { path }, { cause })
}

/** Makes a temporary database, which nobody knows of before it is complete: there or not, but not synced. */
export function makeTemporary<T>(path: string, write: () => T): T {
  try {
    return write()
  } catch (error) {
    for (const suffix of ['', '-journal', '-wal', '-shm']) discardFile(`${path}${suffix}`)
    throw error
  }
}

/** Removes a file that nobody needs any more. When the system refuses, nobody is told: what counts has happened before. */
export function discardFile(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {}
}

/** Syncs a finished file and gives it its name. */
export function commitFile(temporaryPath: string, path: string): void {
  attempt('write', path, () => {
    syncPath(temporaryPath)
    renameSync(temporaryPath, path)
    syncPath(dirname(path))
  })
}

/** The same for a file that is synced, while this thread goes on. Throws what the system says. */
export async function commitSynced(temporaryPath: string, path: string): Promise<void> {
  await rename(temporaryPath, path)
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

export function syncPath(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

export function truncateFile(fd: number, byteLength: number): void {
  ftruncateSync(fd, byteLength)
}

const writingCalls = new Set(['write', 'pwrite', 'pwritev', 'ftruncate'])

function named(error: unknown, action: string, path: string): unknown {
  if (!(error instanceof Error) || error instanceof MylibsqlError) return error
  const { code, syscall } = error as { code?: unknown; syscall?: unknown }
  // A copy reads from one file and writes to another one, whose name its opener knows, unless it is the addon's own.
  const isOfOther = action === 'read' && writingCalls.has(String(syscall))
  if (isOfOther && addonPath(error) === undefined) return error
  if ('syscall' in error || code === 'ERR_IO') return ioError(error, action, path)
  if (code === 'ERR_CORRUPT' && action === 'read')
    return new MylibsqlError(code, `${path}: ${error.message}`, { path }, { cause: error })
  return error
}
