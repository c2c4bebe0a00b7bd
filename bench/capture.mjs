/** What capturing costs the writer: both sides run by turns in the same worker thread. */
import { Worker } from 'node:worker_threads'
import { Snapshot } from '../dist/main/index.js'
import { newPath } from './databases.mjs'

function capture(rowsPerTransaction, transactionCount) {
  return {
    name: `capture.${rowsPerTransaction}`,
    about: `transactions of ${rowsPerTransaction === 1 ? 'one row' : `${rowsPerTransaction} rows`}, captured, WAL copied out and folded`,
    reference: 'without the addon, automatic checkpoints',
    unit: 'tx/s',
    goal: { of: 'ratio', atLeast: 0.95 },
    async prepare({ folder, isQuick }) {
      const snapshot = await Snapshot.blank()
      const worker = new Worker(new URL('./workers/capturing.mjs', import.meta.url), {
        workerData: {
          snapshot: snapshot.file,
          capturedPath: newPath(folder, '.db'),
          plainPath: newPath(folder, '.db'),
          logPathPrefix: newPath(folder, '.log-'),
          rowsPerTransaction,
        },
      })
      const ask = (kind) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve).once('error', reject)
          worker.postMessage({ kind, transactionCount: isQuick ? transactionCount / 4 : transactionCount })
        })
      return {
        measure: () => ask('captured'),
        measureReference: () => ask('plain'),
        async close() {
          await ask('close')
          await snapshot.close()
        },
      }
    },
  }
}

export const benchmarks = [capture(1, 40_000), capture(64, 12_000)]
