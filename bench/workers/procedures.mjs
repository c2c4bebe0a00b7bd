/** Procedures of the benchmarks; TPC-B's is run by the reference too, in the calling thread. */

const prepared = new WeakMap()

function statementsOf(connection) {
  let statements = prepared.get(connection)
  if (statements === undefined) {
    statements = new Map()
    prepared.set(connection, statements)
  }
  return (sql) => {
    let statement = statements.get(sql)
    if (statement === undefined) {
      statement = connection.prepare(sql)
      statements.set(sql, statement)
    }
    return statement
  }
}

/** TPC-B: three updates, a select, an insert. Returns the account's balance. */
export function transfer(connection, accountId, tellerId, branchId, delta) {
  const statement = statementsOf(connection)
  statement('UPDATE accounts SET balance = balance + ? WHERE id = ?').run(delta, accountId)
  const { balance } = statement('SELECT balance FROM accounts WHERE id = ?').get(accountId)
  statement('UPDATE tellers SET balance = balance + ? WHERE id = ?').run(delta, tellerId)
  statement('UPDATE branches SET balance = balance + ? WHERE id = ?').run(delta, branchId)
  statement('INSERT INTO history (account_id, teller_id, branch_id, delta) VALUES (?, ?, ?, ?)').run(
    accountId,
    tellerId,
    branchId,
    delta,
  )
  return balance
}

/** Writes `pageCount` pages anew, from row `firstId` on: a statement for all would copy them to a statement journal first. */
export function overwrite(connection, firstId, pageCount, fill) {
  const update = statementsOf(connection)('UPDATE pages SET data = ? WHERE id = ?')
  const data = Buffer.alloc(4000, fill)
  for (let id = firstId; id < firstId + pageCount; id += 1) update.run(data, id)
}

/** Inserts an event. Returns when that was, on the clock that all threads share: just before the commit. */
export function stamp(connection) {
  statementsOf(connection)('INSERT INTO events (name, value) VALUES (?, ?)').run('stamp', 0)
  return process.hrtime.bigint()
}
