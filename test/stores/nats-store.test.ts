import { afterAll, beforeAll } from 'vitest'
import { NatsServer } from '../support/nats-server.js'
import { natsStoreUnderTest } from '../support/nats-store.js'
import { describeStore } from './contract.js'

let server: NatsServer

beforeAll(async () => {
  server = await NatsServer.start()
})
afterAll(() => server?.remove())

for (const compression of ['none', 'deflate'] as const) {
  describeStore(`NatsStore, compression ${compression}`, () => natsStoreUnderTest(server, compression))
}
