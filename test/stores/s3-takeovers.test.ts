import { afterAll, beforeAll } from 'vitest'
import { S3Server } from '../support/s3-server.js'
import { openS3Store, prefix, serverOptions } from '../support/s3-store.js'
import { describeTakeovers } from './takeovers.js'

let server: S3Server

beforeAll(async () => {
  server = await S3Server.start(1000)
})
afterAll(() => server?.stop())

describeTakeovers('an S3Store', async () => {
  const options = { ...serverOptions(server), prefix: prefix() }
  return { store: await openS3Store(server, options), described: { kind: 's3', options } }
})
