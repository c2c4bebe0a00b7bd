/** @libsql/client on a local file. */
import { createClient } from '@libsql/client'
import { insertEvent } from '../databases.mjs'

export async function open(path) {
  const client = createClient({ url: `file:${path}` })
  await client.execute('PRAGMA synchronous = OFF')
  return {
    insert: (name, value) => client.execute({ sql: insertEvent, args: [name, value] }),
    close: () => client.close(),
  }
}
