// Opens a database, starts jobs on libuv threads and tells its parent, which terminates it; a process exits.
import { openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'

const { packageRoot, path, job } = workerData ?? JSON.parse(process.argv[2])
const require = createRequire(import.meta.url)
const addonFirst = job.endsWith('addon-first')
const native = addonFirst ? require('node-gyp-build')(packageRoot) : undefined
const Database = require('better-sqlite3')
const db = new Database(path)
db.pragma('journal_mode = WAL')
db.pragma('synchronous = OFF')
db.loadExtension(require('node-gyp-build').path(packageRoot), 'sqlite3_mylibsql_init')
const wal = (native ?? require('node-gyp-build')(packageRoot)).attach({ guard: true })
db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text)')
const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.3000c', 'x'))")
db.transaction(() => {
  for (let i = 0; i < 3000; i++) insert.run()
})()
const fd = openSync(`${path}.copy`, 'w+')
const { frameCount } = wal.position()
const jobs = {
  fold: () => wal.fold(),
  copyDatabase: () => wal.copyDatabase(fd),
  copyFrames: () => wal.copyFrames(fd, 0, 1, frameCount, 0, 0n),
}
const running = job.startsWith('none') ? [] : Object.values(jobs).map((start) => start())
globalThis.kept = [db, wal, ...running]
if (isMainThread) process.exit(0)
parentPort.postMessage('started')
setInterval(() => {}, 1000)
