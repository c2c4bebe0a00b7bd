// Reads a bank in snapshots until it is told to stop, and checks that each snapshot is whole. Runs as a worker
// thread and as a process of its own. Each transaction of the writer moves money, adds a row to `transfers` and
// counts it.
import { setTimeout } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'

const { path, heldMs, idleMs } = workerData ?? JSON.parse(process.argv[2])
const send = (message) => (parentPort ? parentPort.postMessage(message) : process.send(message))
const db = new Database(path, { readonly: true })
const sum = db.prepare('SELECT sum(balance), count(*) FROM accounts').raw()
const counted = db.prepare('SELECT count FROM counter').pluck()
const rows = db.prepare('SELECT count(*) FROM transfers').pluck()
const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

let stopped = false
const onMessage = () => (stopped = true)
if (parentPort) parentPort.on('message', onMessage)
else process.on('message', onMessage)

const snapshot = db.transaction(() => {
  const first = [...sum.get(), counted.get(), rows.get()]
  pause(heldMs)
  const second = [...sum.get(), counted.get(), rows.get()]
  return { first, second }
})

const total = sum.get()
let checkedCount = 0
let lastCount = 0
let torn
send({ started: true })
while (!stopped && torn === undefined) {
  const { first, second } = snapshot()
  const [balance, accounts, count, transfers] = first
  const isWhole = balance === total[0] && accounts === total[1] && count === transfers && count >= lastCount
  if (!isWhole || first.join() !== second.join()) torn = { first, second, lastCount, total }
  lastCount = count
  checkedCount++
  await setTimeout(Math.random() * idleMs)
}
db.close()
send({ checkedCount, lastCount, torn })
if (!parentPort) process.disconnect()
