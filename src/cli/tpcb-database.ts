/** The database of the TPC-B-like load: pgbench's tables, and an id for each row of the history. */
import { type Connection, init, type Snapshot } from '../main/index.js'
import type { StartProgress } from './progress.js'

export const accountsPerBranch = 100_000
export const tellersPerBranch = 10
/** Accounts that one statement makes: some milliseconds, so that progress is seen and Ctrl-C is heard. */
const accountsPerStatement = 10_000

/** Rows are padded to the 100 bytes and more that TPC-B asks for. */
const schema = `
  CREATE TABLE pgbench_branches (bid INTEGER PRIMARY KEY, bbalance INTEGER NOT NULL, filler TEXT);
  CREATE TABLE pgbench_tellers (tid INTEGER PRIMARY KEY, bid INTEGER NOT NULL, tbalance INTEGER NOT NULL, filler TEXT);
  CREATE TABLE pgbench_accounts (aid INTEGER PRIMARY KEY, bid INTEGER NOT NULL, abalance INTEGER NOT NULL, filler TEXT);
  CREATE TABLE pgbench_history (
    id INTEGER PRIMARY KEY, tid INTEGER, bid INTEGER, aid INTEGER, delta INTEGER, mtime TEXT, filler TEXT);
`
const numbers = `
  WITH RECURSIVE numbers (n) AS (SELECT @first UNION ALL SELECT n + 1 FROM numbers WHERE n < @last)
`
const fillBranches = `${numbers}
  INSERT INTO pgbench_branches SELECT n, 0, printf('%88s', '') FROM numbers`
const fillTellers = `${numbers}
  INSERT INTO pgbench_tellers SELECT n, (n - 1) / @perBranch + 1, 0, printf('%84s', '') FROM numbers`
const fillAccounts = `${numbers}
  INSERT INTO pgbench_accounts SELECT n, (n - 1) / @perBranch + 1, 0, printf('%84s', '') FROM numbers`

/** Makes the database with `scale` branches. Throws the signal's reason. */
export async function makeTpcbDatabase(
  scale: number,
  startProgress: StartProgress,
  signal: AbortSignal,
): Promise<Snapshot> {
  const accountCount = scale * accountsPerBranch
  const progress = startProgress('filling the database', accountCount)
  try {
    const { snapshot, log } = await init(async (connection) => {
      await connection.exec(schema)
      await connection.run(fillBranches, { first: 1, last: scale })
      await connection.run(fillTellers, {
        first: 1,
        last: scale * tellersPerBranch,
        perBranch: tellersPerBranch,
      })
      await fill(connection, accountCount, (done) => {
        signal.throwIfAborted()
        progress.update(done, `${done} accounts`)
      })
    })
    await log.close()
    return snapshot
  } finally {
    progress.stop()
  }
}

async function fill(connection: Connection, count: number, filled: (done: number) => void): Promise<void> {
  for (let first = 1; first <= count; first += accountsPerStatement) {
    const last = Math.min(count, first + accountsPerStatement - 1)
    await connection.run(fillAccounts, { first, last, perBranch: accountsPerBranch })
    filled(last)
  }
}
