import { afterAll, beforeAll } from 'vitest'
import { NatsServer } from '../support/nats-server.js'
import { sharedNatsStore } from '../support/nats-store.js'
import { describeTakeovers } from './takeovers.js'

let server: NatsServer

beforeAll(async () => {
  server = await NatsServer.start()
})
afterAll(() => server?.remove())

describeTakeovers('a NatsStore', () => sharedNatsStore([server]))
