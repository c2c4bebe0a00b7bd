// The queue in front of the writer is bounded for producers that ask: ready() waits, wait: false refuses.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { init, Primary, type PrimaryOptions } from 'mylibsql'
import { afterEach, expect, it } from 'vitest'

const insert = 'INSERT INTO t (a) VALUES (?)'
let primary: Primary | undefined

afterEach(async () => {
  await primary?.close()
})

async function open(options: PrimaryOptions): Promise<Primary> {
  const { snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, a)')
  primary = await Primary.open(snapshot, [], options)
  return primary
}

const busy = expect.objectContaining({ code: 'ERR_BUSY' })

it('a producer that awaits ready() never has more under way than the queue holds', async () => {
  const writer = await open({ requestsMax: 1000 })
  let pending = 0
  let pendingMax = 0
  let done = 0
  for (let n = 0; n < 20_000; n += 1) {
    pending += 1
    pendingMax = Math.max(pendingMax, pending)
    void writer.run(insert, [n]).then(() => {
      pending -= 1
      done += 1
    })
    await writer.ready()
  }
  expect(pendingMax).toBeLessThanOrEqual(1000)
  while (done < 20_000) await writer.run('SELECT 1')
  expect(await writer.get('SELECT count(*) AS n FROM t')).toEqual({ n: 20_000 })
})

it('a full queue refuses those that are not to wait, and executes the others', async () => {
  const writer = await open({ requestsMax: 10 })
  const waiting = Array.from({ length: 15 }, (_, n) => writer.run(insert, [n]))
  await expect(writer.run(insert, ['never'], { wait: false })).rejects.toEqual(busy)
  await expect(writer.batch([{ sql: insert, params: ['never'] }], { wait: false })).rejects.toEqual(busy)
  await Promise.all(waiting)
  await writer.run(insert, ['now'], { wait: false })
  expect(await writer.get('SELECT count(*) AS n FROM t')).toEqual({ n: 16 })
})

it('counts the bytes of parameters too', async () => {
  const writer = await open({ requestBytesMax: 1000 })
  const large = writer.run(insert, [new Uint8Array(2000)])
  await expect(writer.run(insert, ['never'], { wait: false })).rejects.toEqual(busy)
  await large
  await writer.run(insert, ['now'], { wait: false })
})

it('ready() rejects when the primary closes', async () => {
  const writer = await open({ requestsMax: 2, closeTimeoutMs: 200 })
  const held = writer.withConnection(() => new Promise(() => {})).catch((error: unknown) => error)
  const waiting = [1, 2, 3].map((n) => writer.run(insert, [n]).catch((error: unknown) => error))
  const ready = writer.ready()
  await Promise.all([expect(ready).rejects.toMatchObject({ code: 'ERR_CLOSED' }), writer.close()])
  for (const error of await Promise.all([held, ...waiting]))
    expect(error).toMatchObject({ code: 'ERR_CLOSED' })
})

it('a hundred thousand calls at once all settle, in order', async () => {
  const writer = await open({})
  const count = 100_000
  const acks = await Promise.all(Array.from({ length: count }, (_, n) => writer.run(insert, [n])))
  expect(acks.map((ack) => ack.peek().lastInsertRowid)).toEqual(
    Array.from({ length: count }, (_, n) => n + 1),
  )
})

it('a call that waits costs little more than its promise, and an Ack that is kept two words of result', async () => {
  const program = fileURLToPath(new URL('./programs/many-calls.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program])
  const bytesPerCall: { waiting: number; kept: number; isComplete: boolean } = JSON.parse(stdout)
  expect(bytesPerCall.isComplete).toBe(true)
  // A promise and its handler are 96 bytes, and the one parameter 8.
  expect(bytesPerCall.waiting).toBeLessThan(125)
  // A promise is 48 bytes, and so is its Ack.
  expect(bytesPerCall.kept).toBeLessThan(110)
})

it('an actor that spins does the same, and calls have their turn', async () => {
  const writer = await open({ spin: true })
  let isLoaded = true
  const load = Array.from({ length: 8 }, async () => {
    while (isLoaded) await writer.run(insert, ['x'])
  })
  for (let call = 0; call < 5; call += 1) expect((await writer.stats()).pageSize).toBe(4096)
  isLoaded = false
  await Promise.all(load)
  const { n } = (await writer.get('SELECT count(*) AS n FROM t'))!
  expect((await writer.stats()).requestCount).toBe(n)
})
