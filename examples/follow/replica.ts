/**
 * A process that reads, on the machine of primary.ts or, with a store that is reached over the network, on any other:
 *
 *     node replica.ts STORE_FOLDER [PORT]
 *     curl http://127.0.0.1:PORT/users          what the replica has now, maybe a moment old
 *     curl http://127.0.0.1:PORT/users?token=2  with the write that was answered with this token, and all before it
 *
 * That is read-your-writes: whoever sends the token of his last write never sees a state from before it.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FileStore, MylibsqlError, Replica } from 'mylibsql'

const [folder = 'store', port = '0'] = process.argv.slice(2)
const store = new FileStore(folder)

// The newest snapshot, the logs behind it, and from now on every log that comes.
const replica = await Replica.follow(store)

async function answer(request: IncomingMessage): Promise<[status: number, body: unknown]> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  if (request.method !== 'GET' || pathname !== '/users') return [404, 'GET /users']
  const token = searchParams.get('token')
  if (token !== null && !/^\d{1,15}$/.test(token)) return [400, 'The token of a write is a number']
  if (token !== null) await replica.waitFor(Number(token), { timeoutMs: 2000 })
  return [200, await replica.all('SELECT id, name FROM users ORDER BY id')]
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).catch((error) => {
    // 503: further behind than the reader should have to wait. The client may ask again, or ask another replica.
    const isBehind = error instanceof MylibsqlError && error.code === 'ERR_TIMEOUT'
    return [isBehind ? 503 : 500, String(error)] as const
  })
  response.writeHead(status).end(JSON.stringify(body))
})
await once(server.listen(Number(port), '127.0.0.1'), 'listening')
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)

process.once('SIGTERM', async () => {
  // What is under way is answered first.
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  await replica.close()
  await store.close()
})
