// A primary on a store, with clients that write without pause and tell which writes are durable. It takes the store over
// when it is told to ("open"), and when another one has taken it over it waits to be told again. It may be paused or killed
// at any time.
import { createInterface } from 'node:readline'
import { FileStore, Primary } from '../../dist/main/index.js'

const { dir, name, clientCount, checkpoint } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

const store = new FileStore(dir)
let term = 0
let primary

async function open() {
  term += 1
  const ownTerm = term
  await primary?.close().catch(() => {})
  try {
    primary = await Primary.open({ store, checkpoint, closeTimeoutMs: 2000 })
  } catch (error) {
    say({ kind: 'unopened', code: error.code, message: error.message })
    return
  }
  say({ kind: 'opened', term: ownTerm })
  for (let client = 0; client < clientCount; client += 1) void write(`${name}.${ownTerm}.${client}`, primary)
}

async function write(client, on) {
  try {
    for (let n = 0; ; n += 1) {
      const ack = await on.run('INSERT INTO writes (client, n) VALUES (?, ?)', [client, n])
      await ack.durable()
      say({ kind: 'durable', client, n })
    }
  } catch (error) {
    say({ kind: 'ended', client, code: error.code, message: error.message })
  }
}

say({ kind: 'ready' })
for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line) === 'open') await open()
}
await primary?.close().catch(() => {})
await store.close()
