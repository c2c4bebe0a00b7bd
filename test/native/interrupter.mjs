// Interrupts the connection whose number is in shared memory, all the time, until that is -1. Behind the number it counts in
// two places of its own, which begin at `countsAt`, how often it met the connection and how often it was gone.
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

const native = createRequire(import.meta.url)('node-gyp-build')(workerData.packageRoot)
const shared = new Int32Array(workerData.ids)
const { countsAt } = workerData
for (let id = Atomics.load(shared, 0); id !== -1; id = Atomics.load(shared, 0)) {
  Atomics.add(shared, native.interrupt(id) ? countsAt : countsAt + 1, 1)
}
parentPort.postMessage('ended')
