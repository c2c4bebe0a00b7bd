// Procedures of the tests: functions of a better-sqlite3 connection, run inside the worker.
import { createRequire } from 'node:module'
import { threadId } from 'node:worker_threads'

const Database = createRequire(import.meta.url)('better-sqlite3')

export const notAFunction = 7

export function thread() {
  return threadId
}

export function add(db, n) {
  return db.prepare('INSERT INTO numbers (n) VALUES (?)').run(n).changes
}

export function transfer(db, from, to, amount) {
  const move = db.prepare('UPDATE accounts SET balance = balance + ? WHERE id = ?')
  if (move.run(-amount, from).changes === 0) throw new RangeError(`no account ${from}`)
  if (move.run(amount, to).changes === 0) throw new RangeError(`no account ${to}`)
  return { left: db.prepare('SELECT balance FROM accounts WHERE id = ?').pluck().get(from) }
}

export function echo(_db, ...values) {
  return values
}

/** What it does with the first row of an iteration that it never ends. */
export function iterates(db, then) {
  db.prepare('INSERT OR IGNORE INTO numbers (n) VALUES (100)').run()
  const rows = db.prepare('SELECT n FROM numbers ORDER BY n').iterate()
  const { n } = rows.next().value
  if (then === 'throw') throw new RangeError(`has read ${n}`)
  return then === 'end' ? [n, ...[...rows].map((row) => row.n)] : n
}

export function closes(db) {
  db.close()
}

export function nested(db) {
  const insert = db.prepare('INSERT INTO numbers (n) VALUES (?)')
  const both = db.transaction((...numbers) => {
    for (const n of numbers) insert.run(n)
  })
  both(1, 2)
  try {
    both(3, 1)
  } catch (error) {
    return error.code
  }
}

export function fails(_db, kind) {
  switch (kind) {
    case 'type':
      throw new TypeError('a type error', { cause: new RangeError('its cause') })
    case 'sqlite':
      throw new Database.SqliteError('a SQLite error', 'SQLITE_MINE')
    case 'custom':
      throw Object.assign(new (class PaymentError extends Error {})('a custom error'), {
        name: 'PaymentError',
        code: 'E_PAYMENT',
      })
    case 'fields':
      throw Object.assign(new RangeError('too little'), {
        need: 30n,
        status: 409,
        account: { id: 1, names: new Set(['Alice']) },
        log: () => {},
        get odd() {
          return 7
        },
      })
    case 'several':
      throw new AggregateError([new TypeError('one'), { two: 2 }], 'several errors', { cause: [1, 2] })
    case 'text':
      throw 'a text'
    case 'undefined':
      throw undefined
    case 'function':
      throw () => 'never called'
    case 'object':
      throw { a: 1 }
    case 'bare':
      throw Object.create(null)
    case 'odd':
      throw Object.assign(new Error('odd'), {
        message: { f() {} },
        name: Symbol('odd'),
        stack: 7,
        cause: () => {},
      })
    default:
      throw new Error(kind)
  }
}

export function run(db, ...statements) {
  for (const sql of statements) db.exec(sql)
}

/** Goes on after errors, as a careless procedure does. */
export function tryAll(db, ...statements) {
  const codes = []
  for (const sql of statements) {
    try {
      db.exec(sql)
      codes.push('ok')
    } catch (error) {
      codes.push(error.code)
    }
  }
  return codes
}

/** Takes the numbers out of its list one by one. */
export function addAll(db, list) {
  const insert = db.prepare('INSERT INTO numbers (n) VALUES (?)')
  let count = 0
  while (list.length > 0) count += insert.run(list.shift()).changes
  return count
}

export async function asynchronous(db) {
  db.exec('INSERT INTO numbers (n) VALUES (1)')
  await null
  throw new Error('nobody hears it')
}

export function returnsFunction(db) {
  db.exec('INSERT INTO numbers (n) VALUES (1)')
  return { f() {} }
}
