/**
 * Reader threads of one database, started with the first read. Each has a read-only connection of its own and sees
 * every write that was executed before its query began. When the database's own thread asks for a gap, none begins anything
 * until it is over (worker/reader-gap.ts).
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import type { MylibsqlError } from '../protocol/errors.js'
import { decodeRows } from '../protocol/rows.js'
import type { SqlParams } from '../protocol/values.js'
import type {
  FromCursor,
  FromReaders,
  FromSession,
  Outcome,
  ReaderStart,
  ReaderTask,
  SessionReply,
  SessionStatement,
  ToCursor,
  ToReaders,
  ToSession,
} from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import type { CallOptions, Cancellations } from './cancellations.js'
import { Connection } from './connection.js'
import { PortInbox } from './port-inbox.js'
import { ReadQueue } from './read-queue.js'
import { ReaderThread, type ReaderThreadEvents, tasksPerThreadMax } from './reader-thread.js'
import { isPositional } from './request-group.js'

export class ReaderPool {
  readonly #start: Omit<ReaderStart, 'connectionList'>
  readonly #cancellations: Cancellations
  readonly #threadCount: number
  readonly #queue = new ReadQueue(
    () => this.#living(),
    () => this.#isAwaited(),
  )
  #isAwaited = () => false
  #threads: ReaderThread[] = []
  readonly #leaving = new Set<Promise<void>>()
  readonly #events: ReaderThreadEvents
  /** Sessions and iterations that wait for a thread. */
  #waiting: (() => void)[] = []
  /** In which nothing begins. */
  #gapNo: ToReaders
  readonly #actor: MessagePort
  #closed: MylibsqlError | undefined
  /** Of sessions and iterations. */
  readonly #ports = new Set<MessagePort>()

  constructor(
    start: Omit<ReaderStart, 'cancelTable' | 'connectionList'>,
    cancellations: Cancellations,
    threadCount: number,
    actor: MessagePort,
  ) {
    this.#start = { ...start, cancelTable: cancellations.table.buffer }
    this.#cancellations = cancellations
    this.#threadCount = threadCount
    this.#events = {
      onAnswered: () => {
        this.#queue.goOn()
        this.#makeGap()
      },
      onTaskEnded: () => {
        if (this.#gapNo === undefined) this.#waiting.shift()?.()
        this.#makeGap()
      },
      onEnd: (thread, gone) => {
        this.#threads = this.#threads.filter((other) => other !== thread)
        this.#leaving.add(gone)
        gone.finally(() => this.#leaving.delete(gone))
        for (const wake of this.#waiting.splice(0)) wake()
        this.#queue.goOn()
        this.#makeGap()
      },
    }
    this.#actor = actor
    actor.on('message', (gapNo: ToReaders) => this.#takeGap(gapNo))
  }

  /** Queries of callers for whom this holds do not wait for the end of a gap, which waits for them. */
  exempt(isAwaited: () => boolean): void {
    this.#isAwaited = isAwaited
  }

  get<R>(sql: string, params: SqlParams | undefined, options?: CallOptions): Promise<R | undefined> {
    return this.#cancellations.guard(options, 'get', (slot) => this.#queue.get<R>(sql, params, slot))
  }

  all<R>(sql: string, params: SqlParams | undefined, options?: CallOptions): Promise<R[]> {
    return this.#cancellations.guard(options, 'all', (slot) => this.#queue.all<R>(sql, params, slot))
  }

  /** Rows in chunks, one ahead of the consumer; the query ends when the consumer stops. */
  iterate<R>(sql: string, params: SqlParams | undefined, options?: CallOptions): AsyncIterableIterator<R> {
    // As they are now: the query begins with the first row that is asked for.
    const kept = params !== undefined && isPositional(params) ? params.slice() : params
    return this.#iterate<R>(sql, kept, options)
  }

  async *#iterate<R>(
    sql: string,
    params: SqlParams | undefined,
    options: CallOptions | undefined,
  ): AsyncIterableIterator<R> {
    const { port1: port, port2 } = this.#channel()
    const finished = this.#cancellations.guard(options, 'iterate', (slot) =>
      this.#run({ kind: 'iterate', sql, params, slot, port: port2 }, [port2]),
    )
    try {
      const inbox = new PortInbox<FromCursor>(port, finished)
      port.postMessage({ kind: 'next' } satisfies ToCursor)
      for (let done = false; !done; ) {
        const message = await inbox.take()
        done = message.done
        if (!done) port.postMessage({ kind: 'next' } satisfies ToCursor)
        yield* decodeRows(message.rows) as Iterable<R>
      }
    } finally {
      port.postMessage({ kind: 'stop' } satisfies ToCursor)
      port.close()
      await finished.catch(() => {})
    }
  }

  /** Lends a connection of a reader thread, inside one read transaction. */
  session<T>(
    work: (connection: Connection) => Promise<T>,
    options: CallOptions | undefined,
    method: string,
  ): Promise<T> {
    return this.#cancellations.guard(options, method, (slot, givenUp) => this.#session(work, slot, givenUp))
  }

  async #session<T>(
    work: (connection: Connection) => Promise<T>,
    slot: number,
    givenUp: Promise<never> | undefined,
  ): Promise<T> {
    const { port1: port, port2 } = this.#channel()
    const finished = this.#run({ kind: 'session', slot, port: port2 }, [port2])
    const inbox = new PortInbox<FromSession>(port, finished)
    // Statements are answered in order: each takes its answer before the next one does.
    let turn: Promise<unknown> = Promise.resolve()
    const execute = (statement: SessionStatement): Promise<SessionReply> => {
      port.postMessage({ kind: 'statement', statement } satisfies ToSession)
      const reply = turn.then(async () => {
        const message = await inbox.take()
        return message.kind === 'reply' ? outcomeOf(message.outcome) : undefined
      })
      turn = reply.catch(() => {})
      return reply
    }
    const connection = new Connection(execute, true)
    // It ends before `work` only by an error: closed, or nothing was asked for too long.
    const lost = finished.then(() => new Promise<never>(() => {}))
    lost.catch(() => {})
    try {
      await inbox.take()
      const done = connection.lendTo(work)
      return await Promise.race([done, lost, ...(givenUp === undefined ? [] : [givenUp])])
    } finally {
      connection.end()
      port.postMessage({ kind: 'end' } satisfies ToSession)
      port.close()
      await finished.catch(() => {})
    }
  }

  #channel(): MessageChannel {
    const channel = new MessageChannel()
    this.#ports.add(channel.port1)
    channel.port1.on('close', () => this.#ports.delete(channel.port1))
    return channel
  }

  /** Stops the threads; queries under way reject with `error`. */
  async close(error: MylibsqlError): Promise<void> {
    if (this.#closed !== undefined) return
    this.#closed = error
    this.#queue.close(error)
    for (const wake of this.#waiting.splice(0)) wake()
    const stopped = this.#threads.map((thread) => thread.stop(error))
    for (const port of this.#ports) port.close()
    this.#actor.close()
    await Promise.all(stopped)
    await Promise.all(this.#leaving)
  }

  /** Runs a session or an iteration in the thread that has the fewest. */
  async #run(task: ReaderTask, transferList: MessagePort[]): Promise<void> {
    for (;;) {
      while (this.#gapNo !== undefined && this.#closed === undefined) await this.#woken()
      const threads = this.#living()
      const thread = threads.reduce((best, other) => (other.taskCount < best.taskCount ? other : best))
      if (thread.taskCount < tasksPerThreadMax) return thread.run(task, transferList)
      await this.#woken()
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #takeGap(gapNo: ToReaders): void {
    this.#gapNo = gapNo
    this.#makeGap()
    if (gapNo !== undefined) return
    this.#queue.release()
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Step by step, as sessions and iterations end and queries are answered. */
  #makeGap(): void {
    if (this.#gapNo === undefined) return
    // Whoever is in the midst of one may wait for a query before he goes on.
    if (this.#threads.some((thread) => thread.taskCount > 0)) return
    this.#queue.hold()
    if (this.#threads.every((thread) => thread.messageCount === 0)) {
      this.#actor.postMessage(this.#gapNo satisfies FromReaders)
    }
  }

  /** The threads, started when first needed, and anew in place of those that have died. */
  #living(): readonly ReaderThread[] {
    if (this.#closed !== undefined) throw this.#closed
    while (this.#threads.length < this.#threadCount) {
      try {
        this.#threads.push(new ReaderThread(this.#start, this.#events))
      } catch (error) {
        if (this.#threads.length === 0) throw error
        // Fewer will do.
        break
      }
    }
    return this.#threads
  }
}

function outcomeOf<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value
  throw reviveError(outcome.error)
}
