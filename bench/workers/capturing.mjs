/** Writes the same transactions to a captured database, kept as an actor keeps it, and to a plain one. */
import { rmSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { WalKeeper } from '../../dist/worker/wal-keeper.js'
import { WorkingDatabase } from '../../dist/worker/working-database.js'
import { eventsSchema, insertEvent, openPlain } from '../databases.mjs'
import { perSecond } from '../harness.mjs'

const { snapshot, capturedPath, plainPath, logPathPrefix, rowsPerTransaction } = workerData
/** An actor comes back to its event loop for each message: so do both sides here. */
const transactionsPerTurn = 16

const captured = new WorkingDatabase({
  snapshot,
  logs: [],
  path: capturedPath,
  keepFiles: false,
  safeIntegers: false,
  busyTimeoutMs: 5000,
})
const keeper = new WalKeeper(captured, captured.openedAt, logPathPrefix)
const writeCaptured = writer(captured.connection, () => keeper.advance())
const plain = openPlain(plainPath)
const writePlain = writer(plain, () => {})

function writer(connection, committed) {
  connection.exec(eventsSchema)
  committed()
  const begin = connection.prepare('BEGIN IMMEDIATE')
  const insert = connection.prepare(insertEvent)
  const commit = connection.prepare('COMMIT')
  return async (transactionCount) => {
    for (let done = 0; done < transactionCount; done += 1) {
      begin.run()
      for (let row = 0; row < rowsPerTransaction; row += 1) insert.run('event', row)
      commit.run()
      committed()
      if (done % transactionsPerTurn === 0) await nextTurn()
    }
  }
}

/** Outside of what is timed. */
async function forgetLog() {
  const file = await keeper.seal()
  keeper.logSaved(keeper.nextFrameNo)
  if (file !== undefined && 'path' in file.location) rmSync(file.location.path)
}

parentPort.on('message', async ({ kind, transactionCount }) => {
  if (kind === 'close') {
    await keeper.close()
    captured.close()
    plain.close()
    parentPort.postMessage(undefined)
    parentPort.close()
    return
  }
  const write = kind === 'captured' ? writeCaptured : writePlain
  const value = await perSecond(transactionCount, () => write(transactionCount))
  if (kind === 'captured') await forgetLog()
  parentPort.postMessage(value)
})
