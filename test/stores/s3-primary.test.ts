/** The whole of it over S3: a primary, a replica that follows, a failover, a restore. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Primary, Replica, restore, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { closedAfterTest, expectSameBytes, integrityCheck } from '../support/database.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { S3Server } from '../support/s3-server.js'
import { openS3Store, prefix } from '../support/s3-store.js'

let server: S3Server

beforeAll(async () => {
  server = await S3Server.start()
})
afterAll(() => server?.stop())

it('keeps every acknowledged write, through a failover and lost answers', async () => {
  const at = prefix()
  const open = () => openS3Store(server, { prefix: at })
  const checkpoint = { intervalMs: 10 }
  await (await open()).putSnapshot(await Snapshot.blank())
  const first = closedAfterTest(await Primary.open({ store: await open(), checkpoint }))
  let count = 0
  // Every fifth log is stored, and its answer lost.
  server.fault = ({ method, key }) =>
    method === 'PUT' && key.includes('/logs/') && ++count % 5 === 0 ? 'reset after' : undefined
  await (await first.run('CREATE TABLE t (n INTEGER PRIMARY KEY)')).durable()
  let frameNo = 0
  for (let n = 1; n <= 30; n++) {
    const ack = await first.run('INSERT INTO t VALUES (?)', [n])
    await ack.durable()
    frameNo = ack.frameNo ?? frameNo
  }
  server.fault = () => undefined

  const replica = closedAfterTest(await Replica.follow(await open()))
  await replica.waitFor(frameNo)
  expect(await replica.get('SELECT count(*) AS count FROM t')).toEqual({ count: 30 })

  const second = closedAfterTest(await Primary.open({ store: await open(), checkpoint }))
  const ack = await second.run('INSERT INTO t VALUES (31)')
  await ack.durable()
  await expectCode(
    first.run('INSERT INTO t VALUES (1000)').then((late) => late.durable()),
    'ERR_FENCED',
  )
  await replica.waitFor(ack.frameNo)
  await expectSameBytes(second, replica)

  const path = join(temporaryFolder(), 'restored.db')
  await restore(await open(), path)
  integrityCheck(path)
  const restored = new Database(path, { readonly: true })
  expect(restored.prepare('SELECT sum(n) FROM t').pluck().get()).toBe(496)
  restored.close()
})
