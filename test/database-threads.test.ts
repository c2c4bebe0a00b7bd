// Threads of databases that are closed serve those that are opened next, and are gone when none is.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Worker } from 'node:worker_threads'
import { type Log, Primary, Replica, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const keptMax = 4
/** Of tasks, for the whole process. */
const taskThreadsMax = 2

let blank: Snapshot
/** Of this process, also those that have ended. */
const threads: Worker[] = []
const note = (thread: Worker) => threads.push(thread)
const living = () => threads.filter(({ threadId }) => threadId !== -1)

beforeAll(async () => {
  process.on('worker', note)
  blank = await Snapshot.blank()
})
afterAll(() => {
  process.off('worker', note)
})

/** That does not begin where a blank database ends. */
async function lastLog(): Promise<Log> {
  const primary = await Primary.open(blank)
  await primary.run('CREATE TABLE t (a)')
  await primary.checkpoint((log) => log.close())
  await primary.run('INSERT INTO t VALUES (1)')
  let last!: Log
  await primary.checkpoint((log) => {
    last = log
  })
  await primary.close()
  return last
}

async function useOnce(): Promise<void> {
  const primary = await Primary.open(blank)
  await primary.run('CREATE TABLE t (a)')
  expect(await primary.all('SELECT * FROM t')).toEqual([])
  await primary.transaction((connection) => connection.run('INSERT INTO t VALUES (1)'))
  for await (const row of primary.iterate('SELECT a FROM t')) expect(row).toEqual({ a: 1 })
  await primary.close()
}

it('one after the other are opened in the same threads, which hold nothing of them', async () => {
  await useOnce()
  const used = living()
  for (let count = 0; count < 5; count++) await useOnce()
  const replica = await Replica.open(blank)
  expect(await replica.get('SELECT count(*) AS n FROM sqlite_schema')).toEqual({ n: 0 })
  await replica.close()
  // Those of tasks may be gone by now.
  expect(used).toEqual(expect.arrayContaining(living()))
  await expect.poll(living, { timeout: 60_000, interval: 200 }).toEqual([])
})

it('of many that are closed some are kept', async () => {
  const primaries = await Promise.all(Array.from({ length: 3 * keptMax }, () => Primary.open(blank)))
  expect(living().length).toBeGreaterThanOrEqual(3 * keptMax)
  await Promise.all(primaries.map((primary) => primary.close()))
  await expect.poll(() => living().length).toBeLessThanOrEqual(keptMax + taskThreadsMax)
})

it('one that dies while it is kept is not missed', async () => {
  await useOnce()
  await Promise.all(living().map((thread) => thread.terminate()))
  await useOnce()
})

it('one that code of the application ran in is ended with its database', async () => {
  const path = join(temporaryFolder(), 'procedures.mjs')
  const source = `import { threadId } from 'node:worker_threads'
    let count = 0
    export const countCalls = () => [threadId, ++count]`
  writeFileSync(path, source)
  const procedures = pathToFileURL(path)
  const countCalls = async () => {
    const primary = await Primary.open<{ countCalls: () => number[] }>(blank, [], { procedures })
    const [threadId, first] = (await primary.call('countCalls')).peek()
    const [, second] = (await primary.call('countCalls')).peek()
    await primary.close()
    expect(living().map((thread) => thread.threadId)).not.toContain(threadId)
    return [first, second]
  }
  expect(await countCalls()).toEqual([1, 2])
  expect(await countCalls()).toEqual([1, 2])
})

it('a reader that code of the application ran in is ended with its database, too', async () => {
  const path = join(temporaryFolder(), 'setup.mjs')
  const source = `let count = 0
    export default (connection) => connection.function('count_calls', () => ++count)`
  writeFileSync(path, source)
  for (let opened = 0; opened < 2; opened += 1) {
    const primary = await Primary.open(blank, [], { setup: pathToFileURL(path), readers: 1 })
    const countCalls = () => primary.get<{ count: number }>('SELECT count_calls() AS count')
    expect([await countCalls(), await countCalls()]).toEqual([{ count: 1 }, { count: 2 }])
    await primary.close()
  }
})

it('one that code of the application runs in has the environment of now', async () => {
  const path = join(temporaryFolder(), 'environment.mjs')
  writeFileSync(path, 'export const tenant = () => process.env.TENANT\n')
  for (const tenant of ['first', 'second']) {
    process.env.TENANT = tenant
    const primary = await Primary.open<{ tenant: () => string }>(blank, [], {
      procedures: pathToFileURL(path),
    })
    expect((await primary.call('tenant')).peek()).toBe(tenant)
    await primary.close()
    await useOnce()
  }
})

it('nothing keeps a database that is closed, however late the thread that closed it hears of that', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const busy = setInterval(() => {
    const endMs = performance.now() + 10
    while (performance.now() < endMs);
  }, 1)
  const closed: WeakRef<Primary>[] = []
  const live = async () => {
    const primary = await Primary.open(blank)
    await primary.get('SELECT 1')
    await primary.close()
    closed.push(new WeakRef(primary))
  }
  for (let count = 0; count < 20; count++) await live()
  clearInterval(busy)
  const kept = () => {
    collect()
    return closed.filter((primary) => primary.deref() !== undefined).length
  }
  await expect.poll(kept).toBe(0)
})

it('an opening that fails gives its thread back', async () => {
  await useOnce()
  const log = await lastLog()
  const startedCount = threads.length
  for (let count = 0; count < 5; count++) {
    await expectCode(Primary.open(blank, [log]), 'ERR_LOG_GAP')
  }
  expect(threads.length).toBe(startedCount)
  await log.close()
})

it('none keeps a process alive', async () => {
  const active = () => process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name))
  const primary = await Primary.open(blank)
  expect(active()).not.toEqual([])
  await primary.close()
  expect(active()).toEqual([])
})
