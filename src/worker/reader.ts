/**
 * Entry point of a reader thread: a read-only connection of its own, on which queries run while the writer goes on.
 * Each query sees everything that was committed before it began.
 */
import type { MessagePort } from 'node:worker_threads'
import { workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { MylibsqlError, toWireError } from '../protocol/errors.js'
import { iterateChunkRows } from '../protocol/limits.js'
import type { Row } from '../protocol/values.js'
import type {
  FromCursor,
  FromSession,
  Outcome,
  ReaderStart,
  ReaderTask,
  ToCursor,
  ToSession,
} from '../protocol/wire.js'
import { Session } from './session.js'
import { Statements } from './statements.js'

const start = workerData as ReaderStart
let opened: { connection: Database.Database; statements: Statements } | undefined

export default async function read(task: ReaderTask): Promise<Outcome<Row | Row[] | undefined>> {
  try {
    return { ok: true, value: await run(task) }
  } catch (error) {
    return { ok: false, error: toWireError(error) }
  }
}

async function run(task: ReaderTask): Promise<Row | Row[] | undefined> {
  switch (task.kind) {
    case 'get':
      return database().statements.get(task.sql, task.params)
    case 'all':
      return database().statements.all(task.sql, task.params)
    case 'iterate':
      return iterate(task)
    case 'session':
      return session(task.port)
    default:
      return task satisfies never
  }
}

function database(): { connection: Database.Database; statements: Statements } {
  if (opened === undefined) {
    const connection = new Database(start.path, { readonly: true, fileMustExist: true })
    connection.defaultSafeIntegers(start.safeIntegers)
    opened = { connection, statements: new Statements(connection) }
  }
  return opened
}

/** Sends a chunk of rows each time it is asked for one; a query that nobody asks about is given up. */
async function iterate(task: Extract<ReaderTask, { kind: 'iterate' }>): Promise<undefined> {
  const { port } = task
  let rows: IterableIterator<Row> | undefined
  try {
    rows = database().statements.iterate(task.sql, task.params)
    for await (const message of requests<ToCursor>(port)) {
      if (message.kind === 'stop') return undefined
      const chunk: Row[] = []
      let next = rows.next()
      while (!next.done) {
        chunk.push(next.value)
        if (chunk.length === iterateChunkRows) break
        next = rows.next()
      }
      const done = next.done === true
      port.postMessage({ kind: 'rows', rows: chunk, done } satisfies FromCursor)
      if (done) return undefined
    }
  } catch (error) {
    port.postMessage({ kind: 'failed', error: toWireError(error) } satisfies FromCursor)
  } finally {
    rows?.return?.()
    port.close()
  }
  return undefined
}

/** A connection for one caller, in one read transaction: all of its queries see the same state. */
async function session(port: MessagePort): Promise<undefined> {
  const { connection, statements } = database()
  const run = new Session(connection, statements, true)
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
    port.close()
  }
  return undefined
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
