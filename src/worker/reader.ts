/**
 * Entry point of a reader thread: read-only connections on which queries run while the writer goes on. Queries of one
 * tick share a connection and see everything that was committed before they began. An iteration or a session has a
 * connection to itself, because it stands at one state of the database for as long as it lasts.
 */
import type { MessagePort } from 'node:worker_threads'
import { workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { move, transferableSymbol, valueSymbol } from 'piscina'
import { MylibsqlError, toWireError } from '../protocol/errors.js'
import { iterateChunkRows } from '../protocol/limits.js'
import { columnBuffers, encodeRows } from '../protocol/rows.js'
import type { SqlValue } from '../protocol/values.js'
import type {
  FromCursor,
  FromSession,
  Outcome,
  QueryAnswers,
  ReaderStart,
  ReaderTask,
  ToCursor,
  ToSession,
} from '../protocol/wire.js'
import { Queries } from './queries.js'
import { Session } from './session.js'
import { Statements } from './statements.js'

const start = workerData as ReaderStart
let shared: Queries | undefined
/** Connections of sessions and iterations that have ended, for the next ones. */
const idleConnections: Database.Database[] = []

export default async function read(task: ReaderTask): Promise<unknown> {
  try {
    const value = await run(task)
    const outcome: Outcome<QueryAnswers | undefined> = { ok: true, value }
    const buffers = value?.allRows.flatMap(columnBuffers) ?? []
    if (buffers.length === 0) return outcome
    return move({ [transferableSymbol]: buffers, [valueSymbol]: outcome })
  } catch (error) {
    return { ok: false, error: toWireError(error) }
  }
}

async function run(task: ReaderTask): Promise<QueryAnswers | undefined> {
  switch (task.kind) {
    case 'queries':
      shared ??= new Queries(connect())
      return shared.answer(task)
    case 'iterate':
      return withConnection(task.port, (connection) => iterate(connection, task))
    case 'session':
      return withConnection(task.port, (connection) => session(connection, task.port))
    default:
      return task satisfies never
  }
}

function connect(): Database.Database {
  const connection = new Database(start.path, { readonly: true, fileMustExist: true })
  connection.defaultSafeIntegers(start.safeIntegers)
  return connection
}

async function withConnection(
  port: MessagePort,
  use: (connection: Database.Database) => Promise<void>,
): Promise<undefined> {
  let connection: Database.Database | undefined
  try {
    connection = idleConnections.pop() ?? connect()
    await use(connection)
  } finally {
    port.close()
    if (connection !== undefined) idleConnections.push(connection)
  }
}

/** Sends a chunk of rows each time it is asked for one; a query that nobody asks about is given up. */
async function iterate(
  connection: Database.Database,
  { sql, params, port }: Extract<ReaderTask, { kind: 'iterate' }>,
): Promise<void> {
  let rows: IterableIterator<SqlValue[]> | undefined
  try {
    const { statement, names } = new Queries(connection).prepare(sql)
    rows = params === undefined ? statement.iterate() : statement.iterate(params)
    for await (const message of requests<ToCursor>(port)) {
      if (message.kind === 'stop') return
      const chunk: SqlValue[][] = []
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
    port.postMessage({ kind: 'failed', error: toWireError(error) } satisfies FromCursor)
  } finally {
    rows?.return?.()
  }
}

/** One read transaction: all queries of the session see the same state. */
async function session(connection: Database.Database, port: MessagePort): Promise<void> {
  const run = new Session(connection, new Statements(connection), true)
  try {
    connection.exec('BEGIN')
    port.postMessage({ kind: 'ready' } satisfies FromSession)
    for await (const message of requests<ToSession>(port)) {
      if (message.kind === 'end') break
      port.postMessage({ kind: 'reply', outcome: reply(run, message) } satisfies FromSession)
    }
  } catch (error) {
    const outcome = { ok: false, error: toWireError(error) } as const
    port.postMessage({ kind: 'reply', outcome } satisfies FromSession)
  } finally {
    if (connection.inTransaction) connection.exec('ROLLBACK')
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
async function* requests<T>(port: MessagePort): AsyncGenerator<T> {
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
      const timer = setTimeout(() => resolve(true), start.idleTimeoutMs)
      wake = () => {
        clearTimeout(timer)
        resolve(false)
      }
    })
    if (isIdle && waiting.length === 0) throw idle()
  }
}

function idle(): MylibsqlError {
  const message = `Nothing was asked for ${start.idleTimeoutMs} ms, so the query was given up (option idleTimeoutMs)`
  return new MylibsqlError('ERR_TIMEOUT', message)
}
