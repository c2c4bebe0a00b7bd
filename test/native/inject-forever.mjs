// Injects batches of records from a file, one after the other and folding now and then, until it is killed.
import { openSync } from 'node:fs'
import { createRequire } from 'node:module'

const parseBigint = (key, value) => (key.endsWith('Checksum') ? BigInt(value) : value)
const { packageRoot, path, recordsPath, batches } = JSON.parse(process.argv[2], parseBigint)
const require = createRequire(import.meta.url)
const native = require('node-gyp-build')(packageRoot)
const Database = require('better-sqlite3')
const db = new Database(path)
db.pragma('synchronous = OFF')
db.loadExtension(require('node-gyp-build').path(packageRoot), 'sqlite3_mylibsql_init')
const wal = native.attach({ guard: true })
const fd = openSync(recordsPath, 'r')
process.send('started')
for (const [index, { byteOffset, run }] of batches.entries()) {
  const { badIndex } = wal.inject({ fd, byteOffset }, run)
  if (badIndex !== -1) throw new Error(`frame ${badIndex} of batch ${index} is bad`)
  if (index % 7 === 3) wal.foldSync('passive')
}
process.send('done')
setInterval(() => {}, 1000)
