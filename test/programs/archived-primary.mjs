// A primary on a store, with clients that write without pause and tell which writes are durable. It takes the store over
// when it is told to ("open"; "settle" is answered when that is done), and when another one has taken it over it waits to be told again. In the end it becomes a
// replica of the one that has won ({ frameNo, path }). It may be paused or killed at any time.
import { createInterface } from 'node:readline'
import { Primary, Replica } from '../../dist/main/index.js'
import { openStore } from './open-store.mjs'

const { store: described, name, clientCount, checkpoint } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

const store = await openStore(described)
let term = 0
let primary

async function open() {
  term += 1
  const ownTerm = term
  await primary?.close().catch(() => {})
  primary = undefined
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

/** The bytes that it has with this frame applied. */
async function follow({ frameNo, path }) {
  const replica = primary === undefined ? await Replica.follow(store) : await intoReplica()
  await replica.waitFor(frameNo)
  await replica.snapshot(path)
  say({ kind: 'followed', path })
  await replica.close()
}

/** It may not know yet that it was taken over. */
async function intoReplica() {
  try {
    return await primary.intoReplica()
  } catch (error) {
    if (error.code !== 'ERR_FENCED') throw error
    return primary.intoReplica()
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request === 'open') await open()
  else if (request === 'settle') say({ kind: 'settled' })
  else await follow(request)
}
await primary?.close().catch(() => {})
await store.close()
