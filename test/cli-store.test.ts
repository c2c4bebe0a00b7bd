/** The load test on a store, as users run it; its parts where a whole run cannot reach them. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nkeys } from '@nats-io/transport-node'
import { FileStore, init, Primary, Replica } from 'mylibsql'
import { NatsStore } from 'mylibsql/nats'
import { S3Store } from 'mylibsql/s3'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Check } from '../dist/cli/checks.js'
import { Follower } from '../dist/cli/follower.js'
import { Pacer } from '../dist/cli/pacer.js'
import { ReplicationLag } from '../dist/cli/replication-lag.js'
import { ownClockMs, sharedClockMs } from '../dist/cli/shared-clock.js'
import { proveStore, type StoreProofSubject } from '../dist/cli/store-proof.js'
import { TransactionLedger } from '../dist/cli/transaction-ledger.js'
import { CommandLine, main, until } from './support/command-line.js'
import { NatsServer } from './support/nats-server.js'
import { openNatsStore } from './support/nats-store.js'
import { accessKeyId, S3Server, secretAccessKey } from './support/s3-server.js'
import { serverOptions } from './support/s3-store.js'

const commandLine = new CommandLine()
const failed = (checks: readonly Check[]) => checks.filter((check) => !check.isOk).map((check) => check.name)
const storeDir = () => join(commandLine.folder, 'store')
const logsIn = async (dir: string) => (await readdir(join(dir, 'logs')).catch(() => [])).sort()

describe('mylibsql load --store file:', () => {
  it('runs at a rate, measures and proves, keeps the store and leaves nothing else; refuses it the next time', async () => {
    const flags = ['--store', `file:${storeDir()}`, '--checkpoint-ms', '20', '--clients', '16', '--json']
    const { code, out, err } = await commandLine.run(
      ...['load', '--seconds', '1', '--followers', '3', '--rate', '300', ...flags],
    )
    expect(code, err).toBe(0)
    const results = JSON.parse(out)
    expect(results).toMatchObject({ ok: true, stoppedBy: 'time', store: `file:${storeDir()}` })
    expect(results.executedCount).toBeGreaterThan(20)
    // What is due while the machine is busy with others may be begun 100 ms later.
    expect(results.executedCount).toBeLessThanOrEqual(300 * (results.seconds + 0.2))
    expect(results.durableCount).toBe(results.executedCount)
    expect(results.checkpointCount).toBeGreaterThan(1)
    expect(results.logBytes).toBeGreaterThan(results.frameCount * 4096)
    expect(results.readCount).toBeGreaterThan(0)
    expect(results.storeFailureCount).toBe(0)
    expect(results.followers.map(({ name }: { name: string }) => name)).toEqual([1, 2, 3].map(followerName))
    for (const times of [results.lagMs, results.saveMs, ...results.followers.map(lagOf)]) {
      expect(times.p50).toBeGreaterThan(0)
      expect(times.p99).toBeGreaterThanOrEqual(times.p50)
    }
    expect(results.checks.map((check: Check) => check.name)).toEqual([
      'nothing failed',
      'all is durable',
      'follower 1 equals the primary',
      'follower 2 equals the primary',
      'follower 3 equals the primary',
      'integrity of the primary',
      'balances agree in the primary',
      'restored as of the stop',
      'restored from the store',
    ])
    expect(failed(results.checks)).toEqual([])
    expect(await readdir(commandLine.temporary)).toEqual([])

    const before = await logsIn(storeDir())
    const again = await commandLine.run('load', ...flags)
    expect(again.err).toMatch(/^error: --store file:.* holds a history, such as .*: name a new or an empty/m)
    expect(again.code).toBe(2)
    expect(await logsIn(storeDir())).toEqual(before)
  })

  it('stops at an interrupt, drains, proves and prints tables', async () => {
    const started = commandLine.start(
      ...['load', '--seconds', '60', '--store', `file:${storeDir()}`, '--clients', '8'],
    )
    const { child, output, code } = started
    await until(started, () => output.err.includes('transactions/s'))
    child.kill('SIGINT')
    expect(await code, output.err).toBe(0)
    expect(output.out).toMatch(/^TPC-B-like, scale 1: [\d.]+ s \(stopped early\), 8 clients, a checkpoint/)
    expect(output.out).toMatch(/│ checkpoints \(logs in the store\) +│/)
    expect(output.out).toMatch(/│ lag of follower 2 +│ +[\d.]+ │ +[\d.]+ │ +[\d.]+ │/)
    expect(output.out).toMatch(/│ lag of all followers +│ +[\d.]+ │/)
    expect(output.out).toMatch(/^peak memory \(RSS\): \d+ MB, of a follower \d+ MB$/m)
    expect(output.out).not.toContain('FAILED')
    expect(output.out).toContain(`Kept in file:${storeDir()}`)
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it('exits with 1 when a log is gone from the store', async () => {
    const started = commandLine.start(
      ...['load', '--seconds', '60', '--store', `file:${storeDir()}`, '--followers', '1', '--json'],
      // So few bytes that there is no second snapshot, behind which nobody needs the first log.
      ...['--rate', '1000'],
    )
    const { child, output, code } = started
    // The follower has read the first log when there are many more of them, some of them in one file.
    const store = new FileStore(storeDir())
    await until(started, async () => (await store.logs().catch(() => [])).length >= 20)
    await store.close()
    await rm(join(storeDir(), 'logs', (await logsIn(storeDir()))[0]!))
    child.kill('SIGINT')
    expect(await code, output.err).toBe(1)
    const { ok, checks } = JSON.parse(output.out)
    expect(ok).toBe(false)
    expect(failed(checks)).toEqual(['restored as of the stop', 'restored from the store'])
    expect(checks.at(-1).detail).toMatch(/^ERR_LOG_GAP: /)
  })

  it('exits with 1 and writes nothing in a folder of another program', async () => {
    await mkdir(storeDir())
    await writeFile(join(storeDir(), 'theirs.txt'), 'theirs')
    const { code, err } = await commandLine.run('load', '--store', `file:${storeDir()}`)
    expect(err).toMatch(
      /^error: ERR_STORE: .* is no store of mylibsql: it holds other files, such as theirs.txt/m,
    )
    expect(code).toBe(1)
    expect(await readdir(storeDir())).toEqual(['theirs.txt'])
  })
})

describe('mylibsql load --store nats:', () => {
  let server: NatsServer
  beforeAll(async () => {
    server = await NatsServer.start()
  })
  afterAll(() => server.remove())

  it('runs and proves', async () => {
    const url = `nats://127.0.0.1:${server.port}/load`
    const { code, out, err } = await commandLine.run(
      ...['load', '--seconds', '1', '--rate', '300', '--store', url, '--checkpoint-ms', '20', '--json'],
      ...['--compression', 'brotli'],
    )
    expect(code, err).toBe(0)
    const { checks, followers, store, logBytes } = JSON.parse(out)
    const kept = await openNatsStore(server, { name: 'load' })
    const storedBytes = (await kept.logs()).reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(storedBytes).toBeLessThan(logBytes / 2)
    expect(failed(checks)).toEqual([])
    expect(followers).toHaveLength(2)
    expect(store).toBe(url)
  })

  it('logs in as the environment says', async () => {
    onTestFinished(() => void vi.unstubAllEnvs())
    const keys = nkeys.createUser()
    const own = await NatsServer.start({
      config: `authorization { users: [
        { user: admin, password: secret }
        { nkey: ${keys.getPublicKey()} }
      ] }`,
      user: 'admin',
      pass: 'secret',
    })
    onTestFinished(() => own.remove())
    const name = 'login'
    const admin = { user: 'admin', pass: 'secret' }
    await (await NatsStore.open({ ...admin, servers: own.url, name, create: true })).close()
    // Of the two servers of the list one is there.
    const url = `nats://127.0.0.1:1,127.0.0.1:${own.port}/${name}`

    const refused = await commandLine.run('list', `nats://127.0.0.1:${own.port}/${name}`)
    expect(refused.code).toBe(1)
    expect(refused.err).toMatch(/^error: ERR_STORE: .*credentials/)

    vi.stubEnv('NATS_USER', 'admin')
    vi.stubEnv('NATS_PASSWORD', 'secret')
    expect((await commandLine.run('list', url)).out).toContain('newest epoch 0')
    vi.unstubAllEnvs()

    // The server goes by the signature of the nonce; the token beside it is for servers that know its issuer.
    const credsPath = join(commandLine.folder, 'user.creds')
    const section = (title: string, text: string) =>
      `-----BEGIN ${title}-----\n${text}\n------END ${title}------\n\n`
    const seed = new TextDecoder().decode(keys.getSeed())
    await writeFile(credsPath, section('NATS USER JWT', 'e30.e30.e30') + section('USER NKEY SEED', seed))
    vi.stubEnv('NATS_CREDS', credsPath)
    const { code, out, err } = await commandLine.run('list', url)
    expect(code, err).toBe(0)
    expect(out).toContain('newest epoch 0')

    vi.stubEnv('NATS_CREDS', join(commandLine.folder, 'nowhere.creds'))
    const missing = await commandLine.run('list', url)
    expect(missing.code).toBe(2)
    expect(missing.err).toMatch(/^error: NATS_CREDS names a file that cannot be read: .*nowhere\.creds/)
  })
})

describe('mylibsql load --store s3:', () => {
  let server: S3Server
  beforeAll(async () => {
    server = await S3Server.start()
    // The load test makes no bucket.
    await (await S3Store.open(serverOptions(server))).close()
  })
  afterAll(() => server.stop())

  it('runs and proves', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL', server.endpoint)
    vi.stubEnv('AWS_ACCESS_KEY_ID', accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', secretAccessKey)
    const { bucket } = serverOptions(server)
    const { code, out, err } = await commandLine.run(
      ...['load', '--seconds', '1', '--rate', '300', '--store', `s3://${bucket}/load/test`, '--json'],
    )
    vi.unstubAllEnvs()
    expect(code, err).toBe(0)
    const { checks, store } = JSON.parse(out)
    expect(failed(checks)).toEqual([])
    expect(store).toBe(`s3://${bucket}/load/test`)
  })
})

describe('wrong calls exit with 2 and a sentence', () => {
  const cases: [string, string[], RegExp][] = [
    ['followers without a store', ['--followers', '3'], /--followers needs --store/],
    ['compression without a store', ['--compression', 'brotli'], /--compression needs --store/],
    [
      'a compression that is not known',
      ['--store', 'file:x', '--compression', 'zip'],
      /Allowed choices are none/,
    ],
    ['store and folder', ['--store', 'file:x', '--dir', 'y'], /--dir and --store exclude each other/],
    ['no store', ['--store', main], /'--store <url>' argument '.*' is invalid. It must be file:DIR, nats:/],
    ['no name', ['--store', 'nats://localhost:4222'], /It must be file:DIR, nats:/],
    ['no rate', ['--rate', '0'], /It must be a number from 0.1/],
  ]
  it.each(cases)('%s', async (_, args, message) => {
    const { code, out, err } = await commandLine.run('load', ...args)
    expect(err).toMatch(message)
    expect(code).toBe(2)
    expect(out).toBe('')
  })
})

describe('parts of a load with a store', () => {
  it('a follower that cannot follow says why, and its process is gone', async () => {
    const options = {
      seconds: 1,
      warmUp: 0,
      scale: 1,
      clients: 1,
      checkpointMs: 1,
      readers: 1,
      readPauseMs: 1,
      json: true,
    }
    const url = `file:${storeDir()}`
    const failure = await Follower.start(
      'follower 1',
      new ReplicationLag(),
      { options, url },
      () => {},
    ).catch((error: Error) => error)
    expect(failure).toMatchObject({
      message: 'follower 1 failed',
      cause: { message: expect.stringMatching(/^ERR_NOT_FOUND: There is no store at /) },
    })
  })

  it('the proof finds a follower that differs, and transactions that are not in the store', async () => {
    const { snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, value)')
    const store = new FileStore(storeDir())
    await store.putSnapshot(snapshot)
    await using primary = await Primary.open({ store })
    const other = await Primary.open(snapshot)
    await other.run('INSERT INTO t VALUES (?, ?)', [1, 'as it is not'])
    await other.checkpoint(() => {})
    await using different = await other.intoReplica()
    await using behind = await Replica.open(snapshot)
    await primary.run('INSERT INTO t VALUES (?, ?)', [1, 'as it should be'])
    const atStop = await primary.checkpoint()
    const ledger = new TransactionLedger()
    for (const id of [ledger.next(), ledger.next()]) {
      ledger.executed()
      ledger.durable(id)
    }
    const subject: StoreProofSubject = {
      primary: primary as unknown as StoreProofSubject['primary'],
      store,
      followers: [
        { name: 'follower 1', snapshot: (path) => behind.snapshot(path) },
        { name: 'follower 2', snapshot: (path) => different.snapshot(path) },
      ],
      invariants: {
        title: 'sums',
        check: async () => 'none',
        transactionIds: async (database) => {
          const rows = await database.all('SELECT id FROM t')
          return rows.map(({ id }) => ({ first: Number(id), last: Number(id) }))
        },
      },
      control: { failures: [] },
      ledger,
      measurements: { readCount: 0 },
      traffic: { atStop: { savedFrameNo: atStop, durableRuns: [{ first: 1, last: 1 }], executedCount: 2 } },
      scratchPath: commandLine.temporary,
    }
    const checks: Check[] = []
    for await (const check of proveStore(subject)) checks.push(check)
    expect(failed(checks)).toEqual([
      'follower 1 equals the primary',
      'follower 2 equals the primary',
      'restored from the store',
    ])
    const details = new Map(checks.map(({ name, detail }) => [name, detail]))
    expect(details.get('follower 1 equals the primary')).toMatch(/^it stands at frame/)
    expect(details.get('follower 2 equals the primary')).toMatch(/^page 2 differs from its byte \d+ on/)
    expect(details.get('restored from the store')).toBe(
      'it holds transactions 1 instead of the durable ones, 1-2',
    )
    await store.close()
    expect(await readdir(commandLine.temporary)).toEqual([])
  })

  it('a pacer lets as many begin as are due, and all when it ends', async () => {
    const control = new AbortController()
    const pacer = new Pacer(1000, control.signal)
    const startedAtMs = performance.now()
    for (let count = 0; count < 50; count++) await pacer.turn()
    expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(48)
    const waiting = Promise.all(Array.from({ length: 1000 }, () => pacer.turn()))
    control.abort()
    await waiting
    await pacer.turn()
  })

  it('two processes have one clock', () => {
    const before = performance.now()
    const at = ownClockMs(sharedClockMs())
    expect(at).toBeGreaterThanOrEqual(before - 0.1)
    expect(at).toBeLessThanOrEqual(performance.now() + 0.1)
  })
})

const followerName = (number: number) => `follower ${number}`
const lagOf = ({ lagMs }: { lagMs: { p50: number; p99: number } }) => lagMs
