/**
 * The task threads: at most two for the whole process, started when first needed and gone some seconds after the last task,
 * unless somebody holds them. An idle one never keeps the process alive; a running one does, until it has answered. FileStores
 * have threads of their own, likewise: they must not wait behind what takes seconds. So has compression of what is to be
 * stored, which must not wait for a disk that hangs, and have interrupts.
 */
import { availableParallelism } from 'node:os'
import Database from 'better-sqlite3'
import { FixedQueue, Piscina } from 'piscina'
import { fromWireError, MylibsqlError } from '../protocol/errors.js'
import type { Task, TaskKind, TaskOf, TaskResult } from '../protocol/tasks.js'
import type { Outcome } from '../protocol/wire.js'

type TransferList = readonly (ArrayBuffer | import('node:worker_threads').MessagePort)[]

const idleTimeoutMs = 5_000
/** A thread that has answered so recently is there. */
const warmMs = idleTimeoutMs - 1_000
const threadsMax = 2
/** On stores whose disks hang that many can stand still before all of them do. */
const storeThreadsMax = 4

/** Threads that exit one after the other before they can do anything; what waits for them fails then. */
const startsInVainMax = 4

/** Threads, and what they have not answered yet. */
interface RunningPool {
  readonly piscina: Piscina
  /** Each of them rejects one: Piscina forgets its queue when a thread cannot start. */
  readonly pending: Set<(cause: unknown) => void>
  readonly queue: Queue
}

type Queued = Parameters<FixedQueue['push']>[0]

class Queue extends FixedQueue {
  #newest: Queued | undefined

  override push(task: Queued): void {
    this.#newest = task
    super.push(task)
  }

  override shift(): Queued | null {
    const task = super.shift()
    if (task === this.#newest) this.#newest = undefined
    return task
  }

  removeNewest(): void {
    if (this.#newest !== undefined) this.remove(this.#newest)
    this.#newest = undefined
  }
}

class TaskPool {
  readonly #threadsMax: number
  /** When a thread dies, another pool takes its place: those that die after it are none of its threads. */
  #running: RunningPool | undefined
  #answeredMs = Number.NEGATIVE_INFINITY
  #holdCount = 0
  #holding: NodeJS.Timeout | undefined

  constructor(threadsMax: number) {
    this.#threadsMax = threadsMax
  }

  /** True: a thread is there, which has just answered. False: one is being started, or kept, for what comes soon. */
  warmUp(): boolean {
    if (performance.now() - this.#answeredMs < warmMs) return true
    this.#wake()
    return false
  }

  /** One thread is started, and stays until what is returned was called: whoever comes need not wait for its start. */
  hold(): () => void {
    this.#holdCount += 1
    this.#holding ??= setInterval(() => this.#wakeInTime(), warmMs / 4).unref()
    this.#wakeInTime()
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#holdCount -= 1
      if (this.#holdCount > 0) return
      clearInterval(this.#holding)
      this.#holding = undefined
    }
  }

  #wakeInTime(): void {
    if (performance.now() - this.#answeredMs > warmMs / 2) this.#wake()
  }

  #wake(): void {
    const isBusy = this.#running !== undefined && this.#running.pending.size > 0
    if (!isBusy) this.answer({ kind: 'wake' }, []).catch(() => {})
  }

  /** What comes now waits until something else is done. */
  get isBusy(): boolean {
    return this.#running !== undefined && this.#running.pending.size >= this.#threadsMax
  }

  answer(task: Task, transferList: TransferList): Promise<Outcome<unknown>> {
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) => {
        // Arguments that cannot be cloned are the caller's mistake, not the thread's end.
        const isClone = cause instanceof DOMException && cause.name === 'DataCloneError'
        reject(isClone ? cause : workerExited(`A task thread stopped during ${task.kind}`, cause))
      }
      this.#running ??= this.#start()
      const { piscina, queue, pending } = this.#running
      pending.add(fail)
      let answer: Promise<Outcome<unknown>>
      try {
        answer = piscina.run(task, { transferList: [...transferList] })
      } catch (cause) {
        // No thread can be started. The task is in the queue already, and nobody has its promise.
        queue.removeNewest()
        pending.delete(fail)
        reject(workerExited(`No task thread can be started for ${task.kind}`, cause))
        return
      }
      answer.then(resolve, fail).finally(() => {
        pending.delete(fail)
        this.#answeredMs = performance.now()
      })
    })
  }

  #start(): RunningPool {
    const queue = new Queue()
    const piscina = new Piscina({
      filename: new URL('../worker/tasks.js', import.meta.url).href,
      taskQueue: queue,
      minThreads: 0,
      maxThreads: this.#threadsMax,
      idleTimeout: idleTimeoutMs,
      // With atomics the event loop of an idle thread stands still in Atomics.wait, and with it whatever a task
      // left to finish there (closing of handles, finalizers of better-sqlite3).
      atomics: 'disabled',
      recordTiming: false,
    })
    const started: RunningPool = { piscina, queue, pending: new Set() }
    const end = (cause: unknown) => {
      if (this.#running === started) this.#running = undefined
      for (const fail of started.pending) fail(cause)
      void piscina.destroy()
    }
    let readyCount = 0
    let startedInVainCount = 0
    piscina.on('workerCreate', () => {
      readyCount += 1
      startedInVainCount = 0
    })
    // Piscina starts a thread for its queue only when a task comes in, not when a thread has died.
    piscina.on('workerDestroy', () => {
      // Which one it was, Piscina does not tell.
      if (readyCount > 0) readyCount -= 1
      else startedInVainCount += 1
      setImmediate(() => {
        if (this.#running !== started || piscina.queueSize === 0) return
        if (startedInVainCount > startsInVainMax) end(new Error('threads exit while they start'))
        else this.answer({ kind: 'wake' }, []).catch(() => {})
      })
    })
    piscina.on('error', end)
    return started
  }
}

const tasks = new TaskPool(Math.min(threadsMax, availableParallelism()))
const storeTasks = new TaskPool(storeThreadsMax)
const packTasks = new TaskPool(Math.min(threadsMax, availableParallelism()))
const interruptTasks = new TaskPool(1)

/**
 * Runs a task in a task thread. Rejects with what the task threw (class, code and cause), with
 * ERR_WORKER_EXITED when the thread died.
 */
export function runTask<K extends TaskKind>(
  task: TaskOf<K>,
  transferList: TransferList = [],
): Promise<TaskResult<K>> {
  return run(tasks, task, transferList)
}

/** The same of a task that takes no time, and must not wait for those that take seconds. */
export function runBriefTask<K extends TaskKind>(task: TaskOf<K>): Promise<TaskResult<K>> {
  return run(tasks.isBusy ? interruptTasks : tasks, task, [])
}

/** The same in a thread for the folders of stores. */
export function runStoreTask<K extends TaskKind>(task: TaskOf<K>): Promise<TaskResult<K>> {
  return run(storeTasks, task, [])
}

/** The same in a thread for compression. */
export function runPackTask<K extends TaskKind>(
  task: TaskOf<K>,
  transferList: TransferList = [],
): Promise<TaskResult<K>> {
  return run(packTasks, task, transferList)
}

/** Interrupts what a connection runs. In a thread for that: it must not wait for what takes seconds. */
export function runInterrupt(connectionId: number): Promise<boolean> {
  return run<'interrupt'>(interruptTasks, { kind: 'interrupt', connectionId }, [])
}

/** The same of the connection that runs a call which was given up. */
export function runInterruptCall(words: Uint32Array, at: number): Promise<boolean> {
  return run<'interruptCall'>(interruptTasks, { kind: 'interruptCall', words, at }, [])
}

/**
 * True: a store task would begin at once. False: a thread is being started for those that come soon, which may take a tenth
 * of a second.
 */
export function warmUpStoreThread(): boolean {
  return storeTasks.warmUp()
}

/** Such a thread is there from now on, until what is returned was called. */
export function holdStoreThread(): () => void {
  return storeTasks.hold()
}

/** The same of a thread for compression. */
export function holdPackThread(): () => void {
  return packTasks.hold()
}

async function run<K extends TaskKind>(
  pool: TaskPool,
  task: TaskOf<K>,
  transferList: TransferList,
): Promise<TaskResult<K>> {
  const outcome = await pool.answer(task as unknown as Task, transferList)
  if (outcome.ok) return outcome.value as TaskResult<K>
  throw fromWireError(outcome.error, Database.SqliteError)
}

function workerExited(what: string, cause: unknown): MylibsqlError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_WORKER_EXITED', `${what}: ${reason}`, {}, { cause })
}
