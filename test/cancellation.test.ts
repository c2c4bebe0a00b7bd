// Time limits and signals: the caller is told, nothing half-done stays, neighbours are unharmed.
import { execFileSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { init, Log, MylibsqlError, Primary, Replica, type Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { isSettled } from './support/deferred.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const numbers = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'
const endlessRead = `${numbers} SELECT count(*) FROM n`
const endlessWrite = `${numbers} INSERT INTO t (a) SELECT i FROM n WHERE i < 0`
const insert = 'INSERT INTO t (a) VALUES (?)'
const counted = (count: number) =>
  `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count}) SELECT sum(i) AS sum FROM n`

let snapshot: Snapshot
let primary: Primary<typeof import('./programs/cancellation-procedures.mjs')>

beforeAll(async () => {
  ;({ snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)'))
  const procedures = new URL('./programs/cancellation-procedures.mjs', import.meta.url)
  primary = await Primary.open(snapshot, [], { procedures })
})
afterAll(async () => {
  await primary.close()
})

async function values(): Promise<unknown[]> {
  return (await primary.all('SELECT a FROM t ORDER BY id')).map((row) => row.a)
}

async function emptied(): Promise<void> {
  await primary.run('DELETE FROM t')
}

const timedOut = expect.objectContaining({ constructor: MylibsqlError, code: 'ERR_TIMEOUT' })

it('interrupts while all task threads are busy', async () => {
  // To open a pipe takes until somebody writes to it.
  const folder = temporaryFolder()
  const pipes = [1, 2, 3].map((n) => join(folder, `${n}`))
  execFileSync('mkfifo', pipes)
  const standing = Promise.allSettled(pipes.map((path) => Log.open(path)))
  await expect(primary.get(endlessRead, [], { timeoutMs: 50 })).rejects.toEqual(timedOut)
  await expect(primary.run(endlessWrite, [], { timeoutMs: 50 })).rejects.toEqual(timedOut)
  const other = await Primary.open(snapshot, [], { closeTimeoutMs: 50 })
  const endless = [other.get(endlessRead), other.run(endlessWrite)]
  const ended = Promise.all(endless.map((call) => expectCode(call, 'ERR_CLOSED')))
  await other.close()
  await ended
  expect(await isSettled(standing)).toBe(false)
  // One that is not opened yet waits for the next time.
  while (!(await isSettled(standing))) {
    for (const path of pipes) closeSync(openSync(path, 'r+'))
    await delay(20)
  }
  expect((await standing).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
})

it('interrupts a write that runs for too long; neighbours of its group commit', async () => {
  await emptied()
  const outcomes = await Promise.allSettled([
    primary.run(insert, ['before']),
    primary.run(endlessWrite, [], { timeoutMs: 100 }),
    primary.run(insert, ['after']),
  ])
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(outcomes[1]).toMatchObject({ reason: timedOut })
  expect(await values()).toEqual(['before', 'after'])
})

it('of many calls with the same statement, just those that are given up are not made', async () => {
  await emptied()
  const counts = Array.from({ length: 100 }, (_, n) => n)
  const isGivenUp = (n: number) => n % 7 === 3
  const controller = new AbortController()
  const outcomes = counts.map((n) => {
    const options =
      n % 7 === 3 ? { signal: controller.signal } : n % 7 === 5 ? { timeoutMs: 60_000 } : undefined
    return primary.run(insert, [String(n)], options)
  })
  controller.abort()
  const settled = await Promise.allSettled(outcomes)
  expect(settled.map(({ status }) => status === 'rejected')).toEqual(counts.map(isGivenUp))
  expect(await values()).toEqual(counts.filter((n) => !isGivenUp(n)).map(String))
})

it('backs out all of a batch that is interrupted', async () => {
  await emptied()
  const statements = [{ sql: insert, params: ['never'] }, { sql: endlessWrite }]
  await expect(primary.batch(statements, { timeoutMs: 50 })).rejects.toEqual(timedOut)
  expect(await values()).toEqual([])
})

it('rejects a call that waits at once, and never runs it', async () => {
  await emptied()
  const running = primary.run(endlessWrite, [], { timeoutMs: 400 })
  const order: string[] = []
  const waiting = primary.run(insert, ['never'], { timeoutMs: 50 }).catch((error: unknown) => {
    order.push('waiting')
    throw error
  })
  await expect(waiting).rejects.toEqual(timedOut)
  await expect(running.finally(() => order.push('running'))).rejects.toEqual(timedOut)
  expect(order).toEqual(['waiting', 'running'])
  expect(await values()).toEqual([])
})

it('gives up all calls that share a signal, and listens to it once', async () => {
  await emptied()
  const controller = new AbortController()
  const { signal } = controller
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  for (let round = 0; round < 2; round += 1) {
    const calls = Array.from({ length: 50 }, (_, n) => primary.run(insert, [`${round}-${n}`], { signal }))
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    await Promise.all(calls)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  }
  const calls = Array.from({ length: 50 }, () => primary.run(endlessWrite, [], { signal }))
  const reason = new Error('not wanted any more')
  controller.abort(reason)
  for (const outcome of await Promise.allSettled(calls)) expect(outcome).toMatchObject({ reason })
  expect(await values()).toHaveLength(100)
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})

it("rejects with the signal's reason", async () => {
  const controller = new AbortController()
  const reason = new Error('no longer wanted')
  const write = primary.run(endlessWrite, [], { signal: controller.signal })
  setTimeout(() => controller.abort(reason), 30)
  await expect(write).rejects.toBe(reason)
  await expect(primary.run(insert, ['x'], { signal: controller.signal })).rejects.toBe(reason)
})

it('does not touch a call that is done in time', async () => {
  await emptied()
  const controller = new AbortController()
  const options = { signal: controller.signal, timeoutMs: 60_000 }
  const ack = await primary.run(insert, ['kept'], options)
  controller.abort()
  expect(ack.peek().changes).toBe(1)
  expect(await primary.get('SELECT a FROM t', [], { timeoutMs: 60_000 })).toEqual({ a: 'kept' })
})

it('interrupts a procedure at its next statement', async () => {
  await emptied()
  await expect(primary.callWith({ timeoutMs: 50 }, 'insertForEver')).rejects.toEqual(timedOut)
  expect(await values()).toEqual([])
})

it.each(['get', 'all'] as const)(
  'interrupts a %s; others on the same thread get their answers',
  async (method) => {
    const [read, other] = await Promise.allSettled([
      primary[method](endlessRead, [], { timeoutMs: 50 }),
      primary.get('SELECT 1 AS one'),
    ])
    expect(read).toMatchObject({ status: 'rejected', reason: timedOut })
    expect(other).toMatchObject({ status: 'fulfilled', value: { one: 1 } })
  },
)

it('ends an iteration that takes too long, while a chunk is fetched and between chunks', async () => {
  const consume = async (sql: string) => {
    for await (const row of primary.iterate(sql, [], { timeoutMs: 100 })) expect(row).toBeDefined()
  }
  await expect(consume(endlessRead)).rejects.toEqual(timedOut)
  await expect(consume(`${numbers} SELECT i FROM n`)).rejects.toEqual(timedOut)
})

it('ends a transaction, whether it runs a statement or waits for its callback', async () => {
  await emptied()
  const busy = primary.transaction(
    async (connection) => {
      await connection.run(insert, ['never'])
      await connection.run(endlessWrite)
    },
    { timeoutMs: 100 },
  )
  await expect(busy).rejects.toEqual(timedOut)
  const waiting = primary.transaction(
    async (connection) => {
      await connection.run(insert, ['never'])
      await new Promise(() => {})
    },
    { timeoutMs: 100 },
  )
  await expect(waiting).rejects.toEqual(timedOut)
  await primary.run(insert, ['goes on'])
  expect(await values()).toEqual(['goes on'])
})

it.each([
  [
    'a session',
    (replica: Replica) => replica.withConnection((connection) => connection.get(counted(4_000_000))),
  ],
  [
    'an iteration',
    async (replica: Replica) => {
      const rows: unknown[] = []
      for await (const row of replica.iterate(counted(4_000_000))) rows.push(row)
      return rows[0]
    },
  ],
])('does not touch %s that has the connection next', async (_name, next) => {
  const replica = await Replica.open(snapshot, [], { readers: 1 })
  // Until an interrupt can be had it takes some time, when the thread for them is not there.
  for (let round = 0; round < 3; round += 1) {
    const givenUp = replica.withConnection((connection) => connection.get(counted(1_000_000)), {
      timeoutMs: 5,
    })
    await expect(givenUp).rejects.toEqual(timedOut)
    expect(await next(replica)).toEqual({ sum: 8_000_002_000_000 })
  }
  await replica.close()
})

it('works on a replica too', async () => {
  const replica = await Replica.open(snapshot)
  await expect(replica.all(endlessRead, [], { timeoutMs: 50 })).rejects.toEqual(timedOut)
  const session = replica.withConnection((connection) => connection.all(endlessRead), { timeoutMs: 50 })
  await expect(session).rejects.toEqual(timedOut)
  expect(await replica.get('SELECT count(*) AS n FROM t')).toEqual({ n: 0 })
  await replica.close()
})

it('knows wrong options', async () => {
  const wrong = { timeout: 5 } as object
  await expect(primary.run(insert, ['x'], wrong)).rejects.toThrow('did you mean "timeoutMs"')
  await expect(primary.get('SELECT 1', [], { timeoutMs: 0 })).rejects.toThrow(TypeError)
})
