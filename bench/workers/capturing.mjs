/**
 * Writes the same transactions to a captured database, kept as an actor keeps it, and to a plain one; and to two whose
 * WAL is left alone meanwhile, with and without a look at it after each commit.
 */
import { rmSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MessageChannel, parentPort, workerData } from 'node:worker_threads'
import { Capture, ReaderGap, WalKeeper, WorkingDatabase } from '../../dist/bench/parts.js'
import { eventsSchema, insertEvent, openPlain } from '../databases.mjs'
import { perSecond } from '../harness.mjs'

const { snapshot, capturedPath, noticedPath, plainPath, unfoldedPath, logPathPrefix, rowsPerTransaction } =
  workerData
/** An actor comes back to its event loop for each message: so do both sides here. */
const transactionsPerTurn = 16

const captured = openWorking(capturedPath)
/** To readers, of which there are none. */
const { port1: toReaders } = new MessageChannel()
const keeper = new WalKeeper(captured, captured.openedAt, logPathPrefix, new ReaderGap(toReaders))
const writeCaptured = writer(captured.connection, () => keeper.advance())
const plain = openPlain(plainPath)
const writePlain = writer(plain, () => {})
const noticed = openWorking(noticedPath)
const capture = new Capture(noticed.wal, noticed.openedAt.nextFrameNo)
const writeNoticed = writer(noticed.connection, () => capture.advance(capture.nextFrameNo))
const unfolded = openPlain(unfoldedPath)
unfolded.pragma('wal_autocheckpoint = 0')
const writeUnfolded = writer(unfolded, () => {})

const sides = {
  captured: { write: writeCaptured, afterwards: forgetLog },
  plain: { write: writePlain, afterwards() {} },
  noticed: { write: writeNoticed, afterwards: () => noticed.wal.foldSync('passive') },
  unfolded: { write: writeUnfolded, afterwards: () => unfolded.pragma('wal_checkpoint(PASSIVE)') },
}

function openWorking(path) {
  return new WorkingDatabase({
    source: { snapshot, logs: [] },
    path,
    keepFiles: false,
    safeIntegers: false,
    busyTimeoutMs: 5000,
  })
}

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
    toReaders.close()
    captured.close()
    noticed.close()
    plain.close()
    unfolded.close()
    parentPort.postMessage(undefined)
    parentPort.close()
    return
  }
  const { write, afterwards } = sides[kind]
  const value = await perSecond(transactionCount, () => write(transactionCount))
  await afterwards()
  parentPort.postMessage(value)
})
