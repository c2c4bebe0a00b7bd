import { readFile, writeFile } from 'node:fs/promises'
import { FileStore } from 'mylibsql'
import { temporaryFolder } from '../support/folder.js'
import { describeStore } from './contract.js'

for (const compression of ['none', 'deflate', 'brotli'] as const) {
  describeStore(`FileStore, compression ${compression}`, async () => {
    const dir = temporaryFolder()
    const open = () => new FileStore(dir, { compression })
    return {
      store: open(),
      reopen: async () => open(),
      overwrite: (id, bytes) => writeFile(id, bytes),
      bytesOf: (id) => readFile(id),
    }
  })
}
