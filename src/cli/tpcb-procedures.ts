/** The transaction of the TPC-B-like load, run inside the primary's worker thread. */
import type Database from 'better-sqlite3'

interface Statements {
  readonly account: Database.Statement<[number, number]>
  readonly balance: Database.Statement<[number], number>
  readonly teller: Database.Statement<[number, number]>
  readonly branch: Database.Statement<[number, number]>
  readonly history: Database.Statement<[number, number, number, number, number]>
}

/** Prepared once for each connection. */
const prepared = new WeakMap<Database.Database, Statements>()

/**
 * Adds `delta` to an account, its teller and its branch, and writes it down in the history under `id`.
 * Returns the account's new balance. The five statements are those of pgbench's built-in script.
 */
export function transfer(
  connection: Database.Database,
  id: number,
  aid: number,
  tid: number,
  bid: number,
  delta: number,
): number | undefined {
  const statements = statementsOf(connection)
  statements.account.run(delta, aid)
  const balance = statements.balance.get(aid)
  statements.teller.run(delta, tid)
  statements.branch.run(delta, bid)
  statements.history.run(id, tid, bid, aid, delta)
  return balance
}

function statementsOf(connection: Database.Database): Statements {
  const known = prepared.get(connection)
  if (known !== undefined) return known
  const statements: Statements = {
    account: connection.prepare('UPDATE pgbench_accounts SET abalance = abalance + ? WHERE aid = ?'),
    balance: connection
      .prepare<[number], number>('SELECT abalance FROM pgbench_accounts WHERE aid = ?')
      .pluck(),
    teller: connection.prepare('UPDATE pgbench_tellers SET tbalance = tbalance + ? WHERE tid = ?'),
    branch: connection.prepare('UPDATE pgbench_branches SET bbalance = bbalance + ? WHERE bid = ?'),
    history: connection.prepare(
      'INSERT INTO pgbench_history (id, tid, bid, aid, delta, mtime) VALUES (?, ?, ?, ?, ?, CURRENT_TIMESTAMP)',
    ),
  }
  prepared.set(connection, statements)
  return statements
}
