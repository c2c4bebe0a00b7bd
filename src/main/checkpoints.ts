/** Checkpoints of one primary: one at a time, logs handed over in order, nothing lost when saving fails. */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { Log } from './log.js'
import { Reentrancy } from './reentrancy.js'

export type SaveLog = (log: Log) => Promise<unknown> | unknown

interface Steps {
  /** Seals the log of all frames since the last one. */
  readonly seal: () => Promise<Log | undefined>
  readonly saved: (nextFrameNo: FrameNo) => void
}

export class Checkpoints {
  readonly #steps: Steps
  readonly #inSaveLog = new Reentrancy()
  #queue: Promise<unknown> = Promise.resolve()
  /** Sealed and not saved: its saveLog failed. It comes first next time. */
  #unsaved: Log | undefined
  #saving: Log | undefined
  #closed: MylibsqlError | undefined
  #rejectAll: ((error: MylibsqlError) => void)[] = []

  constructor(steps: Steps) {
    this.#steps = steps
  }

  /** The log whose saveLog is running. */
  get saving(): Log | undefined {
    return this.#saving
  }

  run(saveLog: SaveLog): Promise<FrameNo | undefined> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    if (this.#inSaveLog.isInside) {
      const message =
        'checkpoint() inside its own saveLog would wait for itself. Call it after saveLog has returned'
      return Promise.reject(new MylibsqlError('ERR_REENTRANT', message))
    }
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
    if (this.#saving === undefined) void this.#unsaved?.close()
    this.#unsaved = undefined
  }

  async #checkpoint(saveLog: SaveLog): Promise<FrameNo | undefined> {
    let lastFrameNo: FrameNo | undefined
    if (this.#unsaved !== undefined) lastFrameNo = await this.#save(this.#unsaved, saveLog)
    if (this.#closed !== undefined) throw this.#closed
    // What the callers of the last checkpoint write next is asked for in this tick: it can be in this log.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    const log = await this.#steps.seal()
    if (log !== undefined) lastFrameNo = await this.#save(log, saveLog)
    return lastFrameNo
  }

  async #save(log: Log, saveLog: SaveLog): Promise<FrameNo | undefined> {
    const { lastFrameNo, nextFrameNo } = log
    this.#unsaved = log
    this.#saving = log
    try {
      await this.#inSaveLog.run(() => saveLog(log))
    } finally {
      this.#saving = undefined
    }
    this.#unsaved = undefined
    this.#steps.saved(nextFrameNo)
    return lastFrameNo
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
