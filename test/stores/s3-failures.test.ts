/** What an S3 service does that a store must withstand, or must tell. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { S3Client } from '@aws-sdk/client-s3'
import { Log, Primary, Snapshot } from 'mylibsql'
import { S3Store, type S3StoreOptions } from 'mylibsql/s3'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { closedAfterTest } from '../support/database.js'
import { expectCode, rejection } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { type Fault, type S3Request, S3Server } from '../support/s3-server.js'
import { openS3Store, prefix, serverOptions } from '../support/s3-store.js'
import { chain, followed, logAt } from './contract.js'

let server: S3Server

beforeAll(async () => {
  server = await S3Server.start()
})
afterAll(() => server?.stop())

const putsOf = (kind: string) => (request: S3Request) =>
  request.method === 'PUT' && request.key.includes(`/${kind}/`)
const getsOf = (kind: string) => (request: S3Request) =>
  request.method === 'GET' && request.key.includes(`/${kind}/`)
const isList = (request: S3Request) => request.query.has('list-type')
const always = (fault: Fault): Fault[] => Array.from({ length: 1000 }, () => fault)
const internalError: Fault = { status: 500, code: 'InternalError' }
const slowDown: Fault = { status: 503, code: 'SlowDown' }
const conflict: Fault = { status: 409, code: 'ConditionalRequestConflict' }

const open = (options: Partial<S3StoreOptions> = {}) => openS3Store(server, options)
/** For calls that fail only when their time is over; what is to succeed is called on another store. */
const impatient = { timeoutMs: 1000 }

describe('requests that fail', () => {
  const passing: [string, Fault[]][] = [
    ['500', [internalError, internalError]],
    ['503 SlowDown', [slowDown]],
    ['a connection that is reset', ['reset before']],
    ['409, a conflict with another request', [conflict, conflict, conflict]],
    ['an answer that is lost', ['reset after']],
    ['an answer that is lost, and 409 then', ['reset after', conflict]],
  ]

  it.each(passing)('appends in spite of %s', async (_, faults) => {
    const store = await open()
    server.failWith(faults, putsOf('logs'))
    const log = await logAt(0)
    const stored = await store.append(log, 1)
    expect(await store.logs()).toEqual([stored])
    expect((await store.readLog(stored)).endChecksum).toBe(log.endChecksum)
    await expectCode(store.append(await logAt(0, { seed: 2 }), 2), 'ERR_FENCED')
  })

  it.each(passing)('claims an epoch in spite of %s, and leaves no gap', async (_, faults) => {
    const store = await open()
    server.failWith(faults, putsOf('epochs'))
    expect(await store.claimEpoch('one')).toBe(1)
    expect(await store.currentEpoch()).toBe(1)
    expect(await store.claimEpoch('two')).toBe(2)
  })

  it('lists and reads in spite of failures, and of answers that are cut short', async () => {
    const store = await open()
    for (const log of await chain(10)) await store.append(log, 1)
    const blank = await Snapshot.blank()
    const snapshot = await store.putSnapshot(blank)
    const faults: Fault[] = [internalError, 'cut short', slowDown, 'reset before', 'cut short']
    server.failWith(faults, isList)
    const list = await store.logs()
    expect(list).toHaveLength(10)
    server.failWith(faults, getsOf('logs'))
    await (await store.readLog(list[9]!)).close()
    server.failWith(['cut short', internalError], getsOf('snapshots'))
    const read = closedAfterTest(await store.readSnapshot(snapshot))
    expect(read.checksum).toBe(blank.checksum)
  })

  it.each([
    ['500', internalError],
    ['409', conflict],
    ['no answer', 'hang'],
    ['no connection', 'reset before'],
  ] as const)('gives up in time: %s', async (_, fault) => {
    const at = prefix()
    const stored = await (await open({ prefix: at })).append(await logAt(0), 1)
    const store = await open({ prefix: at, ...impatient })
    server.failWith(always(fault), () => true)
    const startMs = performance.now()
    const log = await logAt(2)
    const calls: Promise<unknown>[] = [
      store.append(log, 1),
      store.currentEpoch(),
      store.logs(),
      store.claimEpoch('me'),
    ]
    for (const error of await Promise.all(calls.map((call) => expectCode(call, 'ERR_STORE')))) {
      expect(error.cause).toBeInstanceOf(Error)
      expect(error.message).toContain('s3://tests/')
    }
    await expectCode(store.readLog(stored), 'ERR_STORE')
    expect(performance.now() - startMs).toBeLessThan(10_000)
  })

  it('says that what is read never comes whole', async () => {
    const at = prefix()
    const stored = await (await open({ prefix: at })).append(await logAt(0), 1)
    const store = await open({ prefix: at, ...impatient })
    server.failWith(always('cut short'), getsOf('logs'))
    const error = await expectCode(store.readLog(stored), 'ERR_STORE')
    expect(error.message).toMatch(/ended after \d+/)
  })

  it('gives up at once when told, or closed, while nothing is answered', async () => {
    const store = await open({ timeoutMs: 60_000 })
    server.failWith(always('hang'), () => true)
    const reason = new Error('enough')
    const controller = new AbortController()
    const log = await logAt(0)
    const aborted = rejection(store.append(log, 1, { signal: controller.signal }))
    const closed = expectCode(store.currentEpoch(), 'ERR_CLOSED')
    await new Promise((resolve) => setTimeout(resolve, 50))
    const startMs = performance.now()
    controller.abort(reason)
    expect(await aborted).toBe(reason)
    await store.close()
    await closed
    expect(performance.now() - startMs).toBeLessThan(2000)
  })

  it('follows through an outage that is short, and tells one that is long', async () => {
    const [store, other] = [await open(), await open(impatient)]
    const seen = followed(store, 0, 2)
    await store.append(await logAt(0), 1)
    server.failWith(['reset before', internalError, internalError], isList)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await store.append(await logAt(2), 1)
    expect(await seen).toHaveLength(2)
    server.failWith(always(internalError), isList)
    await expectCode(followed(other, 0, 1), 'ERR_STORE')
  })
})

describe('lists', () => {
  it('does not take a list for whole that is not', async () => {
    const at = prefix()
    const [store, other] = [await open({ prefix: at }), await open({ prefix: at, ...impatient })]
    for (const log of await chain(10)) await store.append(log, 1)
    server.failWith(['empty page', 'empty page'], isList)
    expect(await store.logs()).toHaveLength(10)
    server.failWith(always('empty page'), isList)
    await expectCode(other.logs(), 'ERR_STORE')
    server.failWith(always('unsorted'), isList)
    expect((await expectCode(store.logs(), 'ERR_STORE')).message).toContain('order')
  })

  it('finds the log before a frame, however far it is', async () => {
    const store = await open()
    await store.append(await logAt(0), 1)
    await store.append(await logAt(9_000_000_000_000), 1)
    expect(await store.logs({ from: 8_000_000_000_000 })).toHaveLength(2)
    expect(await store.logs({ from: 9_000_000_000_001 })).toHaveLength(1)
  })

  it('passes over objects of others', async () => {
    const at = prefix()
    const store = await open({ prefix: at })
    const object = { bytes: Buffer.from('mine'), modified: new Date() }
    const names = ['logs/readme.txt', 'logs/1.log', 'epochs/x', 'snapshots/1.db', 'snapshots/a/b.db']
    for (const name of names) server.buckets.get('tests')!.set(`${at}/${name}`, object)
    expect([await store.logs(), await store.snapshots(), await store.currentEpoch()]).toEqual([[], [], 0])
    const stored = await store.append(await logAt(0), 1)
    const other = await open()
    expect(await rejection(other.readLog(stored))).toBeInstanceOf(TypeError)
    expect(await rejection(other.remove([stored]))).toBeInstanceOf(TypeError)
  })
})

describe('replacing logs', () => {
  async function compactable() {
    const store = await open()
    const read: Log[] = []
    for (const log of await chain(2)) read.push(await store.readLog(await store.append(log, 1)))
    return { store, merged: await Log.merge(read) }
  }

  it.each<[string, Fault[]]>([
    ['an answer that is lost', ['reset after']],
    ['409, a conflict with another request', [conflict, conflict]],
    ['500', [internalError]],
  ])('replaces in spite of %s', async (_, faults) => {
    const { store, merged } = await compactable()
    server.failWith(faults, putsOf('logs'))
    const stored = await store.replaceLog(merged)
    expect((await store.logs())[0]).toEqual(stored)
    expect((await store.readLog(stored)).isMerged).toBe(true)
  })

  it('refuses to, where the service ignores If-Match', async () => {
    const { store, merged } = await compactable()
    const before = await store.logs()
    server.failWith(always('unconditional'), ({ headers }) => headers['if-match'] !== undefined)
    const error = await expectCode(store.replaceLog(merged), 'ERR_STORE')
    expect(error.message).toContain('If-Match')
    expect(await store.logs()).toEqual(before)
  })
})

describe('opening', () => {
  it.each([
    ['ignores conditions', 'unconditional'],
    ['does not know conditions', { status: 501, code: 'NotImplemented' }],
  ] as const)('refuses a service that %s', async (_, fault) => {
    server.failWith(always(fault), ({ method }) => method === 'PUT')
    const error = await expectCode(open(), 'ERR_STORE')
    expect(error.message).toContain(server.endpoint)
    expect(error.message).toContain('If-None-Match')
  })

  it('makes no store in a new place unless told to: the first write does, where the service honours conditions', async () => {
    const at = prefix()
    const objects = () => [...server.buckets.get('tests')!.keys()].filter((key) => key.startsWith(at))
    const store = await open({ prefix: at, create: false })
    await expectCode(Primary.open({ store }), 'ERR_NOT_FOUND')
    expect([await store.logs(), await store.currentEpoch()]).toEqual([[], 0])
    expect(objects()).toEqual([])
    const blank = closedAfterTest(await Snapshot.blank())
    server.failWith(always('unconditional'), ({ method }) => method === 'PUT')
    await expectCode(store.putSnapshot(blank), 'ERR_STORE')
    server.failWith([], () => false)
    await store.putSnapshot(blank)
    expect(objects()).toEqual([`${at}/mylibsql-store.json`, `${at}/snapshots/blank.db`])
  })

  it('makes a bucket only when told to', async () => {
    const bucket = `other-${randomBytes(4).toString('hex')}`
    const error = await expectCode(open({ bucket, create: false }), 'ERR_NOT_FOUND')
    expect(error.message).toContain(bucket)
    expect(server.buckets.has(bucket)).toBe(false)
    await open({ bucket, create: true })
    await open({ bucket, create: true })
    const store = await open({ bucket, create: false })
    server.buckets.delete(bucket)
    // Not ERR_NOT_FOUND, which says of an object that it was pruned.
    await expectCode(store.logs(), 'ERR_STORE')
  })

  it('tells that credentials are refused', async () => {
    const credentials = { accessKeyId: 'somebody', secretAccessKey: 'else' }
    const error = await expectCode(open({ credentials }), 'ERR_STORE')
    expect(error.message).toMatch(/InvalidAccessKeyId.*credentials/)
    expect(error.message).not.toContain('else')
    expect(error.cause).toMatchObject({ name: 'InvalidAccessKeyId' })
  })

  it('reads with credentials that may only read', async () => {
    const at = prefix()
    const log = await logAt(0)
    await (await open({ prefix: at })).append(log, 1)
    server.failWith(always({ status: 403, code: 'AccessDenied' }), ({ method }) => method === 'PUT')
    const store = await open({ prefix: at })
    const [stored] = await store.logs()
    expect((await store.readLog(stored!)).endChecksum).toBe(log.endChecksum)
    await expectCode(store.append(await logAt(2), 1), 'ERR_STORE')
    await expectCode(store.claimEpoch('me'), 'ERR_STORE')
  })

  it('refuses a store of a newer release, and what is none', async () => {
    const at = prefix()
    const key = `${at}/mylibsql-store.json`
    const write = (text: string) =>
      server.buckets.get('tests')!.set(key, { bytes: Buffer.from(text), modified: new Date() })
    write('{"format":"mylibsql-store","version":2}')
    await expectCode(open({ prefix: at }), 'ERR_VERSION')
    write('notes')
    await expectCode(open({ prefix: at }), 'ERR_STORE')
  })

  it('takes a client, and leaves it open', async () => {
    const { bucket, create, ...config } = serverOptions(server)
    const client = new S3Client({ ...config, forcePathStyle: true })
    onTestFinished(() => client.destroy())
    const at = prefix()
    for (const start of [0, 2]) {
      const store = await S3Store.open({ bucket, prefix: at, client, create })
      await store.append(await logAt(start), 1)
      await store.close()
      expect(store.url).toBe(`s3://tests/${at}`)
    }
    expect(await rejection(S3Store.open({ bucket, client, region: 'x' }))).toBeInstanceOf(TypeError)
  })

  it.each([
    ['no bucket', { bucket: undefined }],
    ['a prefix that leads elsewhere', { prefix: 'a/../b' }],
    ['a prefix with other letters', { prefix: 'a\u0000b' }],
    ['no client', { client: {} }],
    ['no time', { timeoutMs: 0 }],
    ['another compression', { compression: 'rar' }],
  ])('refuses %s', async (_, options) => {
    const all = { ...serverOptions(server), ...options } as unknown as S3StoreOptions
    expect(await rejection(S3Store.open(all))).toBeInstanceOf(TypeError)
  })
})

describe('snapshots in parts', () => {
  /** About 20 MiB. */
  async function largeSnapshot(): Promise<Snapshot> {
    const primary = await Primary.open(await Snapshot.blank())
    await primary.run('CREATE TABLE t AS SELECT randomblob(1000000) AS bytes FROM json_each(?)', [
      JSON.stringify(Array(20).fill(0)),
    ])
    const snapshot = closedAfterTest(await primary.snapshot(join(temporaryFolder(), 'large.db')))
    await primary.close()
    return snapshot
  }
  const isPart = ({ method, query }: S3Request) => method === 'PUT' && query.has('partNumber')

  it('sends and reads them, in spite of parts that fail', async () => {
    const store = await open()
    const snapshot = await largeSnapshot()
    server.failWith([internalError, 'reset after'], isPart)
    const stored = await store.putSnapshot(snapshot)
    expect(stored.byteLength).toBe(snapshot.byteLength)
    server.failWith(['cut short'], getsOf('snapshots'))
    const progress: number[] = []
    const read = closedAfterTest(
      await store.readSnapshot(stored, { onProgress: (byteCount) => progress.push(byteCount) }),
    )
    expect(read.checksum).toBe(snapshot.checksum)
    expect(progress.at(-1)).toBe(snapshot.byteLength)
    expect(server.uploads.size).toBe(0)
  })

  it('leaves nothing behind when it fails, or is given up', async () => {
    const store = await open({ timeoutMs: 2000 })
    const snapshot = await largeSnapshot()
    server.failWith(always(internalError), isPart)
    await expectCode(store.putSnapshot(snapshot), 'ERR_STORE')
    expect(server.uploads.size).toBe(0)
    const reason = new Error('enough')
    const controller = new AbortController()
    server.failWith(always('hang'), (request) => {
      if (isPart(request)) controller.abort(reason)
      return isPart(request)
    })
    expect(await rejection(store.putSnapshot(snapshot, { signal: controller.signal }))).toBe(reason)
    expect(server.uploads.size).toBe(0)
    expect(await store.snapshots()).toEqual([])
  })
})
