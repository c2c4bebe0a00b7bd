/**
 * The threads of open databases: each belongs to one actor or reader, from the task it is taken for to the end of that. To
 * start a thread takes ten times as long as to open a small database in it, so that one whose database is closed is kept for
 * some seconds, for the next one. Then it is gone; it never keeps the process alive meanwhile.
 */
import type { MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { MylibsqlError } from '../protocol/errors.js'

const keptMs = 5_000
/** Of threads that do the same. */
const keptMax = 4

export class DatabaseThreads {
  readonly #fileName: string
  readonly #tasksMax: number
  #kept: DatabaseThread[] = []

  /** `fileName`: of the script in dist/worker; `tasksMax`: that one thread has at a time. */
  constructor(fileName: string, tasksMax: number) {
    this.#fileName = fileName
    this.#tasksMax = tasksMax
  }

  /** `onError`: the thread has ended by an error. Throws ERR_WORKER_EXITED when the system gives no thread. */
  take(onError: (cause: unknown) => void): DatabaseThread {
    const thread = this.#kept.pop()
    thread?.begin(onError)
    return thread ?? this.start(onError)
  }

  /** The same, but a new one: its environment is that of now. */
  start(onError: (cause: unknown) => void): DatabaseThread {
    const thread = new DatabaseThread(this.#newPool())
    thread.begin(onError)
    return thread
  }

  /**
   * Nothing runs in it any more, and nothing is left in it of whoever had it: no connection, no port, no code of the
   * application. Where enough are kept it is ended; resolves when that is done.
   */
  async giveBack(thread: DatabaseThread): Promise<void> {
    if (this.#kept.length === keptMax) return thread.end()
    this.#kept.push(thread)
    thread.rest(keptMs, () => {
      this.#kept = this.#kept.filter((other) => other !== thread)
    })
  }

  #newPool(): Piscina {
    try {
      return this.#startPool()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `No thread can be started for a database: ${reason}`
      throw new MylibsqlError('ERR_WORKER_EXITED', message, {}, { cause })
    }
  }

  #startPool(): Piscina {
    return new Piscina({
      filename: new URL(`../worker/${this.#fileName}`, import.meta.url).href,
      // With an idle timeout or a queue an actor could vanish or wait unseen.
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      ...(this.#tasksMax === 1 ? { maxQueue: 0 } : { concurrentTasksPerWorker: this.#tasksMax }),
      // A thread asleep in Atomics.wait would not hear its ports.
      atomics: 'disabled',
      recordTiming: false,
    })
  }
}

export class DatabaseThread {
  readonly #piscina: Piscina
  #onError: (cause: unknown) => void = () => {}
  #timer: NodeJS.Timeout | undefined
  #ended: Promise<void> | undefined

  constructor(piscina: Piscina) {
    this.#piscina = piscina
    piscina.on('error', (cause) => this.#onError(cause))
  }

  begin(onError: (cause: unknown) => void): void {
    clearTimeout(this.#timer)
    this.#onError = onError
  }

  /** Until somebody begins with it again; ends by itself after so long, or when it fails. */
  rest(forMs: number, onEnd: () => void): void {
    const end = () => {
      this.begin(() => {})
      onEnd()
      void this.end()
    }
    this.#onError = end
    this.#timer = setTimeout(end, forMs).unref()
  }

  run<T>(task: object, transferList: MessagePort[]): Promise<T> {
    return this.#piscina.run(task, { transferList })
  }

  /** Whatever it is doing. */
  end(): Promise<void> {
    // Only once: a second call would end at once and let Piscina start a thread in place of the one that exits.
    this.#ended ??= this.#piscina.destroy()
    return this.#ended
  }
}
