/** What comes out of a store in chunks, of unknown length, as a log or a snapshot that is checked. */

import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import type { Where } from '../../protocol/log-format.js'
import { decodeObjectHeader, objectHeaderBytes } from '../../protocol/object-format.js'
import { Log } from '../log.js'
import { Snapshot } from '../snapshot.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { decompressed, gathered } from './compression.js'
import { writeTemporary } from './file-objects.js'
import { openedLog } from './log-opener.js'
import { namedAs } from './stored-log.js'

/**
 * The log in an object, `chunks` of which are as they are stored. A small one stays in memory, a larger one goes to a
 * temporary file.
 *
 * Throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT naming `id`, also when it begins at another frame; what `chunks` throws.
 */
export async function receivedLog(
  chunks: AsyncIterable<Uint8Array>,
  id: string,
  startFrameNo: FrameNo,
): Promise<Log> {
  const source = chunks[Symbol.asyncIterator]()
  const where = { path: id }
  try {
    const { list, isAll } = await firstChunks(source)
    const first = await gathered(list)
    const isSmall = isAll && rawBytesOf(first, where) <= logMemoryBytesMax
    const log = await (isSmall
      ? openedLog(first, where)
      : largeLog(decompressed(joined([first], source), where), id))
    if (log.startFrameNo === startFrameNo) return log
    await log.close()
    const message = `${id} is named for frame ${startFrameNo}, but holds frames from ${log.startFrameNo} on`
    const details = { path: id, expected: startFrameNo, actual: log.startFrameNo }
    throw new MylibsqlError('ERR_CORRUPT', message, details)
  } finally {
    await source.return?.()
  }
}

/** What it says itself. Throws ERR_VERSION, ERR_CORRUPT. */
function rawBytesOf(object: Uint8Array, where: Where): number {
  return decodeObjectHeader(object.subarray(0, objectHeaderBytes), where)?.rawBytes ?? object.length
}

/** Throws ERR_NOT_A_SNAPSHOT, ERR_CORRUPT naming `id`, also when it ends with another frame; what `chunks` throws. */
export async function receivedSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  id: string,
  lastFrameNo: FrameNo | undefined,
): Promise<Snapshot> {
  const path = await temporaryPath('.db')
  try {
    await writeTemporary(path, chunks)
    const file = await runTask({ kind: 'openSnapshot', path, verify: true, format: 'mylibsql' })
    if (file.trailer.lastFrameNo === lastFrameNo) return Snapshot.fromFile(file, { temporary: true })
    const message = `${id} is named for frame ${lastFrameNo}, but its last frame is ${file.trailer.lastFrameNo}`
    throw new MylibsqlError('ERR_CORRUPT', message, { path: id })
  } catch (error) {
    await removeTemporaryFile(path)
    throw namedAs(id, error, path)
  }
}

/** As many as are held in memory, and one more. */
async function firstChunks(
  source: AsyncIterator<Uint8Array>,
): Promise<{ list: Uint8Array[]; isAll: boolean }> {
  const list: Uint8Array[] = []
  let byteCount = 0
  while (byteCount <= logMemoryBytesMax) {
    const { done, value } = await source.next()
    if (done === true) return { list, isAll: true }
    list.push(value)
    byteCount += value.length
  }
  return { list, isAll: false }
}

async function largeLog(chunks: AsyncIterable<Uint8Array>, id: string): Promise<Log> {
  const path = await temporaryPath('.log')
  try {
    await writeTemporary(path, chunks)
    const { file } = await runTask({ kind: 'openLog', path, verify: true })
    return Log.fromFile(file, { temporary: true })
  } catch (error) {
    await removeTemporaryFile(path)
    throw namedAs(id, error, path)
  }
}

async function* joined(
  list: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* list
  for (;;) {
    const { done, value } = await rest.next()
    if (done === true) return
    yield value
  }
}

/** The same chunks; says how many bytes have come. */
export async function* told(
  chunks: AsyncIterable<Uint8Array>,
  onProgress: ((byteCount: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  let byteCount = 0
  for await (const chunk of chunks) {
    byteCount += chunk.length
    onProgress?.(byteCount)
    yield chunk
  }
}
