// Whatever was opened is released: threads, descriptors, temporary files; also when opening fails half-way.
import { readdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { init, type Log, Primary, Replica, type Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'

const threads = () => readdirSync('/proc/self/task').length
const descriptors = () => readdirSync('/proc/self/fd').length
const unhandled: unknown[] = []
const note = (reason: unknown) => void unhandled.push(reason)

let snapshot: Snapshot
let temporaryFiles: () => string[]

beforeAll(async () => {
  process.on('unhandledRejection', note)
  ;({ snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, a)'))
  const folder = dirname(snapshot.path)
  temporaryFiles = () => readdirSync(folder).sort()
  // Task threads and thread pools that stay are there from now on.
  await live()
})
afterAll(() => {
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})

async function live(): Promise<void> {
  const primary = await Primary.open(snapshot)
  const replica = await Replica.open(snapshot)
  const frames = primary.captureFrames()
  await primary.run('INSERT INTO t (a) VALUES (1)')
  await primary.get('SELECT 1')
  for await (const row of primary.iterate('SELECT 1 AS one UNION ALL SELECT 2')) {
    expect(row.one).toBe(1)
    break
  }
  await primary.transaction((connection) => connection.run('INSERT INTO t (a) VALUES (randomblob(5000000))'))
  await primary.checkpoint(async (log: Log) => {
    await replica.replicate(log)
    await log.close()
  })
  await replica.withConnection((connection) => connection.get('SELECT 1'))
  frames.close()
  await primary.close()
  await replica.close()
}

/** What exits does so in its own time, task threads after 5 idle seconds; what leaks never does. */
async function settlesAt(count: () => number, baseline: number): Promise<void> {
  for (let tries = 0; tries < 1200 && count() > baseline; tries += 1) await delay(25)
  expect(count()).toBeLessThanOrEqual(baseline)
}

it.each<[string, () => Promise<void>]>([
  ['lives that end well', live],
  [
    'openings that fail',
    async () => {
      await expect(Primary.open(snapshot, [], { path: '/dev/null/no-folder.sqlite' })).rejects.toThrow()
      const procedures = new URL('file:///no-such-module.mjs')
      await expect(Primary.open(snapshot, [], { procedures })).rejects.toMatchObject({
        code: 'ERR_PROCEDURE',
      })
    },
  ],
  [
    'role changes',
    async () => {
      const replica = await (await Primary.open(snapshot)).intoReplica()
      await (await replica.intoPrimary()).close()
    },
  ],
  [
    'closing in the middle of things',
    async () => {
      const primary = await Primary.open(snapshot, [], { closeTimeoutMs: 20 })
      const endless =
        'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'
      const reads = [primary.all(endless), primary.get(endless)].map((read) => read.catch(() => {}))
      const held = primary.withConnection(() => new Promise(() => {})).catch(() => {})
      const write = primary.run('INSERT INTO t (a) VALUES (2)').catch(() => {})
      await primary.close()
      await Promise.all([...reads, held, write])
    },
  ],
])('%s leave no thread, descriptor or file', async (_, action) => {
  const before = { threads: threads(), descriptors: descriptors(), files: temporaryFiles() }
  for (let round = 0; round < 5; round += 1) await action()
  await settlesAt(threads, before.threads)
  await settlesAt(descriptors, before.descriptors)
  expect(temporaryFiles()).toEqual(before.files)
})
