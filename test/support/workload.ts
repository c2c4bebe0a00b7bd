/**
 * Random writes: a request is one transaction, made of what applications do and of what they do wrong. It is run
 * on a primary and on a model, which is a plain better-sqlite3 database: both must say the same.
 */
import type Database from 'better-sqlite3'
import type { Connection, Primary, SqlParams, Statement } from 'mylibsql'
import type * as procedures from '../programs/procedures.mjs'
import type { Random } from './random.js'

export type Procedures = typeof procedures

export const workloadSchema = `
  CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT, UNIQUE (body));
  CREATE TABLE blobs (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE notes (id INTEGER PRIMARY KEY, item INTEGER REFERENCES items DEFERRABLE INITIALLY DEFERRED, n INTEGER);
  CREATE INDEX notes_n ON notes (n);
  CREATE TRIGGER refused BEFORE INSERT ON notes WHEN new.n = 13 BEGIN
    INSERT INTO items (body) VALUES ('by a trigger');
    SELECT RAISE(FAIL, 'unlucky');
  END;`

export type Request =
  | { readonly kind: 'run'; readonly statement: Statement }
  | { readonly kind: 'batch'; readonly statements: readonly Statement[] }
  | {
      readonly kind: 'call'
      readonly name: 'insertItems' | 'insertAndThrow'
      readonly args: readonly number[]
    }
  /** Each statement commits by itself. */
  | { readonly kind: 'withConnection'; readonly statements: readonly Statement[] }
  /** In one transaction; a negative number of a savepoint's statement rolls back. */
  | {
      readonly kind: 'transaction'
      readonly statements: readonly Statement[]
      readonly nested: readonly Statement[]
      readonly nestedRollsBack: boolean
      readonly rollsBack: boolean
    }

class RolledBack extends Error {
  override readonly message = 'rolled back'
}

/** 'ok', or code and message of the error. */
type Outcome = string

export class Workload {
  readonly #random: Random
  readonly #blobBytesMax: number
  #tableCount = 0

  /** Whether `call` is among the requests. */
  hasProcedures = true

  constructor(random: Random, { blobBytesMax = 60_000 } = {}) {
    this.#random = random
    this.#blobBytesMax = blobBytesMax
  }

  next(): Request {
    const random = this.#random
    const several = () => Array.from({ length: random.integer(1, 5) }, () => this.#statement())
    switch (random.integer(0, 9)) {
      case 0:
        return { kind: 'batch', statements: several() }
      case 1:
        if (!this.hasProcedures) return this.next()
        return { kind: 'call', name: 'insertItems', args: [this.#id(), random.integer(1, 40)] }
      case 2:
        if (!this.hasProcedures) return this.next()
        return { kind: 'call', name: 'insertAndThrow', args: [this.#id()] }
      case 3:
        return { kind: 'withConnection', statements: several() }
      case 4:
        return {
          kind: 'transaction',
          statements: several(),
          nested: several(),
          nestedRollsBack: random.chance(0.4),
          rollsBack: random.chance(0.3),
        }
      case 5:
        return { kind: 'run', statement: random.chance(0.5) ? this.#definition() : this.#alone() }
      default:
        return { kind: 'run', statement: this.#statement() }
    }
  }

  #id(): number {
    return this.#random.integer(1, 400)
  }

  #statement(): Statement {
    const random = this.#random
    const id = this.#id()
    const conflict = random.pick([
      '',
      '',
      '',
      ' OR REPLACE',
      ' OR IGNORE',
      ' OR FAIL',
      ' OR ROLLBACK',
      ' OR ABORT',
    ])
    switch (random.integer(0, 11)) {
      case 0:
      case 1:
        return { sql: `INSERT${conflict} INTO items VALUES (?, ?)`, params: [id, `item ${this.#id()}`] }
      case 2:
        // Some of its rows may be there already: it fails half-way, or not.
        return {
          sql: `INSERT${conflict} INTO items (id, body)
            WITH RECURSIVE n (i) AS (SELECT @id UNION ALL SELECT i + 1 FROM n WHERE i < @last)
            SELECT i, 'row ' || i FROM n`,
          params: { id, last: id + random.integer(0, 60) },
        }
      case 3:
      case 4: {
        const byteLength = random.skewed(this.#blobBytesMax)
        const bytes = new Uint8Array(byteLength).fill(random.integer(1, 255))
        return { sql: 'INSERT OR REPLACE INTO blobs VALUES (?, ?)', params: [`blob ${id % 20}`, bytes] }
      }
      case 5:
        return { sql: 'DELETE FROM blobs WHERE name = ?', params: [`blob ${id % 20}`] }
      case 6:
        // A foreign key that fails only at the commit.
        return { sql: 'INSERT INTO notes (item, n) VALUES (?, ?)', params: [id, random.integer(0, 30)] }
      case 7:
        return {
          sql: `UPDATE${conflict} items SET id = id + ? WHERE id > ?`,
          params: [random.integer(1, 3), id],
        }
      case 8:
        return {
          sql: 'DELETE FROM items WHERE id BETWEEN ? AND ?',
          params: [id, id + random.integer(0, 200)],
        }
      case 9:
        return { sql: 'DELETE FROM notes WHERE n % 5 = ?', params: [id % 5] }
      case 10:
        return { sql: 'UPDATE notes SET n = n + 1 RETURNING id' }
      default:
        return random.pick<Statement>([
          { sql: 'INSERT INTO blobs VALUES (?, NULL)', params: ['null'] },
          { sql: 'SELEC 1' },
          { sql: 'INSERT INTO nowhere VALUES (1)' },
          { sql: 'DELETE FROM notes' },
          { sql: 'DELETE FROM blobs' },
        ])
    }
  }

  #definition(): Statement {
    const table = `t${this.#random.integer(0, 5)}`
    this.#tableCount += 1
    return this.#random.pick<Statement>([
      { sql: `CREATE TABLE ${table} (a INTEGER PRIMARY KEY, b, c DEFAULT ${this.#tableCount})` },
      { sql: `CREATE TABLE ${table} AS SELECT * FROM items` },
      { sql: `CREATE INDEX ${table}_${this.#tableCount} ON ${table} (b)` },
      { sql: `DROP TABLE IF EXISTS ${table}` },
      { sql: `ALTER TABLE ${table} ADD COLUMN x${this.#tableCount}` },
      { sql: 'REINDEX' },
      { sql: 'ANALYZE' },
    ])
  }

  #alone(): Statement {
    const random = this.#random
    return random.pick<Statement>([
      { sql: 'VACUUM' },
      { sql: `PRAGMA auto_vacuum = ${random.integer(0, 2)}` },
      { sql: `PRAGMA incremental_vacuum(${random.integer(1, 30)})` },
      { sql: `PRAGMA user_version = ${random.integer(0, 1000)}` },
      { sql: `PRAGMA application_id = ${random.integer(0, 1000)}` },
    ])
  }
}

export async function runOnPrimary(primary: Primary<Procedures>, request: Request): Promise<Outcome> {
  switch (request.kind) {
    case 'run':
      return outcomeOf(primary.run(request.statement.sql, request.statement.params))
    case 'batch':
      return outcomeOf(primary.batch(request.statements))
    case 'call': {
      const [first, count] = request.args as [number, number]
      return outcomeOf(
        request.name === 'insertItems'
          ? primary.call('insertItems', first, count)
          : primary.call('insertAndThrow', first),
      )
    }
    case 'withConnection':
      return outcomeOf(
        primary.withConnection(async (connection) => {
          for (const { sql, params } of request.statements) await connection.run(sql, params).catch(() => {})
        }),
      )
    case 'transaction':
      return outcomeOf(primary.transaction((connection) => runTransaction(connection, request)))
    default:
      return request satisfies never
  }
}

async function runTransaction(
  connection: Connection,
  request: Request & { kind: 'transaction' },
): Promise<void> {
  for (const { sql, params } of request.statements) await connection.run(sql, params)
  await connection
    .transaction(async () => {
      for (const { sql, params } of request.nested) await connection.run(sql, params)
      if (request.nestedRollsBack) throw new RolledBack()
    })
    .catch((error) => {
      if (!(error instanceof RolledBack)) throw error
    })
  if (request.rollsBack) throw new RolledBack()
}

/** What the primary promises, done with SQLite alone. */
export function runOnModel(model: Database.Database, request: Request): Outcome {
  const run = ({ sql, params }: Statement) => runStatement(model, sql, params)
  switch (request.kind) {
    case 'run':
      return /^(VACUUM|PRAGMA)/.test(request.statement.sql)
        ? outcomeOfSync(() => run(request.statement))
        : inTransaction(model, () => run(request.statement))
    case 'batch':
      return inTransaction(model, () => request.statements.forEach(run))
    case 'call': {
      const [first, count] = request.args as [number, number]
      const insert = (id: number, body: string) =>
        run({ sql: 'INSERT INTO items (id, body) VALUES (?, ?)', params: [id, body] })
      return inTransaction(model, () => {
        if (request.name === 'insertItems') {
          for (let id = first; id < first + count; id += 1) insert(id, `item ${id}`)
        } else {
          insert(first, 'never seen')
          throw new RangeError(`not ${first}`)
        }
      })
    }
    case 'withConnection':
      for (const statement of request.statements) outcomeOfSync(() => run(statement))
      return 'ok'
    case 'transaction':
      return inTransaction(model, () => {
        request.statements.forEach(run)
        model.exec('SAVEPOINT nested')
        request.nested.forEach(run)
        model.exec(`${request.nestedRollsBack ? 'ROLLBACK TO nested; ' : ''}RELEASE nested`)
        if (request.rollsBack) throw new RolledBack()
      })
    default:
      return request satisfies never
  }
}

function runStatement(model: Database.Database, sql: string, params: SqlParams | undefined): void {
  const statement = model.prepare(sql)
  const bound = params === undefined ? [] : [params]
  if (statement.reader) statement.all(...bound)
  else statement.run(...bound)
}

function inTransaction(model: Database.Database, work: () => void): Outcome {
  return outcomeOfSync(() => {
    model.exec('BEGIN')
    try {
      work()
      model.exec('COMMIT')
    } finally {
      if (model.inTransaction) model.exec('ROLLBACK')
    }
  })
}

async function outcomeOf(promise: Promise<unknown>): Promise<Outcome> {
  return promise.then(() => 'ok', named)
}

function outcomeOfSync(action: () => void): Outcome {
  try {
    action()
    return 'ok'
  } catch (error) {
    return named(error)
  }
}

function named(error: unknown): Outcome {
  const { code, name, message } = error as { code?: string; name: string; message: string }
  return `${code ?? name}: ${message}`
}
