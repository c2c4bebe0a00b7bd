// Takes the lock of a file and keeps it until it is told to end.
import { openSync } from 'node:fs'
import { createRequire } from 'node:module'

const { packageRoot, path } = JSON.parse(process.argv[2])
const native = createRequire(import.meta.url)('node-gyp-build')(packageRoot)
process.send(native.tryLock(openSync(path, 'a')))
process.on('message', () => process.exit(0))
