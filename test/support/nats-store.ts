/** A NatsStore for a test, and what somebody else does to its stream. */
import { randomUUID } from 'node:crypto'
import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import { Objm } from '@nats-io/obj'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { NatsStore, type NatsStoreOptions } from 'mylibsql/nats'
import { onTestFinished } from 'vitest'
import type { StoreUnderTest } from '../stores/contract.js'
import type { SharedStore } from '../stores/takeovers.js'
import type { NatsServer } from './nats-server.js'

/** A name that no other test has. */
export function storeName(): string {
  return `test-${randomUUID().slice(0, 8)}`
}

/** Made when it is not there; closed when the test has finished. */
export async function openNatsStore(
  server: NatsServer | readonly NatsServer[],
  options: Omit<NatsStoreOptions, 'servers'>,
): Promise<NatsStore> {
  const servers = [server].flat().map(({ url }) => url)
  const store = await NatsStore.open({ servers, create: true, timeoutMs: 5000, ...options })
  onTestFinished(() => store.close())
  return store
}

/** An empty one, on all of these servers, which other processes open too. */
export async function sharedNatsStore(servers: readonly NatsServer[]): Promise<SharedStore> {
  const options = { servers: servers.map(({ url }) => url), name: storeName() }
  const replicas = servers.length === 3 ? 3 : 1
  const store = await openNatsStore(servers, { ...options, replicas })
  return { store, described: { kind: 'nats', options } }
}

/** A connection of somebody else. */
export async function rawClient(
  server: NatsServer | readonly NatsServer[],
): Promise<{ connection: NatsConnection; js: JetStreamClient }> {
  const connection = await connect({ servers: [server].flat().map(({ url }) => url) })
  onTestFinished(() => connection.close())
  return { connection, js: jetstream(connection) }
}

/**
 * A message of a stream cannot be changed: what is written in the place of a log is a replacement with the headers of
 * the log and another body.
 */
export async function natsStoreUnderTest(
  server: NatsServer,
  compression: 'none' | 'deflate',
): Promise<StoreUnderTest> {
  const name = storeName()
  const open = () => openNatsStore(server, { name, compression })
  const { connection, js } = await rawClient(server)
  const manager = await js.jetstreamManager()
  const objects = async () => new Objm(connection).open(`${name}-snapshots`)
  const isLog = (id: string) => /^\d{1,15}$/.test(id)
  const messageOf = async (id: string) => (await manager.streams.getMessage(name, { seq: Number(id) }))!
  const replaced = new Map<string, string>()
  return {
    store: await open(),
    reopen: open,
    async overwrite(id, bytes) {
      if (!isLog(id)) {
        await (await objects()).putBlob({ name: id }, bytes)
        return
      }
      const message = await messageOf(id)
      message.header.set('Mylibsql-Kind', 'replacement')
      message.header.delete('Nats-Expected-Last-Sequence')
      const { seq } = await js.publish(message.subject, bytes, { headers: message.header })
      replaced.set(id, String(seq))
    },
    async bytesOf(id) {
      if (!isLog(id)) return (await (await objects()).getBlob(id))!
      return (await messageOf(replaced.get(id) ?? id)).data
    },
  }
}
