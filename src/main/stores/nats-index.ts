/**
 * What stands in a store's stream, as far as it was read. Every reader gets the same from the same messages; a writer
 * that was let in by the server behind the last one of them knows that nothing else has come in between.
 */
import type { FrameNo } from '../../protocol/frame.js'
import { type LogMessage, type StreamMessage, sequencesOf, storedLog } from './nats-message.js'
import type { StoredLog } from './store.js'

/** A log and where it is. */
export interface IndexedLog {
  readonly message: LogMessage
  readonly stored: StoredLog
}

/** Sequence numbers: its own first. */
export function messagesOfLog({ message, stored }: IndexedLog): number[] {
  return [Number(stored.id), ...sequencesOf(message.parts)]
}

export class StreamIndex {
  /** The last message that was read, or written. */
  #lastSequence = 0
  #epoch = 0
  #epochToken = ''
  /** Messages that are there: when the server counts fewer, somebody has removed some. */
  #messageCount = 0
  readonly #logs = new Map<FrameNo, IndexedLog>()
  /** Parts that no log has claimed, by sequence number: their epoch. */
  readonly #looseParts = new Map<number, number>()

  get lastSequence(): number {
    return this.#lastSequence
  }

  get epoch(): number {
    return this.#epoch
  }

  get epochToken(): string {
    return this.#epochToken
  }

  get messageCount(): number {
    return this.#messageCount
  }

  logAt(startFrameNo: FrameNo): IndexedLog | undefined {
    return this.#logs.get(startFrameNo)
  }

  /** By start frame. */
  logs(): StoredLog[] {
    return [...this.#logs.values()]
      .map(({ stored }) => stored)
      .sort((left, right) => left.startFrameNo - right.startFrameNo)
  }

  /** Parts of logs that were not finished and can no longer be: their epoch is over. */
  abandonedParts(): number[] {
    return [...this.#looseParts].filter(([, epoch]) => epoch < this.#epoch).map(([sequence]) => sequence)
  }

  /** The first part of a log that may still be finished. */
  get firstOpenPart(): number | undefined {
    for (const [sequence, epoch] of this.#looseParts) if (epoch >= this.#epoch) return sequence
    return undefined
  }

  /** The first message that has to stay when these logs go. */
  firstKept(goneIds: ReadonlySet<string>): number {
    let first = this.firstOpenPart ?? this.#lastSequence + 1
    for (const { message, stored } of this.#logs.values()) {
      if (goneIds.has(stored.id)) continue
      const sequence = Number(stored.id)
      first = Math.min(first, sequence, message.parts[0]?.[0] ?? sequence)
    }
    return first
  }

  /** The next message; undefined: one of somebody else. Returns the log that it puts into the history. */
  apply(sequence: number, message: StreamMessage | undefined): StoredLog | undefined {
    if (sequence <= this.#lastSequence) return undefined
    this.#lastSequence = sequence
    this.#messageCount++
    if (message?.kind === 'epoch' && message.epoch > this.#epoch) {
      this.#epoch = message.epoch
      this.#epochToken = message.token
    }
    if (message?.kind === 'part') this.#looseParts.set(sequence, message.epoch)
    if (message?.kind !== 'log' && message?.kind !== 'replacement') return undefined
    return this.#applyLog(sequence, message)
  }

  /** These are no longer there. */
  forget(sequences: readonly number[], logs: readonly StoredLog[] = []): void {
    this.#messageCount -= sequences.length
    for (const sequence of sequences) this.#looseParts.delete(sequence)
    for (const { id, startFrameNo } of logs) {
      if (this.#logs.get(startFrameNo)?.stored.id === id) this.#logs.delete(startFrameNo)
    }
  }

  /** There are no messages behind this one, nor between it and the last that was read. */
  skipTo(sequence: number): void {
    this.#lastSequence = Math.max(this.#lastSequence, sequence)
  }

  #applyLog(sequence: number, message: LogMessage): StoredLog | undefined {
    for (const part of sequencesOf(message.parts)) this.#looseParts.delete(part)
    const { startFrameNo, nextFrameNo } = message
    const there = this.#logs.get(startFrameNo)
    const isBetter = message.kind === 'replacement' && nextFrameNo >= (there?.message.nextFrameNo ?? 0)
    if (there !== undefined && !isBetter) return undefined
    const stored = storedLog(sequence, message)
    this.#logs.set(startFrameNo, { message, stored })
    return stored
  }
}
