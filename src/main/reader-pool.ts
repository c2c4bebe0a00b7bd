/**
 * Reader threads of one database, started with the first read. Each has a read-only connection of its own and sees
 * every write that was executed before its query began.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { ConnectionList } from '../protocol/connection-list.js'
import { MylibsqlError } from '../protocol/errors.js'
import { decodeRows } from '../protocol/rows.js'
import type { Row, SqlParams } from '../protocol/values.js'
import type {
  FromCursor,
  FromSession,
  Outcome,
  QueryAnswers,
  ReaderStart,
  ReaderTask,
  SessionReply,
  SessionStatement,
  ToCursor,
  ToSession,
} from '../protocol/wire.js'
import { reviveError } from './actor-thread.js'
import { type CallOptions, type Cancellations, interruptRepeatedly } from './cancellations.js'
import { Connection } from './connection.js'
import { ReadQueue } from './read-queue.js'
import { isPositional } from './request-group.js'

/** Sessions, iterations and messages of queries that one thread has at a time; more wait for their turn. */
const tasksPerThreadMax = 64

export class ReaderPool {
  readonly #start: ReaderStart
  readonly #cancellations: Cancellations
  readonly #connections: ConnectionList
  readonly #threadCount: number
  readonly #queue: ReadQueue
  #pool: Piscina | undefined
  #closed: MylibsqlError | undefined
  readonly #pending = new Set<(error: unknown) => void>()
  readonly #running = new Set<Promise<unknown>>()
  /** Of sessions and iterations. */
  readonly #ports = new Set<MessagePort>()

  constructor(
    start: Omit<ReaderStart, 'cancelTable' | 'connectionList'>,
    cancellations: Cancellations,
    threadCount: number,
  ) {
    // One that its queries share, and one for each session and iteration.
    this.#connections = new ConnectionList({ connectionsMax: threadCount * (1 + tasksPerThreadMax) })
    this.#start = {
      ...start,
      cancelTable: cancellations.table.buffer,
      connectionList: this.#connections.buffer,
    }
    this.#cancellations = cancellations
    this.#threadCount = threadCount
    this.#queue = new ReadQueue(threadCount, async (batch) => (await this.#run(batch))!)
  }

  get(sql: string, params: SqlParams | undefined, options?: CallOptions): Promise<Row | undefined> {
    return this.#cancellations.guard(options, 'get', (slot) => this.#queue.get(sql, params, slot))
  }

  all(sql: string, params: SqlParams | undefined, options?: CallOptions): Promise<Row[]> {
    return this.#cancellations.guard(options, 'all', (slot) => this.#queue.all(sql, params, slot))
  }

  /** Rows in chunks, one ahead of the consumer; the query ends when the consumer stops. */
  iterate(sql: string, params: SqlParams | undefined, options?: CallOptions): AsyncIterableIterator<Row> {
    // As they are now: the query begins with the first row that is asked for.
    const kept = params !== undefined && isPositional(params) ? params.slice() : params
    return this.#iterate(sql, kept, options)
  }

  async *#iterate(
    sql: string,
    params: SqlParams | undefined,
    options: CallOptions | undefined,
  ): AsyncIterableIterator<Row> {
    const { port1: port, port2 } = this.#channel()
    const finished = this.#cancellations.guard(options, 'iterate', (slot) =>
      this.#run({ kind: 'iterate', sql, params, slot, port: port2 }, [port2]),
    )
    try {
      const inbox = new Inbox<FromCursor>(port, finished)
      port.postMessage({ kind: 'next' } satisfies ToCursor)
      for (let done = false; !done; ) {
        const message = await inbox.take()
        done = message.done
        if (!done) port.postMessage({ kind: 'next' } satisfies ToCursor)
        yield* decodeRows(message.rows)
      }
    } finally {
      port.postMessage({ kind: 'stop' } satisfies ToCursor)
      port.close()
      await finished.catch(() => {})
    }
  }

  /** Lends a connection of a reader thread, inside one read transaction. */
  session<T>(work: (connection: Connection) => Promise<T>, options?: CallOptions): Promise<T> {
    return this.#cancellations.guard(options, 'withConnection', (slot, givenUp) =>
      this.#session(work, slot, givenUp),
    )
  }

  async #session<T>(
    work: (connection: Connection) => Promise<T>,
    slot: number,
    givenUp: Promise<never> | undefined,
  ): Promise<T> {
    const { port1: port, port2 } = this.#channel()
    const finished = this.#run({ kind: 'session', slot, port: port2 }, [port2])
    const inbox = new Inbox<FromSession>(port, finished)
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
      return await Promise.race([work(connection), lost, ...(givenUp === undefined ? [] : [givenUp])])
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
    for (const reject of this.#pending) reject(error)
    for (const port of this.#ports) port.close()
    if (this.#running.size > 0) {
      // A thread that is ended inside SQLite takes the process with it, as soon as SQLite reports an error there.
      const interrupts = interruptRepeatedly(() => this.#connections.ids())
      await Promise.allSettled(this.#running)
      interrupts.stop()
    }
    await this.#pool?.destroy()
  }

  async #run(task: ReaderTask, transferList: MessagePort[] = []): Promise<QueryAnswers | undefined> {
    const closed = this.#closed
    if (closed !== undefined) throw closed
    const outcome = await new Promise<Outcome<QueryAnswers | undefined>>((resolve, reject) => {
      this.#pending.add(reject)
      const running = this.#threads()
        .run(task, { transferList })
        .catch((cause: unknown) => {
          throw this.#closed ?? exited(cause)
        })
        .then(resolve, reject)
        .finally(() => {
          this.#pending.delete(reject)
          this.#running.delete(running)
        })
      this.#running.add(running)
    })
    return outcomeOf(outcome)
  }

  #threads(): Piscina {
    if (this.#pool === undefined) {
      this.#pool = new Piscina({
        filename: new URL('../worker/reader.js', import.meta.url).href,
        minThreads: this.#threadCount,
        maxThreads: this.#threadCount,
        idleTimeout: Number.POSITIVE_INFINITY,
        // A thread asleep in Atomics.wait would not hear the port of a cursor.
        atomics: 'disabled',
        workerData: this.#start,
        // Sessions and iterations wait for their callers most of the time; queries go on meanwhile.
        concurrentTasksPerWorker: tasksPerThreadMax,
        recordTiming: false,
      })
      this.#pool.on('error', (cause) => {
        for (const reject of this.#pending) reject(exited(cause))
      })
    }
    return this.#pool
  }
}

/** Messages of a port in order. Waiting ends with an error when the task that posts them ends. */
class Inbox<T> {
  readonly #messages: T[] = []
  #wake: (() => void) | undefined
  #isFinished = false
  #error: unknown

  constructor(port: MessagePort, finished: Promise<unknown>) {
    port.on('message', (message: T) => {
      this.#messages.push(message)
      this.#wake?.()
    })
    const end = (error: unknown) => {
      // What was posted before the task ended is here, but not handed out yet: that is another port.
      for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
        this.#messages.push(next.message as T)
      }
      this.#isFinished = true
      this.#error = error
      this.#wake?.()
    }
    finished.then(() => end(undefined), end)
  }

  async take(): Promise<T> {
    while (this.#messages.length === 0) {
      if (this.#isFinished) throw this.#error ?? new MylibsqlError('ERR_CLOSED', 'The query has ended')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#messages.shift()!
  }
}

function outcomeOf<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value
  throw reviveError(outcome.error)
}

function exited(cause: unknown): MylibsqlError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MylibsqlError('ERR_WORKER_EXITED', `A reader thread stopped: ${reason}`, {}, { cause })
}
