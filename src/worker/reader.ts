/**
 * Entry point of a reader thread: read-only connections on which queries run while the writer goes on. Queries of one
 * tick share a connection and see everything that was committed before they began. An iteration or a session has a
 * connection to itself, because it stands at one state of the database for as long as it lasts.
 */
import { once } from 'node:events'
import type { MessagePort } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { CancelTable } from '../protocol/cancellation.js'
import { ConnectionList } from '../protocol/connection-list.js'
import { MylibsqlError, toWireError } from '../protocol/errors.js'
import { iterateChunkRows } from '../protocol/limits.js'
import { columnBuffers, encodeRows } from '../protocol/rows.js'
import type { SqlValue } from '../protocol/values.js'
import type {
  FromCursor,
  FromSession,
  Outcome,
  QueryAnswers,
  QueryMessage,
  ReaderStart,
  ReaderTask,
  ToCursor,
  ToSession,
} from '../protocol/wire.js'
import { type ConnectionSetup, loadSetup } from './connection-setup.js'
import { Interruptible } from './interruptible.js'
import { loadExtension } from './load-extension.js'
import { native } from './native.js'
import { Queries } from './queries.js'
import { failedAnswers, MessageAnswering } from './query-message.js'
import { Session } from './session.js'
import { closeShared, keepOpen } from './shared-connection.js'
import { ofReadOnly } from './statement-error.js'
import { Statements } from './statements.js'

/** While queries are answered: sessions and iterations are of the same database. */
let readers: Promise<Readers> | undefined

export default async function read(task: ReaderTask): Promise<Outcome<undefined>> {
  try {
    await run(task)
    return { ok: true, value: undefined }
  } catch (error) {
    return { ok: false, error: toWireError(error) }
  }
}

async function run(task: ReaderTask): Promise<void> {
  switch (task.kind) {
    case 'queries':
      return answerQueries(task)
    case 'iterate':
      return withReader(task.port, (reader, open) => iterate(reader, task, open))
    case 'session':
      return withReader(task.port, (reader, open) => session(reader, task, open))
    default:
      return task satisfies never
  }
}

/** Until the port is closed; then no connection is left. */
async function answerQueries({ start, port }: Extract<ReaderTask, { kind: 'queries' }>): Promise<void> {
  const closed = once(port, 'close')
  readers = Readers.open(start)
  const opened = await readers
  let shared: Reader | undefined
  const post = (answers: QueryAnswers) => port.postMessage(answers, answers.allRows.flatMap(columnBuffers))
  port.on('message', (message: QueryMessage) => {
    try {
      shared ??= opened.take()
    } catch (error) {
      post(failedAnswers(message, 0, error))
      return
    }
    new MessageAnswering(message, shared.queries, shared.interruptible, post).run()
  })
  await closed
  readers = undefined
  opened.close()
}

interface Reader {
  readonly connection: Database.Database
  readonly queries: Queries
  readonly statements: Statements
  readonly interruptible: Interruptible
}

class Readers {
  readonly idleTimeoutMs: number
  readonly #start: ReaderStart
  readonly #cancelTable: CancelTable
  readonly #connectionList: ConnectionList
  readonly #connections: Database.Database[] = []
  /** Of sessions and iterations that have ended, for the next ones. */
  readonly #idle: Reader[] = []
  readonly #setUp: ConnectionSetup

  private constructor(start: ReaderStart, setUp: ConnectionSetup) {
    this.idleTimeoutMs = start.idleTimeoutMs
    this.#start = start
    this.#setUp = setUp
    this.#cancelTable = new CancelTable(start.cancelTable)
    this.#connectionList = new ConnectionList(start.connectionList)
  }

  /** Without a module to set connections up, none can be taken. */
  static async open(start: ReaderStart): Promise<Readers> {
    const setUp = await loadSetup(start.setupUrl).catch((error: unknown) => () => {
      throw error
    })
    return new Readers(start, setUp)
  }

  /** Throws ERR_SETUP, and what SQLite throws. */
  take(): Reader {
    return this.#idle.pop() ?? this.#connect()
  }

  giveBack(reader: Reader): void {
    this.#idle.push(reader)
  }

  close(): void {
    for (const connection of this.#connections) closeShared(connection)
  }

  #connect(): Reader {
    const { path, safeIntegers } = this.#start
    const connection = new Database(path, { readonly: true, fileMustExist: true })
    keepOpen(connection)
    let connectionId: number
    try {
      loadExtension(connection)
      connectionId = native.connectionId()
      this.#setUp(connection)
      connection.defaultSafeIntegers(safeIntegers)
    } catch (error) {
      closeShared(connection)
      throw error
    }
    this.#connections.push(connection)
    this.#connectionList.add(connectionId)
    const interruptible = new Interruptible(this.#cancelTable, connectionId)
    const queries = new Queries(connection)
    return { connection, queries, statements: new Statements(connection), interruptible }
  }
}

async function withReader(
  port: MessagePort,
  use: (reader: Reader, readers: Readers) => Promise<void>,
): Promise<void> {
  const open = await readers!
  let reader: Reader | undefined
  try {
    reader = open.take()
    await use(reader, open)
  } finally {
    port.close()
    if (reader !== undefined) open.giveBack(reader)
  }
}

/** Sends a chunk of rows each time it is asked for one; a query that nobody asks about is given up. */
async function iterate(
  { queries, interruptible }: Reader,
  { sql, params, slot, port }: Extract<ReaderTask, { kind: 'iterate' }>,
  { idleTimeoutMs }: Readers,
): Promise<void> {
  let rows: IterableIterator<SqlValue[]> | undefined
  queries.begin()
  try {
    const { statement, names } = queries.prepare(sql)
    rows = params === undefined ? statement.iterate() : statement.iterate(params)
    for await (const message of requests<ToCursor>(port, idleTimeoutMs)) {
      if (message.kind === 'stop') return
      const chunk: SqlValue[][] = []
      interruptible.begin(slot)
      let next = rows.next()
      while (!next.done) {
        chunk.push(next.value)
        if (chunk.length === iterateChunkRows) break
        next = rows.next()
      }
      const done = next.done === true
      const encoded = encodeRows(names, chunk)
      port.postMessage({ kind: 'rows', rows: encoded, done } satisfies FromCursor, columnBuffers(encoded))
      if (done) return
    }
  } catch (error) {
    throw ofReadOnly(error, sql)
  } finally {
    interruptible.end(slot)
    rows?.return?.()
    queries.end()
  }
}

/** One read transaction: all queries made in it see the same state. */
async function session(
  { connection, queries, statements, interruptible }: Reader,
  { slot, port }: Extract<ReaderTask, { kind: 'session' }>,
  { idleTimeoutMs }: Readers,
): Promise<void> {
  const run = new Session(connection, statements, true)
  interruptible.begin(slot)
  try {
    queries.begin()
    port.postMessage({ kind: 'ready' } satisfies FromSession)
    for await (const message of requests<ToSession>(port, idleTimeoutMs)) {
      if (message.kind === 'end') break
      port.postMessage({ kind: 'reply', outcome: reply(run, message) } satisfies FromSession)
    }
  } finally {
    interruptible.end(slot)
    run.endIterations()
    queries.end()
  }
}

function reply(session: Session, message: Extract<ToSession, { kind: 'statement' }>) {
  try {
    return { ok: true, value: session.execute(message.statement) } as const
  } catch (error) {
    return { ok: false, error: toWireError(error) } as const
  }
}

/** What comes over a port, until it closes. Throws ERR_TIMEOUT when nothing comes for too long. */
async function* requests<T>(port: MessagePort, idleTimeoutMs: number): AsyncGenerator<T> {
  const waiting: T[] = []
  let isClosed = false
  let wake: (() => void) | undefined
  port.on('message', (message: T) => {
    waiting.push(message)
    wake?.()
  })
  port.on('close', () => {
    isClosed = true
    wake?.()
  })
  while (!isClosed || waiting.length > 0) {
    const message = waiting.shift()
    if (message !== undefined) {
      yield message
      continue
    }
    const isIdle = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), idleTimeoutMs)
      wake = () => {
        clearTimeout(timer)
        resolve(false)
      }
    })
    if (isIdle && waiting.length === 0) throw idle(idleTimeoutMs)
  }
}

function idle(idleTimeoutMs: number): MylibsqlError {
  const message = `Nothing was asked for ${idleTimeoutMs} ms, so the query was given up (option idleTimeoutMs)`
  return new MylibsqlError('ERR_TIMEOUT', message)
}
