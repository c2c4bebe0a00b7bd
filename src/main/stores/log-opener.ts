/**
 * Opens small logs of a store: unpacked, checked and in memory, by a task of a thread for all that wait. To read, unpack and
 * check each of them in steps of its own takes twice as long, most of it for changing threads.
 */
import type { LogFile, LogLocation } from '../../protocol/log-format.js'
import { Log } from '../log.js'
import { runTask } from '../task-pool.js'
import { decompressed, gathered } from './compression.js'
import { namedAs } from './stored-log.js'

type Open = (locations: readonly LogLocation[]) => Promise<readonly (LogFile | undefined)[]>

interface Waiter {
  readonly location: LogLocation
  readonly resolve: (log: Log | undefined) => void
  readonly reject: (error: unknown) => void
}

export class LogOpener {
  readonly #open: Open
  #waiters: Waiter[] = []
  #isOpening = false

  /** `open`: runs the task. */
  constructor(open: Open) {
    this.#open = open
  }

  /**
   * Undefined when something is wrong with the log, when it is merged, or has more than `logMemoryBytesMax` bytes: that is
   * left to who looks closer at it. Throws ERR_WORKER_EXITED.
   */
  open(location: LogLocation): Promise<Log | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ location, resolve, reject })
      if (this.#isOpening) return
      this.#isOpening = true
      // With those that are asked for in this turn.
      queueMicrotask(() => this.#openAll())
    })
  }

  async #openAll(): Promise<void> {
    while (this.#waiters.length > 0) {
      const waiters = this.#waiters.splice(0)
      try {
        const opened = await this.#open(waiters.map(({ location }) => location))
        for (const [index, { resolve }] of waiters.entries()) {
          const file = opened[index]
          resolve(file && Log.fromFile(file, { temporary: false }))
        }
      } catch (error) {
        for (const { reject } of waiters) reject(error)
      }
    }
    this.#isOpening = false
  }
}

/** Of those that came over a network. */
const received = new LogOpener((locations) => {
  const buffers = locations.flatMap((at) => ('bytes' in at ? [at.bytes.buffer as ArrayBuffer] : []))
  return runTask({ kind: 'openStoredLogs', locations }, buffers)
})

/** A small log from the object that a store has of it. Throws ERR_NOT_A_LOG, ERR_VERSION, ERR_CORRUPT naming `where`. */
export async function openedLog(object: Uint8Array, where: { readonly path: string }): Promise<Log> {
  // What is wrong with it is told below.
  const log = await received.open({ bytes: new Uint8Array(object) })
  if (log !== undefined) return log
  try {
    return await Log.from(await gathered(decompressed([object], where)))
  } catch (error) {
    throw namedAs(where.path, error)
  }
}
