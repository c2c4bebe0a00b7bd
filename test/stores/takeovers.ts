/**
 * Primaries in processes of their own take one store over from each other, are paused and killed at random; clients
 * record what was acknowledged. MYLIBSQL_SEED gives another course, MYLIBSQL_TAKEOVER_SECONDS a longer one.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MylibsqlError, Primary, Snapshot, type Store } from 'mylibsql'
import { expect, it } from 'vitest'
import { Child } from '../support/child.js'
import { closedAfterTest, integrityCheck } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'
import { type Random, withSeed } from '../support/random.js'

const seconds = Number(process.env.MYLIBSQL_TAKEOVER_SECONDS ?? 4)
/** What is left to do after that: an election may be among it. */
const settleMsMax = 300_000
const unproductiveMsMax = 20_000

/** As test/programs/open-store.mjs takes it. */
export interface DescribedStore {
  readonly kind: 'file' | 'nats' | 's3'
  readonly options: object
}

export interface SharedStore {
  /** An empty one. */
  readonly store: Store
  readonly described: DescribedStore
}

type Message =
  | { readonly kind: 'opened'; readonly term: number }
  | { readonly kind: 'unopened' | 'ended'; readonly code?: string; readonly message: string }
  | { readonly kind: 'durable'; readonly client: string; readonly n: number }
  | { readonly kind: 'settled' }
  | { readonly kind: 'followed'; readonly path: string }

/** What all processes said together, in the order in which it was heard. */
class Record {
  readonly durable: { client: string; n: number }[] = []
  readonly codes = new Map<string, number>()
  readonly unexpected: string[] = []
  readonly followed: string[] = []
  opened = 0

  note(message: Message): void {
    if (message.kind === 'opened') this.opened += 1
    if (message.kind === 'durable') this.durable.push({ client: message.client, n: message.n })
    if (message.kind === 'followed') this.followed.push(message.path)
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
  readonly #store: DescribedStore
  readonly #name: string
  readonly #record: Record
  #child!: Child<Message>
  #listening!: Promise<void>
  #lives = 0
  #onSettled = () => {}

  constructor(store: DescribedStore, name: string, record: Record) {
    this.#store = store
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

  /** Has done what it was told so far. */
  async settled(): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      this.#onSettled = resolve
    })
    this.#child.send('settle')
    // One that has ended by itself is told of when it is asked to end.
    await Promise.race([settled, this.#listening])
  }

  /** Becomes a replica, whose bytes go into a file once it has the frame; then it ends. */
  async followAndEnd(frameNo: number, path: string): Promise<void> {
    this.#child.send({ frameNo, path })
    await this.#child.end()
    await this.#listening
  }

  #start(): void {
    this.#lives += 1
    const name = `${this.#name}${this.#lives}`
    const argument = { store: this.#store, name, clientCount: 6, checkpoint: { intervalMs: 5 } }
    const child = new Child<Message>('archived-primary.mjs', { argument })
    this.#child = child
    this.#listening = (async () => {
      for (let message = await child.next(); message !== undefined; message = await child.next()) {
        if (message.kind === 'settled') this.#onSettled()
        else this.#record.note(message)
      }
    })()
  }
}

/** A test for each number of primaries. */
export function describeTakeovers(
  where: string,
  open: () => Promise<SharedStore>,
  counts: readonly number[] = [2, 3],
): void {
  it.each(counts)(
    `%i primaries on ${where}: what was acknowledged is there, once and in order`,
    (count) => withSeed(`${count} primaries`, async (random) => takeOver(count, random, await open())),
    seconds * 1000 + unproductiveMsMax + settleMsMax,
  )
}

async function takeOver(count: number, random: Random, { store, described }: SharedStore): Promise<void> {
  await store.putSnapshot(await Snapshot.blank())
  const first = await Primary.open({ store })
  const made = await first.run('CREATE TABLE writes (id INTEGER PRIMARY KEY, client TEXT, n INTEGER)')
  await made.durable()
  await first.close()

  const record = new Record()
  const contenders = Array.from(
    { length: count },
    (_, index) => new Contender(described, 'abc'[index]!, record),
  )
  const pauses: Promise<void>[] = []
  const endMs = performance.now() + seconds * 1000
  // On a busy machine for longer, until there is something to look at.
  const isEnough = () => record.opened > 2 && record.durable.length > 10
  while (performance.now() < (isEnough() ? endMs : endMs + unproductiveMsMax)) {
    const contender = contenders[random.integer(0, count - 1)]!
    const action = random.integer(0, 9)
    if (action < 5) contender.open()
    else if (action < 9) pauses.push(contender.pause(20 + random.integer(0, 600)))
    else await contender.killAndRestart()
    await delay(random.integer(0, 400))
  }
  await Promise.all(pauses)

  // None of them takes the store over any more.
  await Promise.all(contenders.map((contender) => contender.settled()))
  const { last, lastFrameNo } = await openLast(store)
  const folder = temporaryFolder()
  await Promise.all(
    contenders.map((one, index) => one.followAndEnd(lastFrameNo, join(folder, `${index}.db`))),
  )
  await expectSurvivors(last, join(folder, 'last.db'), record.followed, count)
  const rows = (await last.all('SELECT client, n FROM writes ORDER BY id')) as unknown as Write[]
  expect(record.unexpected).toEqual([])
  expect(isEnough()).toBe(true)
  expectAcknowledged(record.durable, rows)
  console.log(
    `${record.opened} takeovers, ${record.durable.length} acknowledged, ${rows.length} rows`,
    record.codes,
  )
}

/**
 * The primary after all others. The log of an older one, under way until now, may come to lie where its own first log
 * should be: then it has acknowledged nothing, and is opened again.
 */
async function openLast(store: Store): Promise<{ last: Primary; lastFrameNo: number }> {
  for (;;) {
    const last = await Primary.open({ store })
    try {
      const end = await last.run('CREATE TABLE ended (n)')
      await end.durable()
      return { last: closedAfterTest(last), lastFrameNo: end.frameNo! }
    } catch (error) {
      await last.close().catch(() => {})
      if (!(error instanceof MylibsqlError) || error.code !== 'ERR_FENCED') throw error
    }
  }
}

/** All have the pages of the last primary. */
async function expectSurvivors(
  last: Primary,
  lastPath: string,
  paths: readonly string[],
  count: number,
): Promise<void> {
  const { pageCount, pageSize } = await last.snapshot(lastPath)
  const pagesOf = async (path: string) => (await readFile(path)).subarray(0, pageCount * pageSize)
  integrityCheck(lastPath)
  expect(paths).toHaveLength(count)
  const pages = await pagesOf(lastPath)
  for (const path of paths) expect(pages.equals(await pagesOf(path)), path).toBe(true)
}

interface Write {
  readonly client: string
  readonly n: number
}

/** Each that was acknowledged is there once, and behind those of its client that were acknowledged before. */
function expectAcknowledged(durable: readonly Write[], rows: readonly Write[]): void {
  const places = new Map<string, number[]>()
  for (const [place, { client, n }] of rows.entries()) {
    const key = `${client}/${n}`
    places.set(key, [...(places.get(key) ?? []), place])
  }
  const lost = durable.filter(({ client, n }) => places.get(`${client}/${n}`)?.length !== 1)
  expect(lost).toEqual([])
  expect(places.size).toBe(rows.length)
  const lastPlace = new Map<string, number>()
  for (const { client, n } of durable) {
    const place = places.get(`${client}/${n}`)![0]!
    expect(place).toBeGreaterThan(lastPlace.get(client) ?? -1)
    lastPlace.set(client, place)
  }
}
