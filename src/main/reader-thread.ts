/**
 * The main thread's end of one reader thread. Queries go over a port of their own, in messages that are answered in order;
 * an iteration or a session is a task of Piscina with a port of its own. All of them settle: with the thread's answer, or
 * with ERR_WORKER_EXITED when it ends first.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { ConnectionList } from '../protocol/connection-list.js'
import { MylibsqlError } from '../protocol/errors.js'
import type { Outcome, QueryAnswers, ReaderStart, ReaderTask } from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import { interruptRepeatedly } from './cancellations.js'
import { type DatabaseThread, DatabaseThreads } from './database-threads.js'
import type { QueryGroup } from './query-group.js'

/** Sessions and iterations that one thread has at a time. */
export const tasksPerThreadMax = 64
// Sessions and iterations wait for their callers most of the time; queries, which are one task, go on meanwhile.
const readerThreads = new DatabaseThreads('reader.js', 1 + tasksPerThreadMax)

/** So long a thread has to come out of code of the application, which no interrupt reaches, when it is stopped. */
const foreignCodeMsMax = 4_000

export interface ReaderThreadEvents {
  /** A message is answered. */
  readonly onAnswered: () => void
  /** A session or an iteration is over. */
  readonly onTaskEnded: () => void
  /** It has stopped; `gone` resolves when none of its connections is left. */
  readonly onEnd: (thread: ReaderThread, gone: Promise<void>) => void
}

export class ReaderThread {
  readonly #thread: DatabaseThread
  readonly #queries: Promise<void>
  readonly #port: MessagePort
  readonly #connections = new ConnectionList({ connectionsMax: 1 + tasksPerThreadMax })
  readonly #events: ReaderThreadEvents
  readonly #runsForeignCode: boolean
  /** Messages without an answer, in order. */
  #underWay: QueryGroup[] = []
  #busySinceMs = 0
  /** What rejects the tasks under way. */
  readonly #tasks = new Set<(error: unknown) => void>()
  #stopped: MylibsqlError | undefined
  #ended: MylibsqlError | undefined
  #wakeStop: () => void = () => {}

  constructor(start: Omit<ReaderStart, 'connectionList'>, events: ReaderThreadEvents) {
    this.#events = events
    this.#runsForeignCode = start.setupUrl !== undefined
    const onError = (cause: unknown) => this.#fail(cause)
    const thread = this.#runsForeignCode ? readerThreads.start(onError) : readerThreads.take(onError)
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', (answers: QueryAnswers) => this.#receive(answers))
    const task: ReaderTask = {
      kind: 'queries',
      start: { ...start, connectionList: this.#connections.buffer },
      port: port2,
    }
    this.#thread = thread
    this.#queries = thread.run<Outcome<undefined>>(task, [port2]).then(
      (outcome) => {
        const error = this.#stopped ?? exited('it serves no queries any more')
        const isKept = outcome.ok && this.#stopped !== undefined && !this.#runsForeignCode
        this.#end(error, () => (isKept ? readerThreads.giveBack(thread) : thread.end()))
      },
      (cause: unknown) => this.#fail(cause),
    )
  }

  /** Messages of queries without an answer. */
  get messageCount(): number {
    return this.#underWay.length
  }

  /** As performance.now() has it: when it began with the message that it is busy with. */
  get busySinceMs(): number {
    return this.#busySinceMs
  }

  /** Sessions and iterations that are not over. */
  get taskCount(): number {
    return this.#tasks.size
  }

  send(group: QueryGroup): void {
    if (this.#underWay.length === 0) this.#busySinceMs = performance.now()
    this.#underWay.push(group)
    this.#port.postMessage(group.message)
  }

  /** Runs a session or an iteration; resolves when it is over. */
  async run(task: ReaderTask, transferList: MessagePort[]): Promise<void> {
    const outcome = await new Promise<Outcome<undefined>>((resolve, reject) => {
      this.#tasks.add(reject)
      this.#thread
        .run<Outcome<undefined>>(task, transferList)
        .then(resolve, (cause: unknown) => reject(this.#ended ?? exited(cause)))
        .finally(() => {
          this.#tasks.delete(reject)
          this.#wakeStop()
          this.#events.onTaskEnded()
        })
    })
    if (!outcome.ok) throw reviveError(outcome.error)
  }

  /** Rejects everything under way with `error`, and leaves the thread once it is out of SQLite and its connections are closed. */
  async stop(error: MylibsqlError): Promise<void> {
    for (const group of this.#underWay) group.fail(error)
    for (const reject of this.#tasks) reject(error)
    const giveUp = () => this.#fail(`it was not out of code of the application in ${foreignCodeMsMax} ms`)
    const timer = this.#runsForeignCode ? setTimeout(giveUp, foreignCodeMsMax) : undefined
    if (this.#isBusy) {
      // A thread that is ended inside SQLite takes the process with it, as soon as SQLite reports an error there.
      const interrupts = interruptRepeatedly(() => this.#connections.ids())
      while (this.#isBusy) {
        await new Promise<void>((resolve) => {
          this.#wakeStop = resolve
        })
      }
      interrupts.stop()
    }
    this.#stopped = error
    this.#port.close()
    await this.#queries
    clearTimeout(timer)
  }

  get #isBusy(): boolean {
    return this.#ended === undefined && (this.#underWay.length > 0 || this.#tasks.size > 0)
  }

  #receive(answers: QueryAnswers): void {
    const group = this.#underWay[0]!
    group.receive(answers)
    if (!group.isAnswered) return
    this.#underWay.shift()
    this.#busySinceMs = performance.now()
    this.#wakeStop()
    this.#events.onAnswered()
  }

  #fail(cause: unknown): void {
    this.#end(exited(cause), () => this.#thread.end())
  }

  #end(error: MylibsqlError, leave: () => Promise<void>): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#port.close()
    for (const group of this.#underWay.splice(0)) group.fail(error)
    for (const reject of this.#tasks) reject(error)
    const gone = leave()
    this.#wakeStop()
    this.#events.onEnd(this, gone)
  }
}

function exited(cause: unknown): MylibsqlError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_WORKER_EXITED', `A reader thread stopped: ${reason}`, {}, { cause })
}
