/**
 * The built-in load: pgbench's TPC-B-like transaction, three updates, a select and an insert. It keeps balances
 * whose sums must agree in every state of the database, and tells which transactions a database holds.
 */
import type { Row } from '../main/index.js'
import { accountsPerBranch, makeTpcbDatabase, tellersPerBranch } from './tpcb-database.js'
import type { Invariants, Readable, Workload } from './workload.js'

const deltaMax = 5000

export function tpcbWorkload(scale: number): Workload {
  const accountCount = scale * accountsPerBranch
  const tellerCount = scale * tellersPerBranch
  return {
    title: `TPC-B-like, scale ${scale}`,
    async makeSnapshot(path, startProgress, signal) {
      const snapshot = await makeTpcbDatabase(scale, startProgress, signal)
      await snapshot.moveTo(path)
      return snapshot
    },
    execute: (primary, transactionId) =>
      primary.call(
        'transfer',
        transactionId,
        random(1, accountCount),
        random(1, tellerCount),
        random(1, scale),
        random(-deltaMax, deltaMax),
      ),
    query:
      'SELECT (SELECT sum(tbalance) FROM pgbench_tellers) AS tellers, ' +
      '(SELECT sum(bbalance) FROM pgbench_branches) AS branches',
    checkRow: checkReaderRow,
    invariants,
  }
}

/** Integer from `min` to `max`, both included. */
function random(min: number, max: number): number {
  return min + Math.floor(Math.random() * (max - min + 1))
}

/** Half a transaction would change one sum and not the other. */
function checkReaderRow(row: Row | undefined): void {
  if (row !== undefined && row.tellers === row.branches) return
  throw new Error(`tellers have ${row?.tellers}, branches ${row?.branches}: a transaction was seen by half`)
}

const invariants: Invariants = {
  title: 'balances agree',
  async check(database: Readable): Promise<string> {
    const sums = await database.get(`SELECT
      (SELECT total(abalance) FROM pgbench_accounts) AS accounts,
      (SELECT total(tbalance) FROM pgbench_tellers) AS tellers,
      (SELECT total(bbalance) FROM pgbench_branches) AS branches,
      (SELECT total(delta) FROM pgbench_history) AS history`)
    const { accounts, tellers, branches, history } = sums!
    const text = `accounts ${accounts}, tellers ${tellers}, branches ${branches}, history ${history}`
    if (accounts !== tellers || accounts !== branches || accounts !== history) throw new Error(text)
    return text
  },
  /** Ids that follow each other have the same distance to their rank. */
  async transactionIds(database: Readable) {
    const runs = await database.all(`SELECT min(id) AS first, max(id) AS last
      FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS run FROM pgbench_history)
      GROUP BY run ORDER BY first`)
    return runs.map(({ first, last }) => ({ first: Number(first), last: Number(last) }))
  },
}
