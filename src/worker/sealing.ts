/** Sealed logs of a primary: told to the main thread, and before that stored where its store has room for them. */
import { toWireError } from '../protocol/errors.js'
import type { LogFile, LogHeader } from '../protocol/log-format.js'
import type { SegmentTail } from '../protocol/segment-format.js'
import type { FromActor, Outcome, StoredInTail } from '../protocol/wire.js'
import { LogTail } from './log-tail.js'
import type { WalKeeper } from './wal-keeper.js'

interface Surroundings {
  readonly post: (message: FromActor, transferList?: ArrayBuffer[]) => void
  /** Whether messages wait to be received. */
  readonly hasMore: () => boolean
  /** Posts what was held back to be told behind the log. */
  readonly tellAnswers: () => void
  /** Frames are lost. */
  readonly lost: (error: unknown) => void
}

export class Sealing {
  readonly #keeper: WalKeeper
  readonly #around: Surroundings
  /** Where small logs are stored, until one is not. */
  #tail: LogTail | undefined

  constructor(keeper: WalKeeper, around: Surroundings) {
    this.#keeper = keeper
    this.#around = around
  }

  /** `failure`: why there can be no log any more. */
  seal(failure: unknown): void {
    try {
      if (failure !== undefined) throw failure
      const sealed = this.#keeper.seal()
      if (sealed instanceof Promise) sealed.then(this.#sealed, this.#failed)
      else this.#sealed(sealed)
    } catch (error) {
      this.#failed(error)
    }
  }

  takeTail(tail: SegmentTail | undefined): void {
    this.close()
    try {
      if (tail !== undefined) this.#tail = new LogTail(tail)
    } catch {
      // Without one, logs are stored as before, and whoever stores them hears why it cannot be done.
    }
  }

  /** Stores nothing any more. */
  close(): void {
    this.#tail?.close()
    this.#tail = undefined
  }

  readonly #sealed = (value: LogFile | undefined): void => {
    const bytes = value !== undefined && 'bytes' in value.location ? value.location.bytes : undefined
    const tell = (stored?: Outcome<StoredInTail>) => {
      const message = { kind: 'sealed', outcome: { ok: true, value } } as const
      const buffers = bytes && [bytes.buffer as ArrayBuffer]
      this.#around.post(stored === undefined ? message : { ...message, stored }, buffers)
    }
    const tail = this.#tail
    if (tail !== undefined && bytes !== undefined && tail.takes(value!.header)) {
      this.#store(tail, bytes, value!.header, tell)
      return
    }
    // What comes next is behind a log that is stored elsewhere.
    if (value !== undefined) this.close()
    tell()
  }

  readonly #failed = (error: unknown): void => {
    // A full disk passes; frames that are gone stay away.
    if ((error as { code?: unknown }).code === 'ERR_WAL_RESET') this.#around.lost(error)
    this.#around.post({ kind: 'sealed', outcome: { ok: false, error: toWireError(error) } })
  }

  #store(
    tail: LogTail,
    bytes: Uint8Array,
    header: LogHeader,
    tell: (stored: Outcome<StoredInTail>) => void,
  ): void {
    const stored = (value: StoredInTail) => tell({ ok: true, value })
    const failed = (error: unknown) => {
      if (this.#tail === tail) this.close()
      tell({ ok: false, error: toWireError(error) })
    }
    if (!tail.isQuick || this.#around.hasMore()) {
      tail.store(bytes, header).then(stored, failed)
      return
    }
    // Whoever waits for an answer need not wait for the disk.
    this.#around.tellAnswers()
    let value: StoredInTail
    try {
      value = tail.storeNow(bytes, header)
    } catch (error) {
      failed(error)
      return
    }
    stored(value)
  }
}
