import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { Pair, randomFrom, temporaryDirectory } from './addon.js'

const script = new URL('./checking-reader.mjs', import.meta.url)

interface Report {
  checkedCount: number
  lastCount: number
  torn: unknown
}

interface Reader {
  started: Promise<void>
  stop(): Promise<Report>
}

function startReader(kind: 'thread' | 'process', path: string, heldMs: number, idleMs: number): Reader {
  const workerData = { path, heldMs, idleMs }
  const reader =
    kind === 'thread'
      ? new Worker(script, { workerData })
      : fork(fileURLToPath(script), [JSON.stringify(workerData)], { execArgv: [] })
  let onStarted: () => void
  let onReport: (report: Report) => void
  let onFailed: (error: Error) => void
  const started = new Promise<void>((resolve, reject) => {
    onStarted = resolve
    onFailed = reject
  })
  const report = new Promise<Report>((resolve, reject) => {
    onReport = resolve
    reader.on('error', reject)
  })
  reader.on('error', (error: Error) => onFailed(error))
  reader.on('message', (message: Report & { started?: true }) =>
    message.started ? onStarted() : onReport(message),
  )
  return {
    started,
    stop: () => {
      if (reader instanceof Worker) reader.postMessage('stop')
      else reader.send('stop')
      return report
    },
  }
}

test('readers in threads and in another process see whole snapshots under inject and checkpoints', async () => {
  const pair = new Pair(temporaryDirectory())
  const { primary, replica } = pair
  primary.db.exec(`
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, filler TEXT);
    CREATE TABLE transfers (id INTEGER PRIMARY KEY, source, target, amount, filler TEXT);
    CREATE TABLE counter (count INTEGER);
    INSERT INTO counter VALUES (0);
    WITH RECURSIVE ids (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM ids WHERE id < 2000)
    INSERT INTO accounts SELECT id, 1000, printf('%.200c', 'x') FROM ids`)
  pair.ship()

  const readers = [
    startReader('thread', replica.path, 0, 4),
    startReader('thread', replica.path, 25, 100),
    startReader('process', replica.path, 0, 4),
    startReader('process', replica.path, 40, 200),
  ]
  await Promise.all(readers.map((reader) => reader.started))

  const random = randomFrom(1)
  const transfer = primary.db.prepare('UPDATE accounts SET balance = balance + ? WHERE id = ?')
  const log = primary.db.prepare(
    "INSERT INTO transfers (source, target, amount, filler) VALUES (?, ?, ?, printf('%.300c', 'y'))",
  )
  const count = primary.db.prepare('UPDATE counter SET count = count + 1')
  const commit = primary.db.transaction(() => {
    const [source, target] = [1 + Math.floor(random() * 2000), 1 + Math.floor(random() * 2000)]
    const amount = Math.floor(random() * 100)
    transfer.run(-amount, source)
    transfer.run(amount, target)
    log.run(source, target, amount)
    count.run()
  })

  const endAt = Date.now() + 2500
  const modes = { none: 0, fold: 0, passive: 0, truncate: 0, busy: 0 }
  while (Date.now() < endAt) {
    const transactions = 1 + Math.floor(random() * 30)
    for (let i = 0; i < transactions; i++) commit()
    pair.ship()
    const choice = random()
    if (choice < 0.1) {
      await Promise.all([replica.wal.fold(), new Promise(setImmediate)])
      modes.fold++
    } else if (choice < 0.15) {
      replica.wal.foldSync('passive')
      modes.passive++
    } else if (choice < 0.3) {
      try {
        replica.wal.foldSync('truncate')
        modes.truncate++
      } catch (error) {
        expect((error as { code: string }).code).toBe('SQLITE_BUSY')
        modes.busy++
      }
    } else {
      modes.none++
    }
    if (primary.wal.position().frameCount > 3000) primary.wal.foldSync('truncate')
  }

  const reports = await Promise.all(readers.map((reader) => reader.stop()))
  for (const report of reports) {
    expect(report.torn).toBeUndefined()
    expect(report.checkedCount).toBeGreaterThan(5)
    expect(report.lastCount).toBeGreaterThan(0)
  }
  expect(modes.truncate).toBeGreaterThan(0)
  pair.expectSame()
})

test('a fold on a libuv thread while frames are injected', async () => {
  const pair = new Pair(temporaryDirectory())
  const { primary, replica } = pair
  primary.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
  const insert = primary.db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'z'))")
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 30; i++) insert.run()
    let isFolding = true
    const fold = replica.wal.fold().finally(() => (isFolding = false))
    do {
      insert.run()
      pair.ship()
      await new Promise(setImmediate)
    } while (isFolding)
    await fold
  }
  pair.expectSame()
})
