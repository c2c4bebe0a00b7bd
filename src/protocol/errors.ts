import { addCallers } from './callers.js'

/**
 * Every error of the library, in one table, grouped by the moment at which it can occur, and the way errors
 * cross threads: class, code, message, details and cause arrive as they left.
 */
export const errorCodes = {
  // opening snapshots, logs and databases
  ERR_NOT_A_SNAPSHOT: 'the file is not a snapshot',
  ERR_NOT_A_LOG: 'the file is not a log',
  ERR_VERSION: 'the file has a format version that this release does not read',
  ERR_CORRUPT: 'the bytes are damaged',
  ERR_PAGE_SIZE: 'page sizes differ',
  ERR_LOCKED: 'another primary, replica or process has locked the file',
  ERR_PATH_EXISTS: 'a file that is not ours is in the way',
  ERR_IO: 'the operating system refused a read or a write',
  ERR_SETUP: 'the setup of connections is missing, has failed or broke the rules',
  // writing and reading
  ERR_REFUSED: 'what was asked for would break replication, or cannot be had here',
  ERR_TRANSACTION_OPEN: 'a transaction was left open and has been rolled back',
  ERR_NOT_CLONEABLE: 'a value cannot be sent to another thread',
  ERR_TIMEOUT: 'a time limit has passed',
  ERR_BUSY: 'a queue or a limit is full',
  ERR_PROCEDURE: 'a procedure is missing or broke the rules',
  // saving
  ERR_UNSAVED_WRITES: 'writes are not saved yet',
  ERR_REENTRANT: 'a callback waits for what waits for it',
  ERR_SAVE_PENDING: 'what was written was not known to be saved when the primary closed',
  ERR_WAL_RESET: 'something outside the library reset or changed the WAL',
  // replicating
  ERR_LOG_GAP: 'frames are missing between what is there and what was given',
  ERR_LINEAGE: 'the frames belong to another history',
  // stores
  ERR_STORE: 'the store cannot be reached, or refused',
  ERR_NOT_FOUND: 'what was asked for is not in the store',
  ERR_FENCED: 'a newer primary has taken over',
  // closing
  ERR_CLOSED: 'the object is closed',
  ERR_WORKER_EXITED: 'the worker thread has stopped',
} as const

export type ErrorCode = keyof typeof errorCodes

/** Facts that belong to an error: which file, offset, frame. All optional, all plain values. */
export interface ErrorDetails {
  path?: string
  byteOffset?: number
  frameNo?: number
  expected?: number | string
  actual?: number | string
}

/**
 * An error of the library. Match on `code`; messages may be reworded.
 *
 * @example
 * try { await Log.open(path) } catch (error) {
 *   if (error instanceof MylibsqlError && error.code === 'ERR_CORRUPT') console.error(error.details.frameNo)
 * }
 */
export class MylibsqlError extends Error {
  override readonly name = 'MylibsqlError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** An error as it travels between threads. */
export interface WireError {
  readonly type:
    | 'MylibsqlError'
    | 'SqliteError'
    | 'TypeError'
    | 'RangeError'
    | 'SyntaxError'
    | 'AggregateError'
    | 'Error'
    | 'value'
  readonly name: string
  readonly message: string
  readonly code: string | undefined
  readonly stack: string | undefined
  readonly details: ErrorDetails | undefined
  readonly cause: WireError | undefined
  /** Of the statement that failed: its text, and its place in a batch. */
  readonly statement?: StatementFacts
  /** What the thrower has put on it besides, as far as it can be cloned. */
  readonly fields?: Readonly<Record<string, unknown>>
  /** Of an AggregateError. */
  readonly errors?: readonly WireError[]
  /** Only for type 'value': what was thrown, when it was no Error. */
  readonly value?: unknown
}

/** Which statement has failed. */
export interface StatementFacts {
  /** Its text, without parameters, of a long one the beginning; absent for statements of procedures. */
  sql?: string
  /** Its place in a batch, from 0. */
  statementIndex?: number
}

/** Makes a SqliteError; each side gives better-sqlite3's own class, so that `instanceof` holds. */
export type SqliteErrorConstructor = new (
  message: string,
  code: string,
) => Error & { code: string } & StatementFacts

const causeDepthMax = 8

/** Never throws, and what it gives can be cloned: a procedure may throw anything. */
export function toWireError(error: unknown): WireError {
  try {
    return error instanceof Error ? errorToWire(error, 0) : valueToWire(error)
  } catch {
    return {
      ...valueToWire('unknown'),
      type: 'Error',
      name: 'Error',
      message: 'What was thrown cannot be described',
    }
  }
}

function errorToWire(error: Error, depth: number): WireError {
  const { code, cause, stack } = error as { code?: unknown; cause?: unknown; stack?: unknown }
  return {
    type: wireType(error),
    name: String(error.name),
    message: String(error.message),
    code: typeof code === 'string' ? code : undefined,
    stack: typeof stack === 'string' ? stack : undefined,
    details: error instanceof MylibsqlError ? plainDetails(error.details) : addonDetails(error),
    cause: causeToWire(cause, depth),
    ...statementToWire(error as StatementFacts),
    ...(error instanceof AggregateError && { errors: errorsToWire(error, depth) }),
    ...fieldsToWire(error),
  }
}

function errorsToWire({ errors }: AggregateError, depth: number): WireError[] {
  if (depth >= causeDepthMax || !Array.isArray(errors)) return []
  return errors.map((each) => (each instanceof Error ? errorToWire(each, depth + 1) : valueToWire(each)))
}

/** They travel by themselves, or mean something on this side only (`sqlite`: see wireType). */
const knownFields = new Set(
  'name message stack code cause details errors sql statementIndex sqlite'.split(' '),
)

function fieldsToWire(error: Error): Pick<WireError, 'fields'> {
  if (wireType(error) === 'MylibsqlError') return {}
  const keys = Object.keys(error).filter((key) => !knownFields.has(key))
  const travelling = keys.flatMap((key) => {
    const copy = cloned(() => error[key as keyof Error])
    return copy === undefined ? [] : [[key, copy.value] as const]
  })
  return travelling.length === 0 ? {} : { fields: Object.fromEntries(travelling) }
}

/** Undefined: it cannot be. */
function cloned(value: () => unknown): { readonly value: unknown } | undefined {
  try {
    return { value: structuredClone(value()) }
  } catch {
    return undefined
  }
}

function statementToWire({ sql, statementIndex }: StatementFacts): Pick<WireError, 'statement'> {
  if (typeof sql !== 'string') return {}
  return { statement: typeof statementIndex === 'number' ? { sql, statementIndex } : { sql } }
}

/**
 * The error as it was thrown on the other thread. Its stack goes on with who awaits it here, where V8 knows that: in what
 * runs behind an `await` or in a `then`.
 */
export function fromWireError(wire: WireError, SqliteError: SqliteErrorConstructor): unknown {
  if (wire.type === 'value') return wire.value
  const error = revived(wire, SqliteError)
  if (wire.stack !== undefined) {
    Object.defineProperty(error, 'stack', hidden(wire.stack))
    addCallers(error)
  }
  return error
}

function revived(wire: WireError, SqliteError: SqliteErrorConstructor): Error {
  const options = wire.cause === undefined ? undefined : { cause: causeOf(wire.cause, SqliteError) }
  const error = revive(wire, SqliteError, options)
  if (options !== undefined && error.cause === undefined)
    Object.defineProperty(error, 'cause', hidden(options.cause))
  Object.assign(error, wire.statement, wire.fields)
  const hasOwnName = wire.type !== 'MylibsqlError' && wire.type !== 'SqliteError'
  if (hasOwnName && wire.name !== error.name) Object.defineProperty(error, 'name', hidden(wire.name))
  if (wire.code !== undefined && (error as { code?: string }).code === undefined)
    Object.assign(error, { code: wire.code })
  return error
}

function causeOf(wire: WireError, SqliteError: SqliteErrorConstructor): unknown {
  if (wire.type === 'value') return wire.value
  const cause = revived(wire, SqliteError)
  if (wire.stack !== undefined) Object.defineProperty(cause, 'stack', hidden(wire.stack))
  return cause
}

function causeToWire(cause: unknown, depth: number): WireError | undefined {
  if (cause === undefined || depth >= causeDepthMax) return undefined
  return cause instanceof Error ? errorToWire(cause, depth + 1) : valueToWire(cause)
}

/** The path in an ERR_IO of the addon: that of a file which it has opened itself. */
export function addonPath(error: unknown): string | undefined {
  const { code, path } = (error ?? {}) as { code?: unknown; path?: unknown }
  return code === 'ERR_IO' && typeof path === 'string' ? path : undefined
}

function addonDetails(error: Error): ErrorDetails | undefined {
  const path = addonPath(error)
  return path === undefined ? undefined : { path }
}

function plainDetails(details: ErrorDetails): ErrorDetails {
  const plain = Object.entries(details).filter(([, value]) => ['string', 'number'].includes(typeof value))
  return Object.fromEntries(plain)
}

/** The addon knows no classes: it throws plain errors with a code, marked when the code is SQLite's. */
function wireType(error: Error): WireError['type'] {
  const { code, sqlite } = error as { code?: unknown; sqlite?: unknown }
  if (error instanceof MylibsqlError) return 'MylibsqlError'
  if (error.constructor.name === 'Error' && Object.hasOwn(errorCodes, String(code))) return 'MylibsqlError'
  if (error.constructor.name === 'SqliteError' || sqlite === true) return 'SqliteError'
  if (error instanceof TypeError) return 'TypeError'
  if (error instanceof RangeError) return 'RangeError'
  if (error instanceof SyntaxError) return 'SyntaxError'
  if (error instanceof AggregateError) return 'AggregateError'
  return 'Error'
}

function revive(
  wire: WireError,
  SqliteError: SqliteErrorConstructor,
  options: ErrorOptions | undefined,
): Error {
  switch (wire.type) {
    case 'MylibsqlError':
      return new MylibsqlError(wire.code as ErrorCode, wire.message, wire.details, options)
    case 'SqliteError':
      return new SqliteError(wire.message, wire.code ?? 'SQLITE_ERROR')
    case 'TypeError':
      return new TypeError(wire.message, options)
    case 'RangeError':
      return new RangeError(wire.message, options)
    case 'SyntaxError':
      return new SyntaxError(wire.message, options)
    case 'AggregateError': {
      const errors = wire.errors?.map((each) => causeOf(each, SqliteError)) ?? []
      return new AggregateError(errors, wire.message, options)
    }
    default:
      return new Error(wire.message, options)
  }
}

/** What was thrown is no Error: it travels when it can be cloned, else its description does. */
function valueToWire(value: unknown): WireError {
  const copy = cloned(() => value)
  return {
    type: 'value',
    name: 'value',
    message: copy === undefined ? String(value) : '',
    code: undefined,
    stack: undefined,
    details: undefined,
    cause: undefined,
    value: copy === undefined ? String(value) : copy.value,
  }
}

function hidden(value: unknown): PropertyDescriptor {
  return { value, writable: true, configurable: true, enumerable: false }
}
