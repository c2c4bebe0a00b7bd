/**
 * The process that writes. Every write goes into the store, a folder, by itself:
 *
 *     node primary.ts STORE_FOLDER [PORT]
 *     curl -d Alice http://127.0.0.1:PORT/users
 *     {"id":1,"token":2}
 *
 * The token is for a reader who wants to see this write: see replica.ts.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { FileStore, Primary } from 'mylibsql'

const [folder = 'store', port = '0'] = process.argv.slice(2)
const store = new FileStore(folder)

// Writes go to the store together, 10 ms after the first one of them at the latest. A store that is new begins blank.
const primary = await Primary.open({ store, create: true, checkpoint: { intervalMs: 10 } })
await primary.run('CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)')

async function answer(request: IncomingMessage): Promise<[status: number, body: unknown]> {
  if (request.method !== 'POST' || request.url !== '/users') return [404, 'POST /users']
  const ack = await primary.run('INSERT INTO users (name) VALUES (?)', [await text(request)])
  // Only what is in the store survives this machine, and only then does the token stand for this write for ever.
  const { lastInsertRowid } = await ack.durable()
  return [201, { id: Number(lastInsertRowid), token: ack.frameNo }]
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).catch((error) => [500, String(error)] as const)
  response.writeHead(status).end(JSON.stringify(body))
})
await once(server.listen(Number(port), '127.0.0.1'), 'listening')
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)

process.once('SIGTERM', async () => {
  // What is under way is answered first.
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  await primary.close()
  await store.close()
})
