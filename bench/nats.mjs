/**
 * Writes that are in NATS JetStream: against one message for each write, published without a database. The server is a
 * nats-server of the benchmark's own (found as the tests find it), with one replica.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { Primary, Snapshot } from '../dist/main/index.js'
import { NatsStore } from '../dist/main/stores/nats.js'
import { findNatsServer, howToInstall } from '../test/support/find-nats-server.mjs'
import { eventsSchema, insertEvent, newPath } from './databases.mjs'
import { perSecond, withCallers } from './harness.mjs'

const callerCount = 64
const readyMsMax = 10_000

async function startServer(folder) {
  const path = findNatsServer()
  if (path === undefined) throw new Error(howToInstall)
  const port = await freePort()
  const config = newPath(folder, '.conf')
  await writeFile(
    config,
    `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${newPath(folder, '.nats')}" }\n`,
  )
  const server = spawn(path, ['-c', config], { stdio: 'ignore' })
  const stop = async () => {
    server.kill('SIGKILL')
    await once(server, 'exit')
  }
  try {
    return { connection: await connected(`127.0.0.1:${port}`), url: `127.0.0.1:${port}`, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  return port
}

async function connected(servers) {
  for (const endMs = performance.now() + readyMsMax; ; ) {
    try {
      const connection = await connect({ servers })
      await jetstreamManager(connection)
      return connection
    } catch (error) {
      if (performance.now() > endMs) throw error
      await delay(50)
    }
  }
}

async function openPrimary(url) {
  const store = await NatsStore.open({ servers: url, name: 'bench', create: true })
  const blank = await Snapshot.blank()
  await store.putSnapshot(blank)
  await blank.close()
  const primary = await Primary.open({ store, checkpoint: { frames: 1 } })
  await primary.withConnection((connection) => connection.exec(eventsSchema))
  return { store, primary }
}

export const benchmarks = [
  {
    name: 'store.nats.c64',
    about: `run() and ack.durable(), ${callerCount} callers, Primary.open({ store }) with a NatsStore, one replica`,
    reference: `one awaited JetStream publish for each write, ${callerCount} in flight`,
    unit: 'tx/s',
    goal: { of: 'ratio', atLeast: 2 },
    async prepare({ folder, isQuick }) {
      const writeCount = isQuick ? 5000 : 20_000
      const server = await startServer(folder)
      const { store, primary } = await openPrimary(server.url)
      const client = jetstream(server.connection)
      const manager = await client.jetstreamManager()
      await manager.streams.add({ name: 'reference', subjects: ['reference'] })
      const publish = (n) => client.publish('reference', JSON.stringify(['event', n]))
      const write = async (n) => {
        const ack = await primary.run(insertEvent, ['event', n])
        await ack.durable()
      }
      return {
        measure: () => perSecond(writeCount, () => withCallers(callerCount, writeCount, write)),
        measureReference: () => perSecond(writeCount, () => withCallers(callerCount, writeCount, publish)),
        async close() {
          await primary.close()
          await store.close()
          await server.connection.close()
          await server.stop()
        },
      }
    },
  },
]
