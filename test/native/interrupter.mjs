// Interrupts the connection whose number is in shared memory, all the time, until that is -1.
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

const native = createRequire(import.meta.url)('node-gyp-build')(workerData.packageRoot)
const shared = new Int32Array(workerData.ids)
const counts = { hit: 0, gone: 0 }
for (let id = Atomics.load(shared, 0); id !== -1; id = Atomics.load(shared, 0)) {
  if (native.interrupt(id)) counts.hit++
  else counts.gone++
}
parentPort.postMessage(counts)
