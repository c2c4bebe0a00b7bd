/** libsql: a better-sqlite3 with libSQL inside, synchronous, in the calling thread. */
import Database from 'libsql'
import { insertEvent } from '../databases.mjs'

export async function open(path) {
  const connection = new Database(path)
  connection.exec('PRAGMA synchronous = OFF')
  const statement = connection.prepare(insertEvent)
  return {
    insert: (name, value) => statement.run(name, value),
    close: () => connection.close(),
  }
}
