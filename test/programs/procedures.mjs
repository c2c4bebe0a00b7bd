// Procedures for tests that need some.

export function insertItems(connection, first, count) {
  const insert = connection.prepare('INSERT INTO items (id, body) VALUES (?, ?)')
  for (let id = first; id < first + count; id += 1) insert.run(id, `item ${id}`)
  return count
}

/** Fails when it has written something. */
export function insertAndThrow(connection, id) {
  connection.prepare('INSERT INTO items (id, body) VALUES (?, ?)').run(id, 'never seen')
  throw new RangeError(`not ${id}`)
}

export function exit(_connection, code) {
  process.exit(code)
}

export function exitLater(_connection, ms) {
  setTimeout(() => process.exit(3), ms)
}

export function throwLater(_connection, ms) {
  setTimeout(() => {
    throw new RangeError('thrown by a timer of a procedure')
  }, ms)
}

export function takeAllMemory() {
  const kept = []
  for (;;) kept.push(new Array(1_000_000).fill(kept.length))
}
