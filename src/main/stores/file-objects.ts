/** Objects of a FileStore: their bytes, read and written in chunks, none held whole but small logs. */
import { constants, copyFile, type FileHandle, open, stat } from 'node:fs/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import { cutShort } from '../../protocol/log-check.js'
import { type LogFile, logByteLength } from '../../protocol/log-format.js'
import { type Compression, decodeObjectHeader, objectHeaderBytes } from '../../protocol/object-format.js'
import { storeError } from '../../protocol/store-error.js'
import { Log } from '../log.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { decompressed, gathered } from './compression.js'
import { logObject } from './log-object.js'
import type { ObjectFacts } from './store-folder.js'
import { namedAs } from './stored-log.js'

const chunkBytes = 4 * 1024 * 1024

/** Size and time of an object; undefined when it is not there. */
export async function findObject(path: string): Promise<ObjectFacts | undefined> {
  try {
    const { size, mtime } = await stat(path)
    return { byteLength: size, storedAt: mtime }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw storeError(error, 'read', path)
  }
}

/** Not another one that has taken its place since it was listed. */
export async function isThere(stored: ObjectFacts, path: string): Promise<boolean> {
  const found = await findObject(path)
  return (
    found !== undefined &&
    found.byteLength === stored.byteLength &&
    found.storedAt.getTime() === stored.storedAt.getTime()
  )
}

interface ReadLimits {
  readonly signal?: AbortSignal | undefined
  /** Told the bytes that have been read. */
  readonly onProgress?: ((byteCount: number) => void) | undefined
}

export async function* chunksOf(
  path: string,
  { signal, onProgress }: ReadLimits = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const handle = await open(path, 'r')
  try {
    // No more than the file has: to get 4 MiB from the system takes longer than to read a small object.
    const bufferBytes = Math.min(chunkBytes, (await handle.stat()).size + 1)
    let byteCount = 0
    for (;;) {
      signal?.throwIfAborted()
      const { buffer, bytesRead } = await handle.read({ buffer: Buffer.allocUnsafe(bufferBytes) })
      if (bytesRead === 0) return
      byteCount += bytesRead
      yield buffer.subarray(0, bytesRead)
      onProgress?.(byteCount)
    }
  } finally {
    await handle.close()
  }
}

/** Writes a file that is not there yet; still open, to be synced. */
export async function writeChunks(
  path: string,
  chunks: AsyncIterable<Uint8Array> | readonly Uint8Array[],
): Promise<FileHandle> {
  const handle = await open(path, 'wx', 0o644)
  try {
    if (Array.isArray(chunks)) await writeAll(handle, chunks)
    else for await (const chunk of chunks) await writeAll(handle, [chunk])
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** With one call, unless the system takes less than all. */
async function writeAll(handle: FileHandle, chunks: readonly Uint8Array[]): Promise<void> {
  let rest = chunks
  for (;;) {
    let { bytesWritten } = await handle.writev(rest)
    rest = rest.flatMap((chunk) => {
      const skipped = Math.min(bytesWritten, chunk.length)
      bytesWritten -= skipped
      return skipped === chunk.length ? [] : [chunk.subarray(skipped)]
    })
    if (rest.length === 0) return
  }
}

/** The same for a file that is not to be synced. */
export async function writeTemporary(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const handle = await writeChunks(path, chunks)
  await handle.close()
}

/**
 * Writes a log under another header. A small one is in memory, and takes one write; a large one is in a file, which the
 * system copies, and gets its header afterwards.
 */
export async function writeLogObject(
  path: string,
  file: LogFile,
  headerBytes: Uint8Array,
  method: Compression | 'none',
): Promise<FileHandle> {
  const { location, header } = file
  if (method !== 'none') return writeChunks(path, logObject(file, headerBytes, method))
  if ('bytes' in location) {
    const records = location.bytes.subarray(headerBytes.length, logByteLength(header))
    return writeChunks(path, [headerBytes, records])
  }
  await copyFile(location.path, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  const handle = await open(path, 'r+')
  try {
    const { size } = await handle.stat()
    if (size < logByteLength(header)) throw cutShort(location.path, logByteLength(header), size)
    await handle.write(headerBytes, 0, headerBytes.length, 0)
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Reads a log and checks all of it. A large one is copied to a temporary file: the object may be replaced or removed. */
export async function readLogObject(path: string, signal: AbortSignal | undefined): Promise<Log> {
  try {
    const { byteLength, fileBytes, isCompressed } = await contentOf(path)
    const chunks = () => decompressed(chunksOf(path, { signal }), { path })
    if (Math.max(byteLength, fileBytes) <= logMemoryBytesMax) return await Log.from(await gathered(chunks()))
    const temporary = await temporaryPath('.log')
    try {
      if (isCompressed) await writeTemporary(temporary, chunks())
      else await copyFile(path, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
      const { file } = await runTask({ kind: 'openLog', path: temporary, verify: true })
      return Log.fromFile(file, { temporary: true })
    } catch (error) {
      await removeTemporaryFile(temporary)
      throw namedAs(path, error, temporary)
    }
  } catch (error) {
    throw readError(error, path)
  }
}

/** What the object says of its content, and its size tells. */
async function contentOf(
  path: string,
): Promise<{ byteLength: number; fileBytes: number; isCompressed: boolean }> {
  const handle = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: new Uint8Array(objectHeaderBytes) })
    const header = decodeObjectHeader(buffer.subarray(0, bytesRead), { path })
    const { size: fileBytes } = await handle.stat()
    return { byteLength: header?.rawBytes ?? fileBytes, fileBytes, isCompressed: header !== undefined }
  } finally {
    await handle.close()
  }
}

/** Why an object cannot be read, by its name. */
export function readError(error: unknown, path: string): unknown {
  const { code, path: ofPath } = (error ?? {}) as NodeJS.ErrnoException
  if (code === 'ENOENT' && ofPath === path) return notFound(path, error)
  return storeError(namedAs(path, error), 'read', path)
}

export function notFound(path: string, cause?: unknown): MylibsqlError {
  return new MylibsqlError('ERR_NOT_FOUND', `${path} is not there (any more)`, { path }, { cause })
}
