/** What a death costs: of a process, nothing that was durable; of a thread, an error for everyone who waits for it. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FrameBatch, init, Log, MylibsqlError, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it, vi } from 'vitest'
import { Child, runProgram } from './support/child.js'
import { closedAfterTest, expectReplicated, expectSameBytes, openPrimary } from './support/database.js'
import { expectCode, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'
import type { Procedures } from './support/workload.js'

type Message =
  | { readonly kind: 'open'; readonly last: number; readonly path: string }
  | { readonly kind: 'durable'; readonly id: number }
  | {
      readonly kind: 'frames'
      readonly base64: string
      readonly pageSize: number
      readonly startFrameNo: number
      readonly startChecksum: string
    }

const schema = `
  CREATE TABLE writes (id INTEGER PRIMARY KEY, bytes BLOB);
  CREATE TABLE counter (n INTEGER);
  INSERT INTO counter VALUES (0);`

/** The folder that a database lives in, and the processes that work on it one after the other. */
class Survivor {
  readonly #random: Random
  readonly #folder = temporaryFolder()
  readonly #logs = join(this.#folder, 'logs')
  readonly #tmp: string
  #durableId = 0

  private constructor(random: Random, tmp: string) {
    this.#random = random
    this.#tmp = tmp
    mkdirSync(this.#logs)
  }

  static async make(random: Random, tmp = temporaryFolder()): Promise<Survivor> {
    const survivor = new Survivor(random, tmp)
    const { snapshot } = await init(schema)
    await snapshot.moveTo(join(survivor.#folder, 'base.db'))
    return survivor
  }

  /** One life: a process writes and is killed; what is left is looked at. */
  async round(isReplicated: boolean): Promise<void> {
    const random = this.#random
    const child = this.start(random.integer(0, 1000), isReplicated)
    const opened = await child.expect()
    if (opened.kind !== 'open') throw new Error(`expected open, got ${opened.kind}`)
    expect(opened.last).toBeGreaterThanOrEqual(this.#durableId)

    const timer = setTimeout(() => child.process.kill('SIGKILL'), random.integer(0, 500))
    const kept = await this.#follow(child)
    clearTimeout(timer)
    await kept?.copyTo(join(this.#logs, `${String(kept.startFrameNo).padStart(12, '0')}-kept.log`))
    await this.#check()
  }

  start(seed: number, isReplicated: boolean): Child<Message> {
    return new Child<Message>('crashing-primary.mjs', {
      argument: { folder: this.#folder, seed, isReplicated },
      env: { TMPDIR: this.#tmp },
    })
  }

  /** Notes what is durable, and keeps the frames of a replicated one, until the child is dead. */
  async #follow(child: Child<Message>): Promise<Log | undefined> {
    let kept: Log | undefined
    for (let message = await child.next(); message !== undefined; message = await child.next()) {
      if (message.kind === 'durable') this.#durableId = Math.max(this.#durableId, message.id)
      if (message.kind !== 'frames') continue
      const { base64, pageSize, startFrameNo, startChecksum } = message
      const batch = new FrameBatch(
        Buffer.from(base64, 'base64'),
        pageSize,
        startFrameNo,
        BigInt(startChecksum),
      )
      kept ??= closedAfterTest(await Log.create(startFrameNo))
      await kept.pushFrames(batch)
      child.send(batch.nextFrameNo - 1)
    }
    return kept
  }

  async #check(): Promise<void> {
    // A copy that was not finished has another name.
    const names = readdirSync(this.#logs)
      .filter((name) => name.endsWith('.log'))
      .sort()
    const logs = await Promise.all(names.map((name) => Log.open(join(this.#logs, name))))
    const snapshot = closedAfterTest(await Snapshot.open(join(this.#folder, 'base.db')))
    const primary = closedAfterTest(await Primary.open(snapshot, logs))
    const replica = closedAfterTest(await Replica.open(snapshot, logs))
    const found = await primary.get('SELECT count(*) AS count, max(id) AS last, n FROM writes, counter')
    const { count, last, n } = found as { count: number; last: number; n: number }
    expect(last ?? 0, 'the last durable write is there').toBeGreaterThanOrEqual(this.#durableId)
    expect(count, 'what is there is a prefix').toBe(last ?? 0)
    expect(n ?? 0, 'of whole transactions').toBe(last ?? 0)
    this.#durableId = count
    await expectSameBytes(primary, replica)
    await primary.close()
    await replica.close()
  }
}

describe('a process that is killed', () => {
  it.each([{ isReplicated: false }, { isReplicated: true }])(
    'loses nothing that was durable (replicated: $isReplicated)',
    ({ isReplicated }) =>
      withSeed(`kills, replicated: ${isReplicated}`, async (random) => {
        const survivor = await Survivor.make(random)
        for (let round = 0; round < 4; round += 1) await survivor.round(isReplicated)
      }),
  )

  it('leaves temporary files to the next process, which leaves those of the living alone', () =>
    withSeed('temporary files', async (random) => {
      const tmp = temporaryFolder()
      const start = async () => (await Survivor.make(random, tmp)).start(2 * random.integer(0, 500), false)
      const folderOf = async (child: Child<Message>) => {
        const opened = await child.expect()
        return dirname(opened.kind === 'open' ? opened.path : '')
      }
      const [dying, living] = [await start(), await start()]
      const [folderOfDying, folderOfLiving] = [await folderOf(dying), await folderOf(living)]
      await dying.kill()
      expect(existsSync(folderOfDying)).toBe(true)
      const next = await start()
      await folderOf(next)
      await vi.waitFor(() => expect(existsSync(folderOfDying)).toBe(false), { timeout: 10_000 })
      expect(existsSync(folderOfLiving)).toBe(true)
      await living.kill()
      await next.kill()
    }))
})

it('a close in the middle of a snapshot leaves no half file', async () => {
  const folder = temporaryFolder()
  for (let round = 0; round < 6; round += 1) {
    const { primary } = await openPrimary('CREATE TABLE t (bytes BLOB)')
    await primary.run('INSERT INTO t VALUES (zeroblob(?))', [20_000_000])
    const path = join(folder, `${round}.db`)
    const outcome = primary.snapshot(path).then(
      () => true,
      (error: MylibsqlError) => error.code,
    )
    await delay(round * 3)
    await primary.close()
    const isWritten = (await outcome) === true
    expect([true, 'ERR_CLOSED']).toContain(await outcome)
    expect(readdirSync(folder).filter((name) => name.startsWith(`${round}.db`))).toEqual(
      isWritten ? [`${round}.db`] : [],
    )
    if (isWritten) await Snapshot.open(path)
  }
})

describe('a thread that dies', () => {
  const procedures = new URL('programs/procedures.mjs', import.meta.url)
  const items = 'CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT UNIQUE)'

  it.each([
    { way: 'exitLater', cause: /exit/ },
    { way: 'throwLater', cause: /thrown by a timer/ },
  ] as const)('by $way ends everything that waits for it, with the cause', async ({ way, cause }) => {
    const { primary } = await openPrimary<Procedures>(items, { procedures })
    const folder = dirname(primary.path)
    const filesBefore = readdirSync(folder).filter((name) => !join(folder, name).startsWith(primary.path))
    const frames = primary.captureFrames()
    const ack = await primary.call('insertItems', 1, 3)
    await frames.next()
    const rows = primary.iterate(
      'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n',
    )
    await rows.next()

    let handOver = (_: Log) => {}
    const handedOver = new Promise<Log>((resolve) => {
      handOver = resolve
    })
    let saved = () => {}
    const saving = primary.checkpoint((log) => {
      handOver(log)
      return new Promise<void>((resolve) => {
        saved = resolve
      })
    })
    const unsaved = await handedOver
    await primary.call(way, 300)
    const never = new Promise<void>(() => {})
    const waiting = {
      durable: ack.durable(),
      saving,
      nextBatch: frames.next(),
      lease: primary.transaction(() => never),
      behindTheLease: primary.run('SELECT 1'),
      rows: (async () => {
        for await (const _ of rows) await delay(1)
      })(),
    }
    for (const [name, promise] of Object.entries(waiting)) {
      const error = await expectCode(promise, 'ERR_WORKER_EXITED')
      expect(`${error.message} ${String((error.cause as Error | undefined)?.message)}`, name).toMatch(cause)
    }

    await expectCode(primary.run('SELECT 1'), 'ERR_WORKER_EXITED')
    await expectCode(primary.all('SELECT 1'), 'ERR_WORKER_EXITED')
    await expectCode(ack.durable(), 'ERR_WORKER_EXITED')
    await expectCode(frames.next(), 'ERR_WORKER_EXITED')
    expect(() => primary.captureFrames()).toThrow(expect.objectContaining({ code: 'ERR_WORKER_EXITED' }))
    await unsaved.verify() // what was handed over can still be saved
    saved()
    await primary.close()
    await unsaved.close()
    await vi.waitFor(
      () => expect(readdirSync(folder).filter((name) => !filesBefore.includes(name))).toEqual([]),
      { timeout: 20_000 },
    )
  })

  it('takes its files along, the log that it was writing too', async () => {
    const { primary } = await openPrimary<Procedures>(items, { procedures })
    const folder = dirname(primary.path)
    const frames = primary.captureFrames()
    // More than the WAL is let to grow: frames have been copied out.
    for (let id = 0; id < 20; id += 1) {
      await primary.run('INSERT INTO items VALUES (?, ?)', [id, 'x'.repeat(1024 * 1024) + id])
      while (frames.tryNext() !== undefined);
    }
    await vi.waitFor(() => expect(readdirSync(folder).join()).toMatch('log'), { timeout: 10_000 })
    await expectCode(primary.call('exit', 1), 'ERR_WORKER_EXITED')
    await primary.close()
    const mine = (name: string) => /\.(sqlite|log)/.test(name)
    expect(readdirSync(folder).filter(mine)).toEqual([])
  })

  it('by a lack of memory costs only what it did', async () => {
    const [outcome] = await runProgram<{ code: string; cause: string; rows: number }>('out-of-memory.mjs', {
      nodeOptions: ['--max-old-space-size=120'],
    })
    expect(outcome).toEqual({ code: 'ERR_WORKER_EXITED', cause: 'ERR_WORKER_OUT_OF_MEMORY', rows: 3 })
  })

  it('is replaced by opening again, from what was saved', async () => {
    const source = await openPrimary<Procedures>(items, { procedures })
    await source.primary.call('insertItems', 1, 3)
    await source.save()
    await source.primary.call('insertItems', 4, 1)
    await expectCode(source.primary.call('exit', 0), 'ERR_WORKER_EXITED')
    const again = closedAfterTest(await Primary.open(source.blank, source.logs))
    expect(await again.get('SELECT count(*) AS n FROM items')).toEqual({ n: 3 })
    const save = () => again.checkpoint((log) => void source.logs.push(log))
    await again.run('INSERT INTO items VALUES (4, NULL)')
    await expectReplicated({ ...source, primary: again, save })
  })
})

describe('a module of procedures that cannot be imported', () => {
  it.each([
    ['that is not there', 'no-such-module.mjs', /no-such-module/],
    ['that throws', 'throwing-module.mjs', /thrown by the module/],
    ['that exits', 'exiting-module.mjs', /exit/],
  ])('%s is told at opening, and nothing is left behind', async (_, file, reason) => {
    const blank = closedAfterTest(await Snapshot.blank())
    const folder = dirname(blank.path)
    const before = readdirSync(folder)
    const error = await rejection(
      Primary.open(blank, [], { procedures: new URL(`programs/${file}`, import.meta.url) }),
    )
    expect(error).toBeInstanceOf(MylibsqlError)
    expect(error.code).toBe(file === 'exiting-module.mjs' ? 'ERR_WORKER_EXITED' : 'ERR_PROCEDURE')
    expect(error.message).toMatch(reason)
    expect(error.cause).toBeInstanceOf(Error)
    // What earlier tests left may go meanwhile.
    await vi.waitFor(() => expect(readdirSync(folder).filter((name) => !before.includes(name))).toEqual([]), {
      timeout: 20_000,
    })
  })
})
