// Runs queries that end when somebody interrupts them. Mode 'run': one after the other, and tells how each ended.
// Mode 'close': on a connection each, closed as soon as it was interrupted; `rounds` of them, and more, up to `roundsMax`, until
// each interrupter has met a connection and one that was gone: on a busy machine it may be long before one has a turn.
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

const { packageRoot, mode, rounds, roundsMax } = workerData
const require = createRequire(import.meta.url)
const native = require('node-gyp-build')(packageRoot)
const Database = require('better-sqlite3')

function open() {
  const db = new Database(':memory:')
  db.loadExtension(require('node-gyp-build').path(packageRoot), 'sqlite3_mylibsql_init')
  return { db, id: native.connectionId() }
}

/** Code of the error it ended with. */
function runEndlessly(db) {
  try {
    db.prepare(
      'WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n',
    ).get()
  } catch (error) {
    return error.code
  }
}

if (mode === 'run') {
  const { db, id } = open()
  parentPort.postMessage({ id })
  for (let round = 0; round < rounds; round++) parentPort.postMessage({ code: runEndlessly(db) })
  const sum = db.prepare('SELECT 1 + 1').pluck().get()
  db.close()
  parentPort.postMessage({ sum })
} else {
  const shared = new Int32Array(workerData.ids)
  const codes = []
  const isEnough = () => shared.subarray(1).every((_, at) => Atomics.load(shared, at + 1) > 0)
  for (let round = 0; round < rounds || (round < roundsMax && !isEnough()); round++) {
    const { db, id } = open()
    Atomics.store(shared, 0, id)
    codes.push(runEndlessly(db))
    db.close()
  }
  parentPort.postMessage({ codes })
}
