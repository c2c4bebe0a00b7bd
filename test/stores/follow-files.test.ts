/** A replica's thread takes the logs of a FileStore out of their files by itself, as long as there is no doubt about them. */
import { execFileSync } from 'node:child_process'
import { tracingChannel } from 'node:diagnostics_channel'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { compact, FileStore, type FileStoreOptions, Log, Replica, type StoredLog } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { encodeLogHeader, type LogLocation, logHeader } from '../../src/protocol/log-format.js'
import { decodeObjectHeader, encodeObjectHeader } from '../../src/protocol/object-format.js'
import { LastFile, undoubtedLog as undoubtedIn } from '../../src/worker/stored-logs.js'
import { closedAfterTest, expectSameBytes } from '../support/database.js'
import { deferred } from '../support/deferred.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { startHistory } from '../support/history.js'

class WatchedStore extends FileStore {
  readonly readPaths: string[] = []
  failed = deferred()

  override async readLog(stored: StoredLog): Promise<Log> {
    this.readPaths.push(stored.id)
    try {
      return await super.readLog(stored)
    } catch (error) {
      this.failed.resolve()
      throw error
    }
  }
}

const openStore = (options?: FileStoreOptions) =>
  closedAfterTest(new WatchedStore(join(temporaryFolder(), 'store'), options))

/**
 * Once it has caught up. That it does twice at first, and each time reads logs: at least the one that tells whether it is
 * on a fork. So none is read for three writes in a row only after that.
 */
async function followsLive(store: WatchedStore, replica: Replica, write: () => Promise<Log>): Promise<void> {
  for (let unreadCount = 0; unreadCount < 3; ) {
    const readCount = store.readPaths.length
    await replica.waitFor((await write()).lastFrameNo)
    unreadCount = store.readPaths.length === readCount ? unreadCount + 1 : 0
  }
}

async function damagedInPlace(log: Log): Promise<Uint8Array> {
  const bytes = await log.bytes()
  bytes[500]! ^= 1
  return bytes
}

describe('a replica of a FileStore', () => {
  /** One that takes logs by itself. */
  async function startReplica(options: FileStoreOptions) {
    const { source, store, write } = await startHistory(openStore(options))
    for (let n = 0; n < 3; n++) await write()
    const replica = closedAfterTest(await Replica.follow(store))
    expect(replica.lastFrameNo).toBe(source.primary.lastFrameNo)
    await followsLive(store, replica, write)
    return { source, store, write, replica }
  }

  const compressions = ['none', 'lz4', 'deflate', 'brotli'] as const

  it.each(compressions)(
    'takes logs from their files, those that are there and those that come: compression %s',
    async (compression) => {
      const { source, store, write, replica } = await startReplica({ compression })
      const readCount = store.readPaths.length
      for (let n = 0; n < 100; n++) await write({ transactions: 1 })
      await replica.waitFor(source.primary.lastFrameNo)
      await expectSameBytes(source.primary, replica)
      // A few are read where it has to catch up again: when a busy machine makes a pause between two.
      expect(store.readPaths.length).toBeLessThan(readCount + 10)
      const { follow } = await replica.stats()
      expect(follow).toMatchObject({ lagFrames: 0, lagMs: expect.any(Number), delayMs: expect.any(Number) })
    },
  )

  it.each(compressions)('tells traces how many frames there are: compression %s', async (compression) => {
    const { source, write, replica } = await startReplica({ compression })
    const told: { startFrameNo: number; frameCount: number }[] = []
    const channel = tracingChannel<object>('mylibsql.replicate')
    const subscribers = { start: (trace: object) => void told.push(trace as (typeof told)[number]) }
    channel.subscribe(subscribers as Parameters<typeof channel.subscribe>[0])
    onTestFinished(() => void channel.unsubscribe(subscribers as Parameters<typeof channel.unsubscribe>[0]))
    const first = source.primary.lastFrameNo! + 1
    for (let n = 0; n < 5; n++) await replica.waitFor((await write()).lastFrameNo)
    const counted = () =>
      told.reduce(
        (next, { startFrameNo, frameCount }) => (startFrameNo === next ? next + frameCount : Number.NaN),
        first,
      )
    await expect.poll(counted).toBe(source.primary.lastFrameNo! + 1)
  })

  it('applies nothing of a damaged one, and names it', async () => {
    const { source, store, write, snapshot } = await startHistory(openStore())
    const replica = closedAfterTest(await Replica.follow(store))
    const before = replica.lastFrameNo
    const { primary } = source
    await primary.run("INSERT INTO numbers VALUES (-1, 'damaged')")
    await source.save()
    const log = source.logs.at(-1)!
    const name = `${String(log.startFrameNo).padStart(16, '0')}.log`
    const path = join(store.url.slice('file:'.length), 'logs', name)
    writeFileSync(path, await damagedInPlace(log))
    await store.failed.promise
    const stored = (await store.logs()).at(-1)!
    const error = await expectCode(store.readLog(stored), 'ERR_CORRUPT')
    expect(error.details).toMatchObject({ path })
    expect(replica.lastFrameNo).toBe(before)
    await write()
    await snapshot()
    await replica.waitFor(primary.lastFrameNo)
    await expectSameBytes(primary, replica)
    expect((await replica.stats()).follow?.snapshotCount).toBe(1)
  })
})

it('a replica that begins to follow takes logs of older primaries from their files, too', async () => {
  const { source, store, write } = await startHistory(openStore())
  for (let n = 0; n < 150; n++) {
    if (n % 40 === 39) await store.claimEpoch('another')
    await write({ transactions: 1 })
  }
  store.readPaths.length = 0
  const replica = closedAfterTest(await Replica.follow(store))
  await expectSameBytes(source.primary, replica)
  expect(store.readPaths.length).toBeLessThanOrEqual(5)
  // What is behind a merged one, too.
  expect((await compact(store, { keepMs: 0, spanMs: 100 })).mergedCount).toBeGreaterThan(1)
  const mergedCount = (await store.logs()).length
  for (let n = 0; n < 100; n++) await write({ transactions: 1 })
  store.readPaths.length = 0
  const second = closedAfterTest(await Replica.follow(store))
  await expectSameBytes(source.primary, second)
  expect(store.readPaths.length).toBeLessThan(mergedCount + 50)
})

describe('a log is beyond doubt', () => {
  const undoubtedLog = (
    location: LogLocation,
    expected: Parameters<typeof undoubtedIn>[1],
    behind?: LogLocation,
  ) => {
    const files = new LastFile()
    try {
      return undoubtedIn(location, expected, behind, files)
    } finally {
      files.close()
    }
  }

  async function storedLog(options: FileStoreOptions = {}) {
    const { source, store, write } = await startHistory(openStore(options))
    const log = await write()
    const { path } = store.logLocation((await store.logs()).at(-1)!)
    const { startFrameNo: nextFrameNo, startChecksum: checksum, pageSize } = log
    return { path, log, source, expected: { nextFrameNo, checksum, pageSize, epochMin: 1 } }
  }

  it('when its header says that it is the next one', async () => {
    const { path, log, expected } = await storedLog()
    const file = undoubtedLog({ path }, expected)
    expect(file).toMatchObject({ location: { path }, header: { frameCount: log.frameCount, epoch: 1 } })
  })

  it('also when it is in memory, whole', async () => {
    const { path, expected } = await storedLog()
    const bytes = new Uint8Array(readFileSync(path))
    expect(undoubtedLog({ bytes }, expected)).toMatchObject({ location: { bytes } })
    expect(undoubtedLog({ bytes: bytes.subarray(0, bytes.length - 1) }, expected)).toBeUndefined()
    expect(undoubtedLog({ bytes: bytes.subarray(0, 50) }, expected)).toBeUndefined()
  })

  it.each(['lz4', 'deflate', 'brotli'] as const)(
    'also when it is compressed with %s',
    async (compression) => {
      const { path, expected } = await storedLog({ compression })
      const object = new Uint8Array(readFileSync(path))
      for (const location of [{ path }, { bytes: object }]) {
        const file = undoubtedLog(location, expected)
        expect(file?.header).toMatchObject({ startFrameNo: expected.nextFrameNo, epoch: 1 })
        const bytes = file !== undefined && 'bytes' in file.location ? file.location.bytes : new Uint8Array()
        expect(bytes.length).toBeGreaterThan(object.length)
        const log = await Log.from(bytes)
        expect(log.startChecksum).toBe(expected.checksum)
      }
    },
  )

  it.each(['lz4', 'deflate', 'brotli'] as const)(
    'not when what is compressed with %s is not what it says',
    async (compression) => {
      const { path, expected } = await storedLog({ compression })
      const object = readFileSync(path)
      const { method, rawBytes } = decodeObjectHeader(object, {})!
      const claiming = (bytes: number, as = method) =>
        Buffer.concat([encodeObjectHeader({ method: as, rawBytes: bytes }), object.subarray(40)])
      const spoilt = [
        object.subarray(0, -1),
        object.subarray(0, 40),
        object.subarray(0, 20),
        claiming(rawBytes + 1),
        claiming(rawBytes - 1),
        claiming(0),
        claiming(rawBytes, compression === 'brotli' ? 'deflate' : 'brotli'),
        // What follows on the stream is part of nothing.
        Buffer.concat([object, Buffer.alloc(7)]),
        Buffer.concat([object, object.subarray(40)]),
        // Nothing so large is taken into memory.
        claiming(33 * 1024 * 1024),
        claiming(2 ** 50),
      ]
      for (const bytes of spoilt) {
        writeFileSync(path, bytes)
        expect(undoubtedLog({ path }, expected)).toBeUndefined()
        expect(undoubtedLog({ bytes }, expected)).toBeUndefined()
      }
      writeFileSync(path, object)
      expect(undoubtedLog({ path }, expected)).toBeDefined()
    },
  )

  it('not when it is compressed and empty', async () => {
    const { expected } = await storedLog()
    const { nextFrameNo: startFrameNo, checksum, pageSize } = expected
    const chain = { startChecksum: checksum, endChecksum: checksum }
    const raw = encodeLogHeader(logHeader({ startFrameNo, frameCount: 0, pageSize, ...chain, epoch: 1 }))
    const header = encodeObjectHeader({ method: 'deflate', rawBytes: raw.length })
    const bytes = Buffer.concat([header, deflateSync(raw)])
    expect(undoubtedLog({ bytes }, expected)).toBeUndefined()
  })

  it('not at another position, of another history, page size, or of an older epoch', async () => {
    const { path, expected } = await storedLog()
    expect(undoubtedLog({ path }, { ...expected, nextFrameNo: expected.nextFrameNo + 1 })).toBeUndefined()
    expect(undoubtedLog({ path }, { ...expected, checksum: expected.checksum + 1n })).toBeUndefined()
    expect(undoubtedLog({ path }, { ...expected, pageSize: 8192 })).toBeUndefined()
    expect(undoubtedLog({ path }, { ...expected, epochMin: 2 })).toBeUndefined()
  })

  it.each(['none', 'lz4', 'deflate', 'brotli'] as const)(
    'of an older epoch when the next one continues it: %s',
    async (compression) => {
      const { store, write } = await startHistory(openStore({ compression }))
      const log = await write()
      await store.claimEpoch('another')
      await write()
      const paths = (await store.logs()).map((stored) => store.logLocation(stored).path)
      const [before, path, behind] = paths.slice(-3) as [string, string, string]
      const { startFrameNo: nextFrameNo, startChecksum: checksum, pageSize } = log
      const expected = { nextFrameNo, checksum, pageSize, epochMin: 2 }
      const file = undoubtedLog({ path }, expected, { path: behind })
      expect(file?.header).toMatchObject({ startFrameNo: nextFrameNo, epoch: 1 })
      // To look at the next one has left it as it was.
      const { location } = file!
      const bytes = 'bytes' in location ? location.bytes : new Uint8Array(readFileSync(location.path))
      await (await Log.from(bytes)).verify()
      expect(undoubtedLog({ path }, expected, { bytes: new Uint8Array(readFileSync(behind)) })).toBeDefined()

      for (const other of [undefined, { path }, { path: before }, { path: join(temporaryFolder(), 'none') }])
        expect(undoubtedLog({ path }, expected, other)).toBeUndefined()
      const spoilt = new Uint8Array(readFileSync(behind))
      expect(undoubtedLog({ path }, expected, { bytes: spoilt.subarray(0, -1) })).toBeUndefined()
    },
  )

  it('only as far as the history is wanted', async () => {
    const { path, log, expected } = await storedLog()
    const sealedMs = log.createdAt!.getTime()
    const isTaken = (until: { frameNo?: number; sealedMs?: number }) =>
      undoubtedLog({ path }, { ...expected, until }) !== undefined
    expect(isTaken({ frameNo: log.lastFrameNo! })).toBe(true)
    expect(isTaken({ frameNo: log.lastFrameNo! - 1 })).toBe(false)
    expect(isTaken({ sealedMs })).toBe(true)
    expect(isTaken({ sealedMs: sealedMs - 1 })).toBe(false)
    expect(isTaken({ frameNo: log.lastFrameNo! - 1, sealedMs })).toBe(false)
  })

  it('not when it is missing, empty, cut short, of version 2, damaged in its header, or no file', async () => {
    const { path, log, expected } = await storedLog()
    const folder = temporaryFolder()
    const bytes = readFileSync(path)
    const variant = (name: string, content: Uint8Array) => {
      writeFileSync(join(folder, name), content)
      return join(folder, name)
    }
    expect(undoubtedLog({ path: variant('same', bytes) }, expected)).toBeDefined()
    expect(undoubtedLog({ path: join(folder, 'missing') }, expected)).toBeUndefined()
    expect(undoubtedLog({ path: variant('empty', new Uint8Array(0)) }, expected)).toBeUndefined()
    expect(
      undoubtedLog({ path: variant('short', bytes.subarray(0, bytes.length - 1)) }, expected),
    ).toBeUndefined()
    const header = Buffer.from(bytes)
    header[90]! ^= 1
    expect(undoubtedLog({ path: variant('header', header) }, expected)).toBeUndefined()
    await log.copyTo(join(folder, 'version-2'), { version: 2 })
    expect(undoubtedLog({ path: join(folder, 'version-2') }, expected)).toBeUndefined()
    expect(undoubtedLog({ path: folder }, expected)).toBeUndefined()
    // Nobody writes to it: whoever opened it as a file would wait for ever.
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    expect(statSync(pipe).isFIFO()).toBe(true)
    expect(undoubtedLog({ path: pipe }, expected)).toBeUndefined()
  })
})
