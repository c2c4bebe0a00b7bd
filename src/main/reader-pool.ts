/**
 * Reader threads of one database, started with the first read. Each has a read-only connection of its own and sees
 * every write that was executed before its query began.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
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
import type { CallOptions, Cancellations } from './cancellations.js'
import { Connection } from './connection.js'
import { ReadQueue } from './read-queue.js'

/** Sessions, iterations and messages of queries that one thread has at a time; more wait for their turn. */
const tasksPerThreadMax = 64

export class ReaderPool {
  readonly #start: ReaderStart
  readonly #cancellations: Cancellations
  readonly #threadCount: number
  readonly #queue: ReadQueue
  #pool: Piscina | undefined
  #closed: MylibsqlError | undefined
  readonly #pending = new Set<(error: unknown) => void>()

  constructor(start: Omit<ReaderStart, 'cancelTable'>, cancellations: Cancellations, threadCount: number) {
    this.#start = { ...start, cancelTable: cancellations.table.buffer }
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
  async *iterate(
    sql: string,
    params: SqlParams | undefined,
    options?: CallOptions,
  ): AsyncIterableIterator<Row> {
    const channel = new MessageChannel()
    const port = channel.port1
    const finished = this.#cancellations.guard(options, 'iterate', (slot) =>
      this.#run({ kind: 'iterate', sql, params, slot, port: channel.port2 }, [channel.port2]),
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
    const channel = new MessageChannel()
    const port = channel.port1
    const finished = this.#run({ kind: 'session', slot, port: channel.port2 }, [channel.port2])
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
    try {
      const first = await inbox.take()
      if (first.kind === 'reply') outcomeOf(first.outcome)
      return await (givenUp === undefined ? work(connection) : Promise.race([work(connection), givenUp]))
    } finally {
      connection.end()
      port.postMessage({ kind: 'end' } satisfies ToSession)
      port.close()
      await finished.catch(() => {})
    }
  }

  /** Stops the threads; queries under way reject with `error`. */
  async close(error: MylibsqlError): Promise<void> {
    if (this.#closed !== undefined) return
    this.#closed = error
    for (const reject of this.#pending) reject(error)
    await this.#pool?.destroy()
  }

  async #run(task: ReaderTask, transferList: MessagePort[] = []): Promise<QueryAnswers | undefined> {
    const closed = this.#closed
    if (closed !== undefined) throw closed
    const outcome = await new Promise<Outcome<QueryAnswers | undefined>>((resolve, reject) => {
      this.#pending.add(reject)
      this.#threads()
        .run(task, { transferList })
        .catch((cause: unknown) => {
          throw this.#closed ?? exited(cause)
        })
        .then(resolve, reject)
        .finally(() => this.#pending.delete(reject))
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
      // What was posted before the task ended is still on its way.
      setImmediate(() => {
        this.#isFinished = true
        this.#error = error
        this.#wake?.()
      })
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
