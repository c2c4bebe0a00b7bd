import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { FrameBatch, init, Log, type Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  closedAfterTest,
  expectSameBytes,
  integrityCheck,
  openPrimary,
  openReplica,
  pagesOf,
} from './support/database.js'
import { expectCode, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
const count = async (replica: Replica) => (await replica.get('SELECT count(*) AS n FROM numbers'))?.n

/** A primary with some logs behind the schema, each of some transactions, and a replica without them. */
async function openWithLogs(logCount = 3) {
  const source = await openPrimary(numbers)
  const replica = await openReplica(source)
  const from = source.logs.length
  for (let n = 0; n < logCount; n++) {
    await insert(source.primary, 10 * n)
    await insert(source.primary, 10 * n + 1)
    await source.save()
  }
  return { source, primary: source.primary, replica, logs: source.logs.slice(from) }
}

/** A log of the same frames in one. */
async function joined(logs: readonly Log[]): Promise<Log> {
  const log = await Log.from(await logs[0]!.bytes())
  for (const next of logs.slice(1)) {
    const frames = []
    for await (const frame of next.frames()) frames.push(frame)
    await log.pushFrames(frames)
  }
  return log
}

describe('replicate', () => {
  it('applies logs in order, and becomes what the primary is', async () => {
    const { primary, replica, logs } = await openWithLogs()
    for (const [index, log] of logs.entries()) {
      expect(await replica.replicate(log)).toBe(log.lastFrameNo)
      expect(replica.lastFrameNo).toBe(log.lastFrameNo)
      expect(await count(replica)).toBe(2 * (index + 1))
    }
    await expectSameBytes(primary, replica)
    expect(await replica.stats()).toMatchObject({
      lastFrameNo: primary.lastFrameNo,
      pageSize: 4096,
      appliedCount: 3,
      walError: undefined,
    })
  })

  it('applies what is asked for at once one after the other', async () => {
    const { primary, replica, logs } = await openWithLogs()
    expect(await Promise.all(logs.map((log) => replica.replicate(log)))).toEqual(
      logs.map((log) => log.lastFrameNo),
    )
    await expectSameBytes(primary, replica)
  })

  it('passes over what it has', async () => {
    const { primary, replica, logs, source } = await openWithLogs()
    for (const log of logs) await replica.replicate(log)
    for (const log of source.logs) expect(await replica.replicate(log)).toBe(primary.lastFrameNo)
    expect((await replica.stats()).appliedCount).toBe(3)
    await expectSameBytes(primary, replica)
  })

  it('applies the new part of a log that overlaps', async () => {
    const { primary, replica, logs, source } = await openWithLogs()
    await replica.replicate(logs[0]!)
    expect(await replica.replicate(await joined(source.logs))).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, replica)
  })

  it('refuses a log that starts too late, and goes on', async () => {
    const { primary, replica, logs } = await openWithLogs()
    const error = await expectCode(replica.replicate(logs[1]!), 'ERR_LOG_GAP')
    expect(error.details).toMatchObject({ expected: logs[0]!.startFrameNo, actual: logs[1]!.startFrameNo })
    expect(await count(replica)).toBe(0)
    for (const log of logs) await replica.replicate(log)
    await expectSameBytes(primary, replica)
  })

  it('refuses an empty log that starts too late, and passes over another', async () => {
    const { replica, logs } = await openWithLogs()
    await expectCode(replica.replicate(await Log.create(logs[1]!.startFrameNo)), 'ERR_LOG_GAP')
    expect(await replica.replicate(await Log.create(logs[0]!.startFrameNo))).toBe(replica.lastFrameNo)
    expect(await replica.replicate(await Log.create(0))).toBe(replica.lastFrameNo)
  })

  it('refuses pages of another size', async () => {
    const { replica } = await openWithLogs(0)
    const other = await openPrimary(numbers, { pageSize: 1024 })
    await insert(other.primary, 1)
    for (let n = 0; n < 5; n++) await insert(other.primary, 10 + n)
    await other.save()
    const error = await expectCode(replica.replicate(await joined(other.logs)), 'ERR_PAGE_SIZE')
    expect(error.details).toMatchObject({ expected: 4096, actual: 1024 })
    expect(await count(replica)).toBe(0)
  })

  it('refuses a log of another history: behind its position, at it and over it', async () => {
    const { source, primary, replica, logs } = await openWithLogs()
    const fork = closedAfterTest(
      await (await openReplica({ ...source, logs: source.logs.slice(0, 1) })).intoPrimary(),
    )
    const forked: Log[] = []
    for (const n of [7, 8, 9]) {
      await insert(fork, n)
      await insert(fork, 10 * n)
      await fork.checkpoint((log) => void forked.push(log))
    }
    await replica.replicate(logs[0]!)
    // Both have two frames in each log.
    expect(forked[1]!.startFrameNo).toBe(logs[1]!.startFrameNo)
    await expectCode(replica.replicate(forked[1]!), 'ERR_LINEAGE')
    await expectCode(replica.replicate(await joined(forked)), 'ERR_LINEAGE')
    expect(await count(replica)).toBe(2)
    for (const log of logs.slice(1)) await replica.replicate(log)
    await expectSameBytes(primary, replica)
  })

  it('applies nothing of a log with one bad byte, wherever it is', async () => {
    const { primary, replica, logs } = await openWithLogs(1)
    const bytes = await logs[0]!.bytes()
    for (let at = 112; at < bytes.length; at += 401) {
      const damaged = bytes.slice()
      damaged[at]! ^= 16
      const error = await expectCode(
        Log.from(damaged, { verify: false }).then((log) => replica.replicate(log)),
        'ERR_CORRUPT',
      )
      expect(error.details.frameNo).toBeGreaterThanOrEqual(logs[0]!.startFrameNo)
      expect(replica.lastFrameNo).toBe(logs[0]!.startFrameNo - 1)
    }
    await replica.replicate(logs[0]!)
    await expectSameBytes(primary, replica)
  })

  it('refuses what is no log, and a log that is closed', async () => {
    const { replica, logs } = await openWithLogs(1)
    for (const [wrong, got] of [
      ['x', "string 'x'"],
      [undefined, 'undefined'],
      [{}, 'an instance of Object'],
    ]) {
      const error = await rejection(replica.replicate(wrong as never))
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toBe(`log must be a Log, got ${got}`)
    }
    await logs[0]!.close()
    await expectCode(replica.replicate(logs[0]!), 'ERR_CLOSED')
    expect(await count(replica)).toBe(0)
  })

  it('shows whole logs only: readers never see a part', async () => {
    const { source, primary, replica } = await openWithLogs(0)
    const reading = { isOn: true }
    const seen = new Set<unknown>()
    const reader = (async () => {
      while (reading.isOn) {
        const row = await replica.get('SELECT count(*) AS n, coalesce(sum(n), 0) AS sum FROM numbers')
        seen.add(row!.n)
        const n = Number(row!.n)
        expect(row!.sum).toBe((n * (n + 1)) / 2)
      }
    })()
    for (let round = 0; round < 20; round++) {
      for (let n = 1; n <= 5; n++) await insert(primary, round * 5 + n)
      await source.save()
      await replica.replicate(source.logs.at(-1)!)
    }
    reading.isOn = false
    await reader
    for (const n of seen) expect(Number(n) % 5).toBe(0)
    await expectSameBytes(primary, replica)
  })
})

describe('replicateFrames', () => {
  it('and replicate take effect in the order of the calls', async () => {
    const { source, primary, replica } = await openWithLogs(0)
    await insert(primary, 0)
    await source.save()
    const frames = primary.captureFrames()
    await insert(primary, 1)
    await insert(primary, 2)
    const batches = [frames.tryNext()!, frames.tryNext()!]
    await source.save()
    await insert(primary, 3)
    await insert(primary, 4)
    const applied = await Promise.all([
      replica.replicate(source.logs.at(-2)!),
      ...batches.map((batch) => replica.replicateFrames(batch)),
      replica.replicate(source.logs.at(-1)!),
      replica.replicateFrames(frames.tryNext()!),
      replica.replicateFrames(frames.tryNext()!),
    ])
    expect(applied.at(-1)).toBe(primary.lastFrameNo)
    // One that cannot be applied keeps nobody waiting.
    const closed = await Log.create(0)
    await closed.close()
    await insert(primary, 5)
    const refused = expectCode(replica.replicate(closed), 'ERR_CLOSED')
    expect(await replica.replicateFrames(frames.tryNext()!)).toBe(primary.lastFrameNo)
    await refused
    await expectSameBytes(primary, replica)
  })

  it('applies batches, passes over what it has and applies the new part', async () => {
    const { source, primary, replica } = await openWithLogs(0)
    const frames = primary.captureFrames()
    for (let n = 0; n < 4; n++) await insert(primary, n)
    const batches = Array.from({ length: 4 }, () => frames.tryNext()!)
    expect(await replica.replicateFrames(batches[0]!)).toBe(batches[0]!.nextFrameNo - 1)
    expect(await replica.replicateFrames(batches[0]!)).toBe(batches[0]!.nextFrameNo - 1)
    await expectCode(replica.replicateFrames(batches[2]!), 'ERR_LOG_GAP')
    const bytes = Buffer.concat(batches.map((batch) => batch.bytes))
    const all = new FrameBatch(bytes, 4096, batches[0]!.startFrameNo, batches[0]!.startChecksum)
    expect(await replica.replicateFrames(all)).toBe(primary.lastFrameNo)
    await source.save()
    expect(await replica.replicate(source.logs.at(-1)!)).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, replica)
  })

  it('refuses damaged, foreign and incomplete batches, and stays as it was', async () => {
    const { primary, replica } = await openWithLogs(0)
    const frames = primary.captureFrames()
    await primary.transaction((connection) => connection.exec('CREATE TABLE a (a); CREATE TABLE b (b)'))
    const { bytes, startFrameNo, startChecksum, frameCount } = frames.tryNext()!
    const damaged = bytes.slice()
    damaged[500]! ^= 1
    const batch = (
      records: Uint8Array,
      { pageSize = 4096, from = startFrameNo, checksum = startChecksum } = {},
    ) => replica.replicateFrames(new FrameBatch(records, pageSize, from, checksum))
    await expectCode(batch(damaged), 'ERR_CORRUPT')
    await expectCode(batch(bytes.subarray(0, 4120 * (frameCount - 1))), 'ERR_CORRUPT')
    await expectCode(batch(bytes.subarray(0, 4120 * frameCount - 1)), 'ERR_CORRUPT')
    await expectCode(batch(bytes, { checksum: startChecksum ^ 1n }), 'ERR_LINEAGE')
    await expectCode(batch(bytes, { from: startFrameNo + 1 }), 'ERR_LOG_GAP')
    await expectCode(batch(bytes.subarray(0, 2 * 1048), { pageSize: 1024 }), 'ERR_PAGE_SIZE')
    expect(await replica.all('SELECT name FROM sqlite_schema')).toEqual([{ name: 'numbers' }])
    await batch(bytes)
    await expectSameBytes(primary, replica)
  })

  it('refuses what is no batch', async () => {
    const { replica } = await openWithLogs(0)
    const error = await rejection(replica.replicateFrames([] as never))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe('batch must be a FrameBatch, got an instance of Array')
  })
})

describe('open', () => {
  it('from a snapshot with logs behind it, with logs that it holds already, and with overlaps', async () => {
    const { source, primary } = await openWithLogs()
    const snapshot = await source.blank.append(source.logs.slice(0, 2))
    const ways = [source.logs, source.logs.slice(2), [source.logs[0]!, await joined(source.logs)]]
    for (const logs of ways) {
      const replica = closedAfterTest(await Replica.open(snapshot, logs))
      expect(replica.lastFrameNo).toBe(primary.lastFrameNo)
      await expectSameBytes(primary, replica)
    }
  })

  it('refuses logs that do not follow', async () => {
    const { source } = await openWithLogs()
    const other = await init(
      'CREATE TABLE other (a); INSERT INTO other VALUES (1); INSERT INTO other VALUES (2)',
    )
    const [first, second, third] = source.logs
    await expectCode(Replica.open(source.blank, [first!, third!]), 'ERR_LOG_GAP')
    await expectCode(Replica.open(source.blank, [second!]), 'ERR_LOG_GAP')
    await expectCode(Replica.open(await Snapshot.blank({ pageSize: 512 }), [first!]), 'ERR_PAGE_SIZE')
    await expectCode(Replica.open(other.snapshot, [await joined(source.logs)]), 'ERR_LINEAGE')
    const bytes = await second!.bytes()
    bytes[bytes.length - 7]! ^= 1
    const damaged = await Log.from(bytes, { verify: false })
    const error = await expectCode(Replica.open(source.blank, [first!, damaged]), 'ERR_CORRUPT')
    expect(error.details.frameNo).toBe(second!.lastFrameNo)
  })

  it('refuses a snapshot that was damaged since it was opened', async () => {
    const { snapshot } = await init(numbers)
    const path = join(temporaryFolder(), 'base.db')
    await snapshot.moveTo(path)
    const database = new Database(path)
    database.pragma('user_version = 7')
    database.close()
    await expectCode(Replica.open(snapshot), 'ERR_CORRUPT')
  })

  it('in a path that is a folder is ERR_PATH_EXISTS, and leaves it alone', async () => {
    const folder = join(temporaryFolder(), 'folder')
    mkdirSync(folder)
    await expectCode(Replica.open(await Snapshot.blank(), [], { path: folder }), 'ERR_PATH_EXISTS')
    expect(readdirSync(dirname(folder))).toEqual(['folder'])
  })

  it.each<[unknown[], string]>([
    [[7], 'snapshot must be a Snapshot (Replica.follow(store) opens one from a store), got number 7'],
    [['snapshot', {}], 'logs must be an array of logs, got an instance of Object'],
    [['snapshot', ['x']], "logs[0] must be a Log, got string 'x'"],
    [['snapshot', [], { reader: 1 }], 'Unknown option "reader" of Replica.open; did you mean "readers"?'],
    [
      ['snapshot', [], { path: '' }],
      `Option "path" of Replica.open must be a path that is not empty and has no null bytes, got string ''`,
    ],
    [
      ['snapshot', [], { readers: -1 }],
      'Option "readers" of Replica.open must be a positive integer, got number -1',
    ],
  ])('refuses arguments %#', async (args, message) => {
    const [first, ...rest] = args
    const snapshot = first === 'snapshot' ? await Snapshot.blank() : first
    const error = await rejection(Replica.open(...([snapshot, ...rest] as Parameters<typeof Replica.open>)))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })
})

it('keeps its working file at `path`, which others read meanwhile, as a plain database', async () => {
  const { source, primary, logs } = await openWithLogs()
  const path = join(temporaryFolder(), 'replica.db')
  const replica = closedAfterTest(
    await Replica.open(source.blank, source.logs.slice(0, 2), { path: pathToFileURL(path) }),
  )
  expect(replica.path).toBe(path)
  const other = new Database(path, { readonly: true })
  onTestFinished(() => void other.close())
  const others = () => other.prepare('SELECT count(*) FROM numbers').pluck().get()
  expect(others()).toBe(2)
  for (const log of logs.slice(1)) await replica.replicate(log)
  expect(others()).toBe(6)
  other.close()
  const snapshot = await primary.snapshot(join(dirname(path), 'snapshot.db'))
  await replica.close()
  expect(readdirSync(dirname(path)).sort()).toEqual(['replica.db', 'replica.db-mylibsql', 'snapshot.db'])
  expect(readFileSync(path).equals(await pagesOf(snapshot))).toBe(true)
  integrityCheck(path)
})

it('has snapshots that go on as a history', async () => {
  const { source, primary, replica, logs } = await openWithLogs()
  await replica.replicate(logs[0]!)
  const snapshot = await replica.snapshot(join(temporaryFolder(), 'snapshot.db'))
  expect(snapshot.lastFrameNo).toBe(logs[0]!.lastFrameNo)
  const again = closedAfterTest(await Replica.open(snapshot, source.logs))
  await expectSameBytes(primary, again)
})

it('gives ERR_CLOSED for every method after close', async () => {
  const { replica, logs } = await openWithLogs(1)
  const batch = new FrameBatch(new Uint8Array(0), 4096, 0, 0n)
  await Promise.all([replica.close(), replica.close(), replica[Symbol.asyncDispose]()])
  await replica.close()
  const calls: (() => unknown)[] = [
    () => replica.replicate(logs[0]!),
    () => replica.replicateFrames(batch),
    () => replica.waitFor(0),
    () => replica.get('SELECT 1'),
    () => replica.all('SELECT 1'),
    () => replica.iterate('SELECT 1'),
    () => replica.withConnection(async () => {}),
    () => replica.snapshot('x.db'),
    () => replica.intoPrimary(),
    () => replica.stats(),
  ]
  for (const call of calls) {
    const error = await expectCode((async () => call())(), 'ERR_CLOSED')
    expect(error.message).toBe('The replica is closed')
  }
})

it('close while a log is applied ends both', async () => {
  const { source, primary } = await openWithLogs(0)
  await primary.run(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000) INSERT INTO numbers SELECT n, printf('%04000d', n) FROM c",
  )
  await source.save()
  const replica = closedAfterTest(await Replica.open(source.blank, source.logs.slice(0, 1)))
  const applied = replica.replicate(source.logs[1]!).then(
    () => 'applied',
    (error: { code: string }) => error.code,
  )
  await replica.close()
  expect(['applied', 'ERR_CLOSED']).toContain(await applied)
})
