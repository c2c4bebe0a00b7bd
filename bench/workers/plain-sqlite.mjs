import { parentPort, workerData } from 'node:worker_threads'
import { openPlain } from '../databases.mjs'

const connection = openPlain(workerData.path)
const statements = new Map()

parentPort.on('message', ({ method, sql, params }) => {
  let statement = statements.get(sql)
  if (statement === undefined) {
    statement = connection.prepare(sql)
    statements.set(sql, statement)
  }
  parentPort.postMessage(statement[method](params))
})
