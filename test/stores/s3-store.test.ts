import { afterAll, beforeAll } from 'vitest'
import { S3Server } from '../support/s3-server.js'
import { s3StoreUnderTest } from '../support/s3-store.js'
import { describeStore } from './contract.js'

let server: S3Server

beforeAll(async () => {
  server = await S3Server.start()
})
afterAll(() => server?.stop())

for (const compression of ['none', 'deflate'] as const) {
  describeStore(`S3Store, compression ${compression}`, () => s3StoreUnderTest(server, compression))
}
