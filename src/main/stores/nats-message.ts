/**
 * The messages of a store's stream, which is one sequence for everything: whoever writes says which sequence number he
 * believes to be the last one, and is refused when it is not. All that is said here stands in headers, so that the
 * stream can be listed without the bodies.
 *
 *     subject               Mylibsql-Kind   what                                  other headers        body
 *     mylibsql.NAME.epoch   epoch           an epoch is claimed                   Epoch, Token         its holder
 *     mylibsql.NAME.log     log             a log                                 Epoch, Time, Frames, the log as it
 *                                                                                 Checksums, Bytes     is stored
 *     mylibsql.NAME.log     part            a part of a log, but not the last     Epoch                bytes of it
 *     mylibsql.NAME.log     log             the last one: the log is there        as above, and Parts  the last bytes
 *     mylibsql.NAME.log     replacement     a log in the place of another         as a log             as a log
 *
 * Time is when it was written, ms since 1970; Frames is START-NEXT (the frame after the last one), Checksums START-END in
 * hexadecimal, Bytes STORED-RAW, of all parts as they are stored and of the log as a file; Parts are the sequence numbers
 * of the parts before, in order: `17-20` or `17-18,21-22`. Any other message is none of ours and is passed over.
 */
import { headers as emptyHeaders, type MsgHdrs } from '@nats-io/transport-node'
import type { FrameNo } from '../../protocol/frame.js'
import { type LogFile, logByteLength, logNextFrameNo, timeMaxMs } from '../../protocol/log-format.js'
import type { StoredLog } from './store.js'

/** First and last sequence number. */
export type SequenceRange = readonly [number, number]

export interface EpochMessage {
  readonly kind: 'epoch'
  readonly epoch: number
  /** Tells a claim of ours, the answer to which was lost, from somebody else's. */
  readonly token: string
}

export interface PartMessage {
  readonly kind: 'part'
  readonly epoch: number
}

export interface LogMessage {
  readonly kind: 'log' | 'replacement'
  readonly epoch: number
  readonly startFrameNo: FrameNo
  readonly nextFrameNo: FrameNo
  readonly startChecksum: bigint
  readonly endChecksum: bigint
  /** By the clock of the writer: everybody sees the same. */
  readonly storedAtMs: number
  /** Of all parts, as they are stored. */
  readonly byteLength: number
  /** Of the log as a file. */
  readonly rawByteLength: number
  readonly parts: readonly SequenceRange[]
}

export type StreamMessage = EpochMessage | PartMessage | LogMessage

/** Bytes that the headers of a message take at most, the server's own for publishing included. */
export const headerBytesMax = 4096
/** Of Parts: a log that is interrupted more often while it is stored is begun anew. */
const rangesMax = 64

const prefix = 'Mylibsql-'

export function subjectsOf(name: string): {
  readonly epoch: string
  readonly log: string
  readonly all: string
} {
  return { epoch: `mylibsql.${name}.epoch`, log: `mylibsql.${name}.log`, all: `mylibsql.${name}.>` }
}

export function encodeMessage(message: StreamMessage): MsgHdrs {
  const headers = emptyHeaders()
  const set = (name: string, value: string | number) => headers.set(`${prefix}${name}`, String(value))
  set('Kind', message.kind)
  set('Epoch', message.epoch)
  if (message.kind === 'epoch') set('Token', message.token)
  if (message.kind !== 'log' && message.kind !== 'replacement') return headers
  set('Frames', `${message.startFrameNo}-${message.nextFrameNo}`)
  set('Checksums', `${message.startChecksum.toString(16)}-${message.endChecksum.toString(16)}`)
  set('Time', message.storedAtMs)
  set('Bytes', `${message.byteLength}-${message.rawByteLength}`)
  if (message.parts.length > 0) set('Parts', message.parts.map(([first, last]) => `${first}-${last}`).join())
  return headers
}

/** Undefined: a message of somebody else. */
export function decodeMessage(headers: MsgHdrs | undefined): StreamMessage | undefined {
  const text = (name: string) => headers?.get(`${prefix}${name}`) ?? ''
  const kind = text('Kind')
  const epoch = wholeNumber(text('Epoch'))
  if (epoch === undefined) return undefined
  if (kind === 'epoch') return { kind, epoch, token: text('Token') }
  if (kind === 'part') return { kind, epoch }
  if (kind !== 'log' && kind !== 'replacement') return undefined
  const frames = pair(text('Frames'), wholeNumber)
  const checksums = pair(text('Checksums'), checksum)
  const bytes = pair(text('Bytes'), wholeNumber)
  const storedAtMs = wholeNumber(text('Time'))
  const parts = ranges(text('Parts'))
  if (frames === undefined || checksums === undefined || bytes === undefined) return undefined
  if (storedAtMs === undefined || storedAtMs > timeMaxMs || parts === undefined) return undefined
  const [startFrameNo, nextFrameNo] = frames
  const [startChecksum, endChecksum] = checksums
  const [byteLength, rawByteLength] = bytes
  return {
    kind,
    epoch,
    startFrameNo,
    nextFrameNo,
    startChecksum,
    endChecksum,
    storedAtMs,
    byteLength,
    rawByteLength,
    parts,
  }
}

/** What of a log's message its header says. */
export function factsOfLog({ header }: LogFile): Omit<LogMessage, 'kind' | 'epoch' | 'byteLength' | 'parts'> {
  const { startFrameNo, startChecksum, endChecksum = startChecksum } = header
  const nextFrameNo = logNextFrameNo(header)
  const rawByteLength = logByteLength(header)
  return { startFrameNo, nextFrameNo, startChecksum, endChecksum, rawByteLength, storedAtMs: Date.now() }
}

/** A log as the others see it. */
export function storedLog(sequence: number, message: LogMessage): StoredLog {
  const { startFrameNo, byteLength, storedAtMs } = message
  return { id: String(sequence), startFrameNo, byteLength, storedAt: new Date(storedAtMs) }
}

/** The same frames, written under the same epoch: a log that was stored though the answer was lost. */
export function isSameLog(left: LogMessage, right: LogMessage): boolean {
  return left.epoch === right.epoch && hasSameFrames(left, right)
}

function hasSameFrames(left: LogMessage, right: LogMessage): boolean {
  return (
    left.startFrameNo === right.startFrameNo &&
    left.nextFrameNo === right.nextFrameNo &&
    left.startChecksum === right.startChecksum &&
    left.endChecksum === right.endChecksum &&
    left.rawByteLength === right.rawByteLength
  )
}

/** Consecutive numbers as ranges; undefined when there are too many of them. */
export function rangesOf(sequences: readonly number[]): SequenceRange[] | undefined {
  const list: [number, number][] = []
  for (const sequence of sequences) {
    const range = list.at(-1)
    if (range !== undefined && range[1] + 1 === sequence) range[1] = sequence
    else list.push([sequence, sequence])
  }
  return list.length > rangesMax ? undefined : list
}

export function sequencesOf(parts: readonly SequenceRange[]): number[] {
  return parts.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, index) => first + index),
  )
}

function ranges(text: string): SequenceRange[] | undefined {
  if (text === '') return []
  const list = text.split(',').map((range) => pair(range, wholeNumber))
  const isGood = list.every((range) => range !== undefined && range[0] <= range[1])
  return isGood ? (list as SequenceRange[]) : undefined
}

function pair<T>(text: string, parse: (text: string) => T | undefined): [T, T] | undefined {
  const [first, second, ...rest] = text.split('-').map(parse)
  return first === undefined || second === undefined || rest.length > 0 ? undefined : [first, second]
}

function wholeNumber(text: string): number | undefined {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}

function checksum(text: string): bigint | undefined {
  return /^[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : undefined
}
