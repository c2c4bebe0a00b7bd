/** A log as the bodies of messages, and back. */
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { MylibsqlError } from '../../protocol/errors.js'
import { logMemoryBytesMax } from '../../protocol/limits.js'
import type { LogFile } from '../../protocol/log-format.js'
import type { Compression } from '../../protocol/object-format.js'
import { Log } from '../log.js'
import { runTask } from '../task-pool.js'
import { removeTemporaryFile, temporaryPath } from '../temporary-files.js'
import { decompressed, gathered } from './compression.js'
import { logObject } from './log-object.js'
import { openedLog } from './log-opener.js'
import { decodeMessage, type LogMessage, sequencesOf } from './nats-message.js'
import type { NatsStream } from './nats-stream.js'
import type { StoredLog } from './store.js'
import { namedAs, stampedHeader } from './stored-log.js'

export interface LogPart {
  readonly bytes: Uint8Array
  readonly isLast: boolean
}

/** Messages that are asked for ahead of the reader. */
const partsAhead = 4

/** The log as it is stored, in parts of at most so many bytes; one at least. */
export async function* partsOf(
  file: LogFile,
  epoch: number,
  method: Compression | 'none',
  partBytesMax: number,
): AsyncGenerator<LogPart, void, undefined> {
  yield* pieces(logObject(file, stampedHeader(file.header, epoch), method), partBytesMax)
}

async function* pieces(chunks: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<LogPart> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      if (heldBytes === bytesMax) {
        yield { bytes: Buffer.concat(held, heldBytes), isLast: false }
        held = []
        heldBytes = 0
      }
      const piece = chunk.subarray(at, at + bytesMax - heldBytes)
      held.push(piece)
      heldBytes += piece.length
      at += piece.length
    }
  }
  yield { bytes: Buffer.concat(held, heldBytes), isLast: true }
}

/** Reads a log and checks it. Throws ERR_NOT_FOUND; ERR_NOT_A_LOG, ERR_CORRUPT naming `where`; what NATS says. */
export async function readLog(stream: NatsStream, stored: StoredLog, where: string): Promise<Log> {
  const sequence = Number(stored.id)
  const last = await stream.message(sequence)
  if (last === undefined) throw gone(where)
  const message = decodeMessage(last.headers)
  if (message?.kind !== 'log' && message?.kind !== 'replacement') {
    throw new MylibsqlError('ERR_NOT_A_LOG', `${where} is no log: a message of another kind`, { path: where })
  }
  const parts = bodies(stream, sequencesOf(message.parts), last.data, sequence, where)
  return deliveredLog(parts, message, where)
}

/** The log of such a message, from the bodies of its parts and its own. Throws the same for what is damaged. */
export async function deliveredLog(
  bodies: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  message: LogMessage,
  where: string,
): Promise<Log> {
  const isSmall = Math.max(message.rawByteLength, message.byteLength) <= logMemoryBytesMax
  const log = await (isSmall ? openedLog(await gathered(bodies), { path: where }) : largeLog(bodies, where))
  const isIt = log.startFrameNo === message.startFrameNo && log.nextFrameNo === message.nextFrameNo
  if (isIt && log.endChecksum === message.endChecksum) return log
  await log.close()
  const reason = 'it holds other frames than its headers say'
  throw new MylibsqlError('ERR_CORRUPT', `${where}: the log is damaged: ${reason}`, { path: where })
}

async function* bodies(
  stream: NatsStream,
  sequences: readonly number[],
  lastBody: Uint8Array,
  lastSequence: number,
  where: string,
): AsyncGenerator<Uint8Array> {
  const asked: ReturnType<NatsStream['message']>[] = []
  const ask = (sequence: number | undefined) => {
    if (sequence === undefined) return
    const answer = stream.message(sequence)
    // Told when it is this one's turn.
    answer.catch(() => {})
    asked.push(answer)
  }
  for (const sequence of sequences.slice(0, partsAhead)) ask(sequence)
  for (let index = 0; index < sequences.length; index++) {
    const part = await asked.shift()
    if (part === undefined) {
      if ((await stream.message(lastSequence)) === undefined) throw gone(where)
      const reason = `its part ${index + 1}, message ${sequences[index]}, is not there`
      throw new MylibsqlError('ERR_CORRUPT', `${where}: the log is damaged: ${reason}`, { path: where })
    }
    ask(sequences[index + partsAhead])
    yield part.data
  }
  yield lastBody
}

async function largeLog(
  bodies: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  where: string,
): Promise<Log> {
  const chunks = decompressed(bodies, { path: where })
  const path = await temporaryPath('.log')
  try {
    await pipeline(chunks, createWriteStream(path, { flags: 'wx' }))
    const { file } = await runTask({ kind: 'openLog', path, verify: true })
    return Log.fromFile(file, { temporary: true })
  } catch (error) {
    await removeTemporaryFile(path)
    throw namedAs(where, error)
  }
}

function gone(where: string): MylibsqlError {
  return new MylibsqlError('ERR_NOT_FOUND', `${where} is no longer in the store`, { path: where })
}
