/** Turso Database, the rewrite of SQLite in Rust: asynchronous, in the process. */
import { connect } from '@tursodatabase/database'
import { insertEvent } from '../databases.mjs'

export async function open(path) {
  const connection = await connect(path)
  await connection.exec('PRAGMA synchronous = OFF')
  const statement = await connection.prepare(insertEvent)
  return {
    insert: (name, value) => statement.run(name, value),
    close: () => connection.close(),
  }
}
