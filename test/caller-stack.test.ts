/** Errors that come from another thread say where the application was waiting. */
import { Primary, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'

const endless = 'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r'

let primary: Primary
beforeAll(async () => {
  primary = await Primary.open(await Snapshot.blank())
  await primary.run('CREATE TABLE t (n INTEGER)')
})
afterAll(() => primary.close())

async function waiting(): Promise<void> {
  await primary.withConnection(() => new Promise(() => {}), { timeoutMs: 20 })
}

/** Each in a function of this name, whose line is to be in the stack. */
const callers: Record<string, () => Promise<unknown>> = {
  run: async () => await primary.run('INSERT INTO nowhere VALUES (1)'),
  batch: async () => await primary.batch([{ sql: 'INSERT INTO nowhere VALUES (1)' }]),
  get: async () => await primary.get('SELECT * FROM nowhere'),
  all: async () => await primary.all('SELECT * FROM nowhere'),
  exec: async () => await primary.withConnection((connection) => connection.exec('nonsense')),
  statementOfSession: async () => {
    await primary.transaction(async function statementOfSession(connection) {
      await connection.run('INSERT INTO nowhere VALUES (1)')
    })
  },
  iterate: async () => {
    for await (const row of primary.iterate('SELECT * FROM nowhere')) expect(row).toBeUndefined()
  },
  manyAtOnce: async () => await Promise.all([primary.run('nonsense'), primary.get('SELECT 1')]),
  timeLimitOfRun: async () => await primary.run(`INSERT INTO t ${endless}`, [], { timeoutMs: 20 }),
  timeLimitOfGet: async () => await primary.get(endless, [], { timeoutMs: 20 }),
  timeLimitOfSession: async () => await waiting(),
  timeLimitOfDurable: async () => {
    const ack = await primary.run('INSERT INTO t VALUES (1)')
    await ack.durable({ timeoutMs: 20 })
  },
  checkpoint: async () => {
    const ack = await primary.run('INSERT INTO t VALUES (1)')
    expect(ack.isDurable).toBe(false)
    await primary.checkpoint(async function checkpoint() {
      await primary.get('SELECT * FROM nowhere')
    })
  },
  snapshot: async () => await primary.snapshot('/nowhere/at/all.db'),
}

it.each(Object.entries(callers))('%s', async (name, call) => {
  const error = (await call().catch((caught: unknown) => caught)) as Error
  expect(error).toBeInstanceOf(Error)
  const lines = error.stack!.split('\n').filter((line) => line.includes('caller-stack.test.ts'))
  expect(lines.join('\n'), error.stack).toContain(name)
})

it('once for each that waits, of several failures in one message', async () => {
  const first = async () => await primary.run('first nonsense')
  const second = async () => await primary.run('second nonsense')
  const outcomes = await Promise.allSettled([first(), primary.run('INSERT INTO t VALUES (1)'), second()])
  const stacks = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.stack : ''))
  expect(stacks[0]).toMatch(/first nonsense|near "first"/)
  expect(stacks[0]).toMatch(/ first .*caller-stack/)
  expect(stacks[0]).not.toMatch(/ second .*caller-stack/)
  expect(stacks[1]).toBe('')
  expect(stacks[2]).toMatch(/ second .*caller-stack/)
})

it('a failure that nobody waits for at once is no unhandled one', async () => {
  const unhandled: unknown[] = []
  const note = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', note)
  try {
    const failures = [primary.get('SELECT * FROM nowhere'), primary.run('nonsense')].map((call) =>
      call.then(undefined, (error: Error) => error.message),
    )
    expect(await Promise.all(failures)).toEqual([
      expect.stringContaining('nowhere'),
      expect.stringContaining('nonsense'),
    ])
    await new Promise((resolve) => setImmediate(resolve))
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
  }
})
