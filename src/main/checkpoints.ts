/** Checkpoints of one primary: one at a time, logs handed over in order, nothing lost when saving fails. */
import { createHistogram } from 'node:perf_hooks'
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import { histogramUs, recordedUs } from '../protocol/histogram.js'
import { type LogFile, type LogHeader, logNextFrameNo } from '../protocol/log-format.js'
import { Log } from './log.js'
import { Reentrancy } from './reentrancy.js'
import type { SealedLog } from './sealer.js'
import { removeTemporaryFile } from './temporary-files.js'

export type SaveLog = (log: Log) => Promise<unknown> | unknown
/** That of an archive: it is told what was done with the log already. */
export type ArchiveLog = (log: Log, stored: SealedLog['stored']) => Promise<unknown> | unknown

interface Steps {
  /**
   * Seals the log of all frames since the last one. What the callers of the last checkpoint write next is asked for in
   * this tick: it is in this log.
   */
  readonly seal: () => Promise<SealedLog | undefined>
  readonly saved: (nextFrameNo: FrameNo) => void
}

export class Checkpoints {
  /** How long each saveLog that resolved took. */
  readonly saveUs = createHistogram(histogramUs)
  readonly #steps: Steps
  readonly #inSaveLog = new Reentrancy()
  #queue: Promise<unknown> = Promise.resolve()
  /** Sealed and not saved: its saveLog failed. It comes first next time. */
  #unsaved: LogFile | undefined
  #saving: LogHeader | undefined
  #closed: MylibsqlError | undefined
  #rejectAll: ((error: MylibsqlError) => void)[] = []

  constructor(steps: Steps) {
    this.#steps = steps
  }

  /** What close() tells of a saveLog that is still running; undefined when none is. */
  pendingError(waitedMs: number): MylibsqlError | undefined {
    const saving = this.#saving
    if (saving === undefined) return undefined
    const message =
      `saveLog had not settled ${waitedMs} ms after close() was called: whether frames ${saving.startFrameNo} to ` +
      `${logNextFrameNo(saving) - 1} are saved is not known. The primary is closed`
    return new MylibsqlError('ERR_SAVE_PENDING', message, { frameNo: saving.startFrameNo })
  }

  get isSaving(): boolean {
    return this.#saving !== undefined
  }

  run(saveLog: SaveLog): Promise<FrameNo | undefined> {
    if (this.#closed === undefined && this.#inSaveLog.isInside) {
      const message =
        'checkpoint() inside its own saveLog would wait for itself. Call it after saveLog has returned'
      return Promise.reject(new MylibsqlError('ERR_REENTRANT', message))
    }
    return this.#enqueue((log) => this.#inSaveLog.run(() => saved(log, saveLog)))
  }

  /** The same for the library's own, which cannot call its own checkpoint: to notice that costs every promise meanwhile. */
  archive(archiveLog: ArchiveLog): Promise<FrameNo | undefined> {
    return this.#enqueue(archiveLog)
  }

  #enqueue(saveLog: ArchiveLog): Promise<FrameNo | undefined> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const result = this.#queue.then(() => this.#checkpoint(saveLog))
    this.#queue = result.catch(() => {})
    return this.#untilClosed(result)
  }

  /** Waits until no saveLog runs; false when that took longer than `timeoutMs`. */
  async settled(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs)
    })
    const isSettled = await Promise.race([this.#queue.then(() => true), timeout])
    clearTimeout(timer)
    return isSettled
  }

  close(error: MylibsqlError): void {
    this.#closed = error
    for (const reject of this.#rejectAll.splice(0)) reject(error)
    // A saveLog that still runs has the log in its hands.
    if (this.#saving === undefined && this.#unsaved !== undefined) removeFile(this.#unsaved)
    this.#unsaved = undefined
  }

  async #checkpoint(saveLog: ArchiveLog): Promise<FrameNo | undefined> {
    let lastFrameNo: FrameNo | undefined
    if (this.#unsaved !== undefined)
      lastFrameNo = await this.#save({ file: this.#unsaved, stored: undefined }, saveLog)
    if (this.#closed !== undefined) throw this.#closed
    const sealed = await this.#steps.seal()
    if (sealed !== undefined) lastFrameNo = await this.#save(sealed, saveLog)
    return lastFrameNo
  }

  async #save({ file, stored }: SealedLog, saveLog: ArchiveLog): Promise<FrameNo> {
    // Its own each time, and the file is only lent: whatever a failed saveLog did to the log, the next one gets the same.
    const log = Log.fromFile(file, { temporary: false })
    this.#unsaved = file
    this.#saving = file.header
    const startMs = performance.now()
    try {
      await saveLog(log, stored)
    } finally {
      this.#saving = undefined
    }
    this.#unsaved = undefined
    this.saveUs.record(recordedUs(performance.now() - startMs))
    log.takeOver(file)
    const nextFrameNo = logNextFrameNo(file.header)
    this.#steps.saved(nextFrameNo)
    return nextFrameNo - 1
  }

  /** A saveLog that never settles must not keep its caller, or those behind it, waiting after close(). */
  #untilClosed<T>(result: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#rejectAll.push(reject)
      result.then(resolve, reject).finally(() => {
        this.#rejectAll = this.#rejectAll.filter((other) => other !== reject)
      })
    })
  }
}

/** A saveLog that forgets to await a copy has not saved the log when it returns, and may never have. */
async function saved(log: Log, saveLog: SaveLog): Promise<void> {
  await saveLog(log)
  await log.underWay()
}

function removeFile({ location }: LogFile): void {
  if ('path' in location) removeTemporaryFile(location.path)
}
