/** What capturing costs the writer: both sides run by turns in the same worker thread. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Snapshot } from '../dist/main/index.js'
import { newPath } from './databases.mjs'

const allOfIt = {
  name: 'capture',
  how: 'captured, WAL copied out and folded',
  reference: 'without the addon, automatic checkpoints',
  kind: 'captured',
  referenceKind: 'plain',
}
const hookAlone = {
  name: 'capture.hook',
  how: 'noticed after each commit, WAL left alone',
  reference: 'without the addon, WAL left alone',
  kind: 'noticed',
  referenceKind: 'unfolded',
}

function capture({ name, how, reference, kind, referenceKind }, rowsPerTransaction, transactionCount) {
  return {
    name: `${name}.${rowsPerTransaction}`,
    about: `transactions of ${rowsPerTransaction === 1 ? 'one row' : `${rowsPerTransaction} rows`}, ${how}`,
    reference,
    unit: 'tx/s',
    goal: { of: 'ratio', atLeast: 0.95 },
    async prepare({ folder, isQuick }) {
      const snapshot = await Snapshot.blank()
      const worker = new Worker(new URL('./workers/capturing.mjs', import.meta.url), {
        workerData: {
          snapshot: snapshot.file,
          capturedPath: newPath(folder, '.db'),
          noticedPath: newPath(folder, '.db'),
          plainPath: newPath(folder, '.db'),
          unfoldedPath: newPath(folder, '.db'),
          logPathPrefix: newPath(folder, '.log-'),
          rowsPerTransaction,
        },
      })
      const ask = async (asked) => {
        worker.postMessage({
          kind: asked,
          transactionCount: isQuick ? transactionCount / 4 : transactionCount,
        })
        const [value] = await once(worker, 'message')
        return value
      }
      return {
        measure: () => ask(kind),
        measureReference: () => ask(referenceKind),
        async close() {
          await ask('close')
          await snapshot.close()
        },
      }
    },
  }
}

export const benchmarks = [
  capture(hookAlone, 1, 10_000),
  capture(allOfIt, 1, 40_000),
  capture(allOfIt, 64, 12_000),
]
