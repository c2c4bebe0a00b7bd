/** How the writes of one primary are saved: sealed logs go to a saveLog, or by themselves to the primary's store. */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { logNextFrameNo } from '../protocol/log-format.js'
import type { SegmentTail } from '../protocol/segment-format.js'
import type { FromActor, Position, ToActor } from '../protocol/wire.js'
import { checkFunction } from './arguments.js'
import { type ArchiveLog, Checkpoints, type SaveLog } from './checkpoints.js'
import { Durability } from './durability.js'
import type { OpenDatabase } from './open-database.js'
import { Sealer } from './sealer.js'
import type { Snapshot } from './snapshot.js'
import { type Archive, Archiver } from './stores/archiver.js'
import { checkpointChannel, traced } from './tracing.js'

interface Steps {
  /** Sends this behind all writes that are asked for in this tick. */
  readonly flushSoon: (then: ToActor) => void
  readonly snapshot: (path: string) => Promise<Snapshot>
  /** A newer primary has taken over. */
  readonly fenced: (error: MylibsqlError) => void
}

export class Saving {
  readonly durability: Durability
  readonly archiver: Archiver | undefined
  readonly #sealer: Sealer
  readonly #checkpoints: Checkpoints
  readonly #path: string
  readonly #closeTimeoutMs: number

  constructor(database: OpenDatabase, { nextFrameNo }: Position, archive: Archive | undefined, steps: Steps) {
    const { thread, path, pageSize } = database
    const { snapshot, fenced, flushSoon } = steps
    this.durability = new Durability(nextFrameNo)
    this.#path = path
    this.#closeTimeoutMs = database.closeTimeoutMs
    this.#sealer = new Sealer(() => flushSoon({ kind: 'seal' }))
    this.#checkpoints = new Checkpoints({
      seal: () => this.#sealer.seal(),
      saved: (savedNextFrameNo) => {
        this.durability.saved(savedNextFrameNo)
        thread.sendSoon({ kind: 'saved', nextFrameNo: savedNextFrameNo })
      },
    })
    const checkpoint = (archiveLog: ArchiveLog) =>
      this.#checkpoint(() => this.#checkpoints.archive(archiveLog))
    const takeTail = (tail: SegmentTail | undefined) => thread.send({ kind: 'tail', tail })
    const archived = { path, pageSize, checkpoint, takeTail, snapshot, fenced }
    this.archiver = archive && new Archiver(archive, archived, nextFrameNo)
  }

  get savedFrameNo(): FrameNo | undefined {
    return this.durability.savedFrameNo
  }

  /** perf_hooks histogram of each saveLog that resolved, in microseconds. */
  get saveUs(): Checkpoints['saveUs'] {
    return this.#checkpoints.saveUs
  }

  /** A subscriber has what was captured. With a store that alone is what is saved. */
  readonly acknowledged = (frameNo: FrameNo): void => {
    if (this.archiver === undefined) this.durability.saved(frameNo + 1)
  }

  /** Returns the last frame of the log, if there is one. */
  sealed(message: Extract<FromActor, { kind: 'sealed' }>): FrameNo | undefined {
    const { outcome } = message
    this.#sealer.receive(message)
    return outcome.ok && outcome.value !== undefined ? logNextFrameNo(outcome.value.header) - 1 : undefined
  }

  /** Throws TypeError without a saveLog when there is no store, ERR_REFUSED with one when there is. */
  checkpoint(saveLog: SaveLog | undefined): Promise<FrameNo | undefined> {
    if (this.archiver === undefined) {
      const save = checkFunction(saveLog, 'saveLog') as SaveLog
      return this.#checkpoint(() => this.#checkpoints.run(save))
    }
    if (saveLog === undefined) return this.archiver.run()
    const message = 'The logs of this primary go to its store: call checkpoint() without saveLog'
    throw new MylibsqlError('ERR_REFUSED', message)
  }

  /**
   * Waits for what saves now, and stores the rest when there is a store: without an answer from the thread there is no log of
   * it. Resolves with what close() has to tell.
   */
  async settled(isAnswering: boolean): Promise<MylibsqlError | undefined> {
    const timeoutMs = this.#closeTimeoutMs
    const unstored = await this.archiver?.close(isAnswering ? timeoutMs : 0, isAnswering)
    const isSettled = await this.#checkpoints.settled(
      isAnswering || this.#checkpoints.isSaving ? timeoutMs : 0,
    )
    return unstored ?? (isSettled ? undefined : this.#checkpoints.pendingError(timeoutMs))
  }

  close(error: MylibsqlError): void {
    this.archiver?.stop(error)
    this.#sealer.close(error)
    this.#checkpoints.close(error)
    this.durability.close(error)
  }

  #checkpoint(run: () => Promise<FrameNo | undefined>): Promise<FrameNo | undefined> {
    return traced(checkpointChannel, () => ({ path: this.#path }), run)
  }
}
