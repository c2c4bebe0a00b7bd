import { FileStore } from 'mylibsql'
import { closedAfterTest } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'
import { describeTakeovers } from './takeovers.js'

describeTakeovers('a FileStore', async () => {
  const dir = temporaryFolder()
  return { store: closedAfterTest(new FileStore(dir)), described: { kind: 'file', options: { dir } } }
})
