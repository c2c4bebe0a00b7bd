/**
 * Two of these processes on one store survive the loss of either one without losing a write that was answered:
 *
 *     node server.ts STORE_FOLDER                          the first one is the primary
 *     node server.ts STORE_FOLDER http://127.0.0.1:PORT    the second one stands by, and watches the first one there
 *     curl -X PUT -d 'paid 5' http://127.0.0.1:PORT/events/17
 *     curl http://127.0.0.1:PORT/events/17
 *
 * The second one becomes the primary when the first one does not answer. It may be wrong about that: the first one may
 * only be slow, or cut off. Nothing is lost even then: the second one claims the next epoch of the store, and from that
 * moment on nothing that the first one writes is acknowledged. It is told ERR_FENCED when it writes, or when it has not
 * written for a second, and becomes a replica; what it reads until then may be old. One that was lost is started again like the second one, with the URL of
 * the one that is there.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { FileStore, MylibsqlError, Primary, Replica } from 'mylibsql'

const [folder = 'store', watchedUrl] = process.argv.slice(2)
const store = new FileStore(folder)
const checkpoint = { intervalMs: 10, fenceCheckMs: 1000 }
let database: Primary | Replica = watchedUrl === undefined ? await openPrimary() : await Replica.follow(store)

async function openPrimary(): Promise<Primary> {
  const primary = await Primary.open({ store, checkpoint, create: true })
  await primary.run('CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, body TEXT NOT NULL)')
  return primary
}

async function answer(request: IncomingMessage): Promise<[status: number, body: unknown]> {
  const id = Number(/^\/events\/(\d{1,15})$/.exec(request.url ?? '')?.[1])
  if (Number.isNaN(id)) return [404, 'PUT or GET /events/ID']
  const body = await text(request)
  const asked = database
  try {
    if (request.method === 'GET') {
      const row = await asked.get('SELECT body FROM events WHERE id = ?', [id])
      return [row === undefined ? 404 : 200, row?.body ?? 'No such event']
    }
    if (asked instanceof Replica) return [503, 'A replica: ask the other one']
    // Whoever got no answer asks again, here or there: by the client's own id it stays one event.
    const ack = await asked.run('INSERT INTO events VALUES (?, ?) ON CONFLICT DO NOTHING', [id, body])
    await ack.durable()
    return [200, 'In the store']
  } catch (error) {
    const isFenced = error instanceof MylibsqlError && error.code === 'ERR_FENCED'
    if (isFenced && asked instanceof Primary) stepDown(asked)
    throw error
  }
}

let steppingDown: Primary | undefined

async function stepDown(primary: Primary): Promise<void> {
  if (steppingDown === primary) return
  steppingDown = primary
  const { archive } = await primary.stats()
  // When nobody has taken over, an older primary's last log was in the way of our first one. We are still the one to go on.
  const isNewest = archive?.epoch === (await store.currentEpoch())
  if (isNewest) await primary.close()
  database = isNewest ? await openPrimary() : await primary.intoReplica()
  console.log(isNewest ? 'primary' : 'replica')
}

const server = createServer(async (request, response) => {
  // Whatever is not answered with 200 is not acknowledged: the client asks again.
  const [status, body] = await answer(request).catch((error) => [503, String(error)] as const)
  response.writeHead(status).end(JSON.stringify(body))
})
await once(server.listen(0, '127.0.0.1'), 'listening')
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
console.log(database instanceof Primary ? 'primary' : 'replica')

if (database instanceof Replica && watchedUrl !== undefined) {
  await untilSilent(watchedUrl)
  // With everything that was ever acknowledged: it claims the epoch first, and applies what is in the store then.
  database = await database.promote({ checkpoint })
  console.log('primary')
}

/** Three questions without an answer, one after the other. Any answer will do. */
async function untilSilent(url: string): Promise<void> {
  for (let failureCount = 0; failureCount < 3; await delay(100)) {
    const isThere = await fetch(url, { signal: AbortSignal.timeout(500) }).then(
      (response) => response.text().then(() => true),
      () => false,
    )
    failureCount = isThere ? 0 : failureCount + 1
  }
}
