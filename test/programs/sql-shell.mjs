// Another program that has the database open, as the sqlite3 shell would: runs each line of SQL it is sent.
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'

const { path } = JSON.parse(process.argv[2])
const database = new Database(path, { fileMustExist: true, timeout: 0 })
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`)
}

function answer(sql) {
  try {
    const statement = database.prepare(sql)
    return { rows: statement.reader ? statement.all() : [statement.run()] }
  } catch (error) {
    return { error: `${error.code}: ${error.message}` }
  }
}
