// Bytes of the heap for each of many calls at once: while they wait, and once they are executed and their Acks are kept.
// Needs --expose-gc. Prints JSON.
import { init, Primary } from '../../dist/main/index.js'

const callCount = 200_000
const insert = 'INSERT INTO t (a) VALUES (?)'

function heapBytes() {
  globalThis.gc()
  return process.memoryUsage().heapUsed
}

const { snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, a)')
const primary = await Primary.open(snapshot)
await Promise.all(Array.from({ length: 1000 }, (_, n) => primary.run(insert, [n])))

const promises = new Array(callCount)
const beforeBytes = heapBytes()
for (let n = 0; n < callCount; n += 1) promises[n] = primary.run(insert, [n])
const waitingBytes = heapBytes()
for (const promise of promises) await promise
const keptBytes = heapBytes()
const lastRowid = (await promises.at(-1)).peek().lastInsertRowid
await primary.close()

console.log(
  JSON.stringify({
    waiting: (waitingBytes - beforeBytes) / callCount,
    kept: (keptBytes - beforeBytes) / callCount,
    isComplete: lastRowid === 1000 + callCount,
  }),
)
