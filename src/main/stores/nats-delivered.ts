/**
 * Bodies of messages that came to a follower together with their headers, until the logs in them are wanted: then nobody
 * has to ask for them once more. As many as there is room for; the others are read when it is their turn.
 */
import { unpackedLogBytesMax } from '../../protocol/limits.js'
import { decodeObjectHeader, objectHeaderBytes } from '../../protocol/object-format.js'
import { type LogMessage, sequencesOf } from './nats-message.js'

/** Of one follower. */
const bytesMax = 32 * 1024 * 1024

export class DeliveredBodies {
  readonly #bodies = new Map<number, Uint8Array>()
  #byteCount = 0

  keep(sequence: number, body: Uint8Array): void {
    if (this.#bodies.has(sequence) || this.#byteCount + body.length > bytesMax) return
    this.#bodies.set(sequence, body)
    this.#byteCount += body.length
  }

  get(sequence: number): Uint8Array | undefined {
    return this.#bodies.get(sequence)
  }

  /** All up to this one: logs are wanted in order, and those that were passed over never. */
  letGo(lastSequence: number): void {
    for (const [sequence, body] of this.#bodies) {
      if (sequence > lastSequence) return
      this.#bodies.delete(sequence)
      this.#byteCount -= body.length
    }
  }
}

/** A log that a follower was told of. */
export class DeliveredLog {
  readonly message: LogMessage
  readonly #sequences: readonly number[]
  readonly #bodies: DeliveredBodies

  constructor(sequence: number, message: LogMessage, bodies: DeliveredBodies) {
    this.message = message
    this.#sequences = [...sequencesOf(message.parts), sequence]
    this.#bodies = bodies
  }

  /** A replica's thread can take it as it is. */
  get isAtHand(): boolean {
    const first = this.#bodies.get(this.#sequences[0]!)
    try {
      if (first === undefined) return false
      const header = decodeObjectHeader(first.subarray(0, objectHeaderBytes), {})
      return header === undefined || header.rawBytes <= unpackedLogBytesMax
    } catch {
      return false
    }
  }

  /** In order, the first time; undefined when they are not here, or no longer. */
  take(): Uint8Array[] | undefined {
    const bodies = this.#sequences.flatMap((sequence) => this.#bodies.get(sequence) ?? [])
    this.#bodies.letGo(this.#sequences.at(-1)!)
    return bodies.length === this.#sequences.length ? bodies : undefined
  }
}
