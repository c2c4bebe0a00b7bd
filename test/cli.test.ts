/** The built command line in a child process, as users run it; its parts where a whole run cannot reach them. */
import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { init, Primary, Replica } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import type { Check } from '../dist/cli/checks.js'
import { comparePages } from '../dist/cli/page-comparison.js'
import { type ProofSubject, prove } from '../dist/cli/proof.js'
import { ReplicationLag } from '../dist/cli/replication-lag.js'
import { TransactionLedger } from '../dist/cli/transaction-ledger.js'
import { CommandLine, main, until } from './support/command-line.js'

const commandLine = new CommandLine()
const start = (...args: string[]) => commandLine.start(...args)
const run = (...args: string[]) => commandLine.run(...args)

const logsIn = async (path: string) => (await readdir(path)).filter((name) => name.endsWith('.log')).sort()

const failed = (checks: readonly Check[]) => checks.filter((check) => !check.isOk).map((check) => check.name)

describe('mylibsql load', () => {
  it('runs, measures and proves the built-in load, and leaves nothing behind', async () => {
    const { code, out, err } = await run('load', '--seconds', '1', '--clients', '16', '--json')
    expect(code, err).toBe(0)
    const results = JSON.parse(out)
    expect(results).toMatchObject({ ok: true, stoppedBy: 'time', dir: null })
    expect(results.seconds).toBeGreaterThanOrEqual(0.99)
    expect(results.executedCount).toBeGreaterThan(100)
    expect(results.durableCount).toBe(results.executedCount)
    expect(results.durablePerSecond).toBeLessThanOrEqual(results.executedPerSecond)
    expect(results.frameCount).toBeGreaterThan(results.checkpointCount)
    expect(results.logBytes).toBeGreaterThan(results.frameCount * 4096)
    expect(results.readCount).toBeGreaterThan(0)
    const { executeMs, durableMs, sealMs, saveMs, lagOfLogsMs, lagOfFramesMs, eventLoopDelayMs } = results
    for (const times of [executeMs, durableMs, sealMs, saveMs, lagOfLogsMs, lagOfFramesMs]) {
      expect(times.p50).toBeGreaterThan(0)
      expect(times.p99).toBeGreaterThanOrEqual(times.p50)
      expect(times.max).toBeGreaterThanOrEqual(times.p99)
    }
    expect(durableMs.p50).toBeGreaterThan(executeMs.p50)
    expect(eventLoopDelayMs.max).toBeGreaterThan(0)
    expect(results.checks.map((check: Check) => check.name)).toEqual([
      'nothing failed',
      'all is durable',
      'replica fed with logs equals the primary',
      'replica fed with frames equals the primary',
      'integrity of the primary',
      'integrity of the replica fed with logs',
      'integrity of the replica fed with frames',
      'balances agree in the primary',
      'balances agree in the replica fed with logs',
      'balances agree in the replica fed with frames',
      'a primary reopened as of the stop',
      'a primary reopened from all logs',
    ])
    expect(failed(results.checks)).toEqual([])
    // A line each second when stderr is no terminal.
    expect(err).toMatch(/^filling the database: 100000 accounts$/m)
    expect(err).toMatch(/^load: \d+\.\d of 1 s \| [\d,]+ transactions\/s \| durable/m)
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it('stops at an interrupt, drains, proves, prints tables and keeps the files in --dir', async () => {
    const dir = join(commandLine.folder, 'logs')
    const started = start('load', '--seconds', '60', '--dir', dir)
    const { child, output, code } = started
    await until(started, () => output.err.includes('transactions/s'))
    child.kill('SIGINT')
    expect(await code, output.err).toBe(0)
    expect(output.out).toMatch(/^TPC-B-like, scale 1: [\d.]+ s \(stopped early\), 64 clients/)
    expect(output.out).toMatch(/│ transactions durable +│ +[\d,]+ │ +[\d,]+ │/)
    expect(output.out).toMatch(/│ lag of the replica fed with frames +│ +[\d.]+ │ +[\d.]+ │ +[\d.]+ │/)
    expect(output.out).toMatch(/^ok {5}a primary reopened from all logs: \d+ logs hold exactly \d+ durable/m)
    expect(output.out).not.toContain('FAILED')
    expect(output.out).toContain(`Kept in ${dir}: base.db and ${(await logsIn(dir)).length} logs`)
    expect(await readdir(dir)).toEqual([...(await logsIn(dir)), 'base.db'])
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it('interrupted while it fills the database, leaves at once', async () => {
    const started = start('load', '--scale', '1000')
    const { child, output, code } = started
    await until(started, () => output.err.includes('filling the database'))
    child.kill('SIGINT')
    expect(await code).toBe(130)
    expect(output.out).toBe('')
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it("runs a user's script on a copy of a user's database", async () => {
    const db = join(commandLine.folder, 'shop.sqlite')
    const source = new Database(db)
    source.exec(`CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, stock INTEGER);
      CREATE TABLE orders (id INTEGER PRIMARY KEY, item INTEGER, amount INTEGER);
      INSERT INTO items VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)`)
    source.close()
    const before = await readFile(db)
    const script = join(commandLine.folder, 'order.sql')
    await writeFile(
      script,
      String.raw`\set item random(1, 3)
\set amount random(1, 5)
UPDATE items SET stock = stock - :amount WHERE id = :item;
INSERT INTO orders (item, amount) VALUES (:item, :amount);`,
    )
    const flags = ['--db', db, '--script', script, '--seconds', '1', '--json']
    const { code, out, err } = await run('load', ...flags, '--query', 'SELECT sum(stock) FROM items')
    expect(code, err).toBe(0)
    const results = JSON.parse(out)
    expect(results.executedCount).toBeGreaterThan(100)
    expect(results.readCount).toBeGreaterThan(0)
    expect(results.checks.map((check: Check) => check.name)).not.toContain('balances agree in the primary')
    expect(results.checks.at(-1).detail).toMatch(/^\d+ logs equal the primary: \d+ pages, byte for byte/)
    expect(await readFile(db)).toEqual(before)
    expect((await readdir(commandLine.folder)).sort()).toEqual(['order.sql', 'shop.sqlite'])
  })

  it('runs the script of pgbench as it is', async () => {
    const script = join(commandLine.folder, 'tpcb.sql')
    await writeFile(
      script,
      String.raw`\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;`,
    )
    const { code, out, err } = await run('load', '--script', script, '--seconds', '0.5', '--json')
    expect(code, err).toBe(0)
    expect(JSON.parse(out).executedCount).toBeGreaterThan(10)
  })

  it('leaves what it measures while it warms up out of the times', async () => {
    // At that rate the one transaction is 1.3 s before the end of the warm-up, the next one after the end of the load.
    const flags = ['--rate', '0.6', '--seconds', '3.1', '--warm-up', '3', '--checkpoint-ms', '10000']
    const { code, out, err } = await run('load', ...flags, '--json')
    expect(code, err).toBe(0)
    const results = JSON.parse(out)
    expect(results).toMatchObject({ executedCount: 1, durableCount: 1, executeMs: null })
    expect(results.lagOfFramesMs).toBe(null)
    // The last checkpoint is after the warm-up.
    expect(results.saveMs.p50).toBeGreaterThan(0)
  })

  it('exits with 1 when a transaction fails', async () => {
    const script = join(commandLine.folder, 'wrong.sql')
    await writeFile(script, 'INSERT INTO nowhere VALUES (1)')
    const { code, out } = await run('load', '--script', script, '--seconds', '60')
    expect(code).toBe(1)
    expect(out).toMatch(/^FAILED nothing failed: Transaction 1 failed: SQLITE_ERROR: no such table: nowhere/m)
    expect(out).toMatch(/^ok {5}a primary reopened from all logs/m)
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it('exits with 1 when a saved log is damaged', async () => {
    const started = start('load', '--seconds', '60', '--dir', commandLine.folder, '--json')
    const { child, output, code } = started
    // The replica has read the first log when there are many more of them.
    await until(started, async () => (await logsIn(commandLine.folder)).length >= 20)
    const [first] = await logsIn(commandLine.folder)
    const file = await open(join(commandLine.folder, first!), 'r+')
    await file.write(Uint8Array.of(0xff, 0x00, 0xff), 0, 3, 5000)
    await file.close()
    child.kill('SIGINT')
    expect(await code, output.err).toBe(1)
    const { ok, checks } = JSON.parse(output.out)
    expect(ok).toBe(false)
    expect(failed(checks)).toEqual(['a primary reopened as of the stop', 'a primary reopened from all logs'])
    expect(checks.at(-1).detail).toMatch(/^ERR_CORRUPT: .*\.log/)
  })
})

describe('wrong calls exit with 2 and a sentence', () => {
  const cases: [string, string[], RegExp][] = [
    [
      'unknown option',
      ['--sconds', '3'],
      /unknown option '--sconds'\n\(Did you mean --seconds\?\)\nKnown .*--clients/,
    ],
    [
      'no number',
      ['--seconds', 'x'],
      /'--seconds <n>' argument 'x' is invalid. It must be a number from 0.1/,
    ],
    [
      'no integer',
      ['--scale', '1.5'],
      /'--scale <n>' argument '1.5' is invalid. It must be an integer from 1 to/,
    ],
    [
      'all warm-up',
      ['--warm-up', '5', '--seconds', '5'],
      /--warm-up 5 leaves nothing to measure of --seconds 5/,
    ],
    ['missing value', ['--dir'], /'--dir <folder>' argument missing/],
    ['missing file', ['--script', 'nowhere.sql'], /'nowhere.sql' is invalid. There is no such file/],
    ['database without script', ['--db', main], /--db .* needs --script/],
    ['query without script', ['--query', 'SELECT 1'], /--query needs --script/],
    [
      'full folder',
      ['--dir', join(main, '..')],
      /--dir .* has files in it, such as .*: name a new or an empty/,
    ],
    ['argument', ['extra'], /too many arguments/],
  ]
  it.each(cases)('%s', async (_, args, message) => {
    const { code, out, err } = await run('load', ...args)
    expect(err).toMatch(message)
    expect(code).toBe(2)
    expect(out).toBe('')
  })

  it('script', async () => {
    const script = join(commandLine.folder, 'x.sql')
    await writeFile(script, '\\sleep 3\nSELECT 1;')
    const { code, err } = await run('load', '--script', script)
    expect(err).toContain(`${script}, line 1: "\\sleep 3" is not "\\set name value", the only meta command`)
    expect(code).toBe(2)
  })

  it('but help is help', async () => {
    const { code, out } = await run('load', '--help')
    expect(code).toBe(0)
    for (const option of ['--seconds', '--checkpoint-ms', '--db', '--json']) expect(out).toContain(option)
  })
})

describe('the proof', () => {
  it('finds a replica that is behind, a replica that differs, and transactions that are not in the logs', async () => {
    const { snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, value)')
    const paths = [join(commandLine.folder, 'base.db'), join(commandLine.folder, '1.log')] as const
    await snapshot.copyTo(paths[0])
    await using primary = await Primary.open(snapshot)
    const other = await Primary.open(snapshot)
    await using behind = await Replica.open(snapshot)
    await primary.run('INSERT INTO t VALUES (?, ?)', [1, 'as it should be'])
    await other.run('INSERT INTO t VALUES (?, ?)', [1, 'as it is not'])
    await primary.checkpoint((log) => log.copyTo(paths[1]))
    await other.checkpoint(() => {})
    await using different = await other.intoReplica()
    const ledger = new TransactionLedger()
    for (const id of [ledger.next(), ledger.next()]) {
      ledger.executed()
      ledger.durable(id)
    }
    const subject: ProofSubject = {
      primary: primary as unknown as ProofSubject['primary'],
      replicas: { logs: behind, frames: different },
      folder: { snapshotPath: paths[0], logPaths: [paths[1]] },
      invariants: {
        title: 'sums',
        check: async () => 'none',
        transactionIds: async (database) => {
          const rows = await database.all('SELECT id FROM t')
          return rows.map(({ id }) => ({ first: Number(id), last: Number(id) }))
        },
      },
      control: { failures: [] },
      ledger,
      measurements: { readCount: 0 },
      atStop: { logCount: 1, durableRuns: [{ first: 1, last: 1 }], executedCount: 2 },
      scratchPath: commandLine.folder,
    }
    const checks: Check[] = []
    for await (const check of prove(subject)) checks.push(check)
    const details = new Map(checks.map(({ name, detail }) => [name, detail]))
    expect(failed(checks)).toEqual([
      'replica fed with logs equals the primary',
      'replica fed with frames equals the primary',
      'a primary reopened from all logs',
    ])
    expect(details.get('replica fed with logs equals the primary')).toMatch(
      /^it stands at frame \d+, the primary/,
    )
    expect(details.get('replica fed with frames equals the primary')).toMatch(
      /^page 2 differs from its byte \d+ on/,
    )
    expect(details.get('a primary reopened from all logs')).toBe(
      'it holds transactions 1 instead of the durable ones, 1-2',
    )
    expect((await readdir(commandLine.folder)).sort()).toEqual(['1.log', 'base.db'])
  })

  it('compares to the last byte', async () => {
    const { snapshot } = await init('CREATE TABLE t (a)')
    await snapshot.copyTo(join(commandLine.folder, 'a.db'))
    await snapshot.copyTo(join(commandLine.folder, 'b.db'))
    const { pageSize, pageCount } = snapshot
    const [a, b] = ['a.db', 'b.db'].map((name) => ({
      path: join(commandLine.folder, name),
      pageSize,
      pageCount,
    }))
    await comparePages(a!, b!)
    const file = await open(join(commandLine.folder, 'b.db'), 'r+')
    await file.write(Uint8Array.of(1), 0, 1, pageSize * pageCount - 1)
    await file.close()
    await expect(comparePages(a!, b!)).rejects.toThrow(
      `page ${pageCount} differs from its byte ${pageSize - 1} on`,
    )
  })

  it('keeps account of durable transactions in runs', () => {
    const ledger = new TransactionLedger()
    expect(ledger.durableRuns()).toEqual([])
    for (let id = ledger.next(); id < 200_000; id = ledger.next()) {
      if (id !== 1 && id !== 70_000) ledger.durable(id)
    }
    expect(ledger.durableRuns()).toEqual([
      { first: 2, last: 69_999 },
      { first: 70_001, last: 199_999 },
    ])
  })

  it('measures lag from the acknowledgement, and none when the replica was faster', () => {
    const lag = new ReplicationLag()
    lag.acknowledged(3, performance.now() - 50)
    lag.acknowledged(7, performance.now() - 20)
    lag.applied(5)
    expect(lag.histogram.count).toBe(1)
    expect(lag.lastLagMs).toBeGreaterThanOrEqual(50)
    lag.applied(9)
    expect(lag.lastLagMs).toBeGreaterThanOrEqual(20)
    lag.acknowledged(9, performance.now() - 1000)
    expect(lag.lastLagMs).toBe(0)
    expect(lag.histogram.count).toBe(3)
  })
})
