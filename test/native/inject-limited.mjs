// Injects records from a file into a database while no file may grow beyond a limit that the parent set.
import { openSync } from 'node:fs'
import { createRequire } from 'node:module'

const parseBigint = (key, value) => (key.endsWith('Checksum') ? BigInt(value) : value)
const { packageRoot, path, recordsPath, run } = JSON.parse(process.argv[2], parseBigint)
const require = createRequire(import.meta.url)
const native = require('node-gyp-build')(packageRoot)
const Database = require('better-sqlite3')
const db = new Database(path)
db.loadExtension(require('node-gyp-build').path(packageRoot), 'sqlite3_mylibsql_init')
const wal = native.attach({ guard: true })
const before = wal.position()
let failure = {}
try {
  wal.inject({ fd: openSync(recordsPath, 'r'), byteOffset: 0 }, run)
} catch (error) {
  failure = { code: error.code, syscall: error.syscall, errno: error.errno }
}
const isSame = JSON.stringify(before) === JSON.stringify(wal.position())
const integrity = db.pragma('integrity_check', { simple: true })
db.exec('BEGIN IMMEDIATE; COMMIT') // the write lock was released
console.log(JSON.stringify({ ...failure, isSame, integrity, inTransaction: db.inTransaction }))
