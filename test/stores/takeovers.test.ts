// Primaries in processes of their own take one store over from each other, are paused and killed at random; clients
// record what was acknowledged. MYLIBSQL_SEED gives another course, MYLIBSQL_TAKEOVER_SECONDS a longer one.
import { setTimeout as delay } from 'node:timers/promises'
import { FileStore, Primary, Replica, Snapshot } from 'mylibsql'
import { expect, it } from 'vitest'
import { Child } from '../support/child.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'
import { type Random, withSeed } from '../support/random.js'

const seconds = Number(process.env.MYLIBSQL_TAKEOVER_SECONDS ?? 8)

type Message =
  | { readonly kind: 'ready' }
  | { readonly kind: 'opened'; readonly term: number }
  | { readonly kind: 'unopened' | 'ended'; readonly code?: string; readonly message: string }
  | { readonly kind: 'durable'; readonly client: string; readonly n: number }

/** What all processes said together, in the order in which it was heard. */
class Record {
  readonly durable: { client: string; n: number }[] = []
  readonly codes = new Map<string, number>()
  readonly unexpected: string[] = []
  opened = 0

  note(message: Message): void {
    if (message.kind === 'opened') this.opened += 1
    if (message.kind === 'durable') this.durable.push({ client: message.client, n: message.n })
    if (message.kind !== 'ended' && message.kind !== 'unopened') return
    const code = String(message.code)
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1)
    // Fenced, or closed by its own process to take over anew.
    if (!['ERR_FENCED', 'ERR_CLOSED', 'ERR_UNSAVED_WRITES', 'ERR_SAVE_PENDING'].includes(code)) {
      this.unexpected.push(`${message.kind}: ${code} ${message.message}`)
    }
  }
}

class Contender {
  readonly #dir: string
  readonly #name: string
  readonly #record: Record
  #child!: Child<Message>
  #listening!: Promise<void>
  #lives = 0

  constructor(dir: string, name: string, record: Record) {
    this.#dir = dir
    this.#name = name
    this.#record = record
    this.#start()
  }

  open(): void {
    this.#child.send('open')
  }

  async pause(durationMs: number): Promise<void> {
    const { process } = this.#child
    process.kill('SIGSTOP')
    await delay(durationMs)
    process.kill('SIGCONT')
  }

  async killAndRestart(): Promise<void> {
    await this.#child.kill()
    await this.#listening
    this.#start()
  }

  async end(): Promise<void> {
    await this.#child.end()
    await this.#listening
  }

  #start(): void {
    this.#lives += 1
    const name = `${this.#name}${this.#lives}`
    const argument = { dir: this.#dir, name, clientCount: 6, checkpoint: { intervalMs: 5 } }
    const child = new Child<Message>('archived-primary.mjs', { argument })
    this.#child = child
    this.#listening = (async () => {
      for (let message = await child.next(); message !== undefined; message = await child.next()) {
        this.#record.note(message)
      }
    })()
  }
}

it.each([2, 3])(
  '%i primaries on one FileStore: what was acknowledged is there, once and in order',
  (count) => withSeed(`${count} primaries`, (random) => takeOver(count, random)),
  (seconds + 60) * 1000,
)

async function takeOver(count: number, random: Random): Promise<void> {
  const dir = temporaryFolder()
  const store = closedAfterTest(new FileStore(dir))
  await store.putSnapshot(await Snapshot.blank())
  const first = await Primary.open({ store })
  const made = await first.run('CREATE TABLE writes (id INTEGER PRIMARY KEY, client TEXT, n INTEGER)')
  await made.durable()
  await first.close()

  const record = new Record()
  const contenders = Array.from({ length: count }, (_, index) => new Contender(dir, 'abc'[index]!, record))
  const pauses: Promise<void>[] = []
  const endMs = performance.now() + seconds * 1000
  while (performance.now() < endMs) {
    const contender = contenders[random.integer(0, count - 1)]!
    const action = random.integer(0, 9)
    if (action < 5) contender.open()
    else if (action < 9) pauses.push(contender.pause(20 + random.integer(0, 600)))
    else await contender.killAndRestart()
    await delay(random.integer(0, 400))
  }
  await Promise.all(pauses)
  await Promise.all(contenders.map((contender) => contender.end()))

  expect(record.unexpected).toEqual([])
  expect(record.opened).toBeGreaterThan(2)
  expect(record.durable.length).toBeGreaterThan(10)
  const last = closedAfterTest(await Primary.open({ store }))
  const rows = (await last.all('SELECT client, n FROM writes ORDER BY id')) as {
    client: string
    n: number
  }[]
  const places = new Map<string, number[]>()
  for (const [place, { client, n }] of rows.entries()) {
    const key = `${client}/${n}`
    places.set(key, [...(places.get(key) ?? []), place])
  }
  const lost = record.durable.filter(({ client, n }) => places.get(`${client}/${n}`)?.length !== 1)
  expect(lost).toEqual([])
  expect(places.size).toBe(rows.length)
  // Each client wrote one after the other.
  const lastPlace = new Map<string, number>()
  for (const { client, n } of record.durable) {
    const place = places.get(`${client}/${n}`)![0]!
    expect(place).toBeGreaterThan(lastPlace.get(client) ?? -1)
    lastPlace.set(client, place)
  }
  const replica = closedAfterTest(await Replica.follow(store))
  await replica.waitFor(last.lastFrameNo!)
  await expectSameBytes(last, replica)
  console.log(
    `${record.opened} takeovers, ${record.durable.length} acknowledged, ${rows.length} rows`,
    record.codes,
  )
}
