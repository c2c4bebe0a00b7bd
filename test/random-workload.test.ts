/**
 * Random writes on a primary, with checkpoints, replicas, role changes and reopenings between them at random. What must
 * hold: the outcome of each request and the contents are those of plain SQLite; all databases are equal byte for byte.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type Frames, init, Log, Primary, Replica, type Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { contentsOf, contentsOfOpen } from './support/contents.js'
import { closedAfterTest, expectSameBytes, openPrimary } from './support/database.js'
import { expectCode, expectSqlite } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'
import {
  type Procedures,
  type Request,
  runOnModel,
  runOnPrimary,
  Workload,
  workloadSchema,
} from './support/workload.js'

const procedures = new URL('programs/procedures.mjs', import.meta.url)

/** A primary, a replica fed with logs and one fed with live frames, and the model of what is in them. */
class Cluster {
  readonly #random: Random
  readonly #folder = temporaryFolder()
  readonly #workload: Workload
  readonly #model: Database.Database
  #snapshot: Snapshot
  #primary!: Primary<Procedures>
  #frames!: Frames
  #byLogs!: Replica
  #byFrames!: Replica
  readonly history: string[] = []

  private constructor(random: Random, workload: Workload, model: Database.Database, snapshot: Snapshot) {
    this.#random = random
    this.#workload = workload
    this.#model = model
    this.#snapshot = snapshot
  }

  static async make(random: Random, pageSize: number): Promise<Cluster> {
    const model = new Database(':memory:')
    model.pragma(`page_size = ${pageSize}`)
    model.exec(workloadSchema)
    const { snapshot } = await init(workloadSchema, { pageSize })
    const workload = new Workload(random, { blobBytesMax: Math.min(pageSize * 200, 2_000_000) })
    const cluster = new Cluster(random, workload, model, closedAfterTest(snapshot))
    await cluster.#open()
    return cluster
  }

  async step(): Promise<void> {
    const random = this.#random
    const action = random.integer(0, 19)
    if (action < 12) return this.#write(random.integer(1, action < 3 ? 20 : 4))
    if (action < 15) return this.#checkpoint()
    if (action === 15) return this.#compare()
    if (action === 16) return this.#failToSave()
    if (action === 17) return this.#changeRoles()
    if (action === 18) return this.#reopen()
    return this.#newSnapshot()
  }

  async finish(): Promise<void> {
    await this.#checkpoint()
    await this.#compare()
    await this.#close()
  }

  /** Requests that are made in one tick, so that they share a transaction if they can. */
  async #write(count: number): Promise<void> {
    const requests = Array.from({ length: count }, () => this.#workload.next())
    const outcomes = await Promise.all(requests.map((request) => runOnPrimary(this.#primary, request)))
    for (const [index, request] of requests.entries()) {
      const text = describeRequest(request)
      this.history.push(`${text} -> ${outcomes[index]}`)
      expect(outcomes[index], `the outcome of ${text}`).toBe(runOnModel(this.#model, request))
    }
  }

  async #checkpoint(): Promise<void> {
    this.history.push('checkpoint')
    await this.#primary.checkpoint((log) => this.#save(log))
    for (let batch = this.#frames.tryNext(); batch !== undefined; batch = this.#frames.tryNext()) {
      await this.#byFrames.replicateFrames(batch)
    }
    expect(this.#byLogs.lastFrameNo).toBe(this.#primary.lastFrameNo)
    expect(this.#byFrames.lastFrameNo).toBe(this.#primary.lastFrameNo)
  }

  async #save(log: Log): Promise<void> {
    await log.copyTo(join(this.#folder, `${String(log.startFrameNo).padStart(9, '0')}.log`))
    await this.#byLogs.replicate(log)
  }

  /** The log of a checkpoint that fails comes again. */
  async #failToSave(): Promise<void> {
    this.history.push('fail to save')
    const failure = new Error('the store is away')
    const outcome = await this.#primary
      .checkpoint(() => Promise.reject(failure))
      .catch((error: unknown) => error)
    expect([failure, undefined]).toContain(outcome)
  }

  async #compare(): Promise<void> {
    await this.#checkpoint()
    this.history.push('compare')
    await expectSameBytes(this.#primary, this.#byLogs)
    await expectSameBytes(this.#primary, this.#byFrames)
    expect(await contentsOfOpen(this.#primary)).toEqual(contentsOf(this.#model))
  }

  /** The primary becomes a replica and one of the replicas the primary. */
  async #changeRoles(): Promise<void> {
    await this.#checkpoint()
    this.history.push('change roles')
    this.#frames.close()
    const old = closedAfterTest(await this.#primary.intoReplica())
    // Replicas are opened without procedures.
    this.#workload.hasProcedures = false
    if (this.#random.chance(0.5)) {
      this.#primary = await promoted(this.#byLogs)
      this.#byLogs = old
    } else {
      this.#primary = await promoted(this.#byFrames)
      this.#byFrames = old
    }
    closedAfterTest(this.#primary)
    this.#frames = this.#primary.captureFrames()
  }

  async #reopen(): Promise<void> {
    await this.#checkpoint()
    this.history.push('reopen')
    await this.#close()
    await this.#open()
  }

  async #newSnapshot(): Promise<void> {
    await this.#checkpoint()
    this.history.push('new snapshot')
    const path = join(this.#folder, `${randomUUID()}.db`)
    if (this.#random.chance(0.5)) this.#snapshot = await this.#primary.snapshot(path)
    else this.#snapshot = await this.#snapshot.append(await this.#logs())
    closedAfterTest(this.#snapshot)
  }

  async #open(): Promise<void> {
    const logs = await this.#logs()
    this.#workload.hasProcedures = true
    this.#primary = closedAfterTest(await Primary.open<Procedures>(this.#snapshot, logs, { procedures }))
    this.#frames = this.#primary.captureFrames()
    this.#byLogs = closedAfterTest(await Replica.open(this.#snapshot, logs))
    this.#byFrames = closedAfterTest(await Replica.open(this.#snapshot, logs))
  }

  async #close(): Promise<void> {
    this.#frames.close()
    await Promise.all([this.#primary.close(), this.#byLogs.close(), this.#byFrames.close()])
  }

  async #logs(): Promise<Log[]> {
    const names = readdirSync(this.#folder).filter((name) => name.endsWith('.log'))
    return Promise.all(names.sort().map((name) => Log.open(join(this.#folder, name))))
  }
}

async function promoted(replica: Replica): Promise<Primary<Procedures>> {
  return (await replica.intoPrimary()) as unknown as Primary<Procedures>
}

function describeRequest(request: Request): string {
  return JSON.stringify(request, (_, value) =>
    value instanceof Uint8Array ? `${value.byteLength} bytes` : value,
  )
}

describe('what random writes have found', () => {
  const schema =
    'CREATE TABLE t (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)'
  const insert = (id: number, parent: number | null = null, conflict = '') =>
    [`INSERT ${conflict} INTO t VALUES (?, ?)`, [id, parent]] as const
  const ids = async (primary: Primary) => (await primary.all('SELECT id FROM t')).map((row) => row.id)

  it('a transaction that cannot commit is rolled back, and others go on', async () => {
    const { primary } = await openPrimary(schema)
    const orphan = primary.transaction((connection) => connection.run(...insert(1, 99)))
    const after = primary.run(...insert(2))
    await expectSqlite(orphan, 'SQLITE_CONSTRAINT_FOREIGNKEY')
    await after
    expect(await ids(primary)).toEqual([2])
  })

  it('a write that could not be committed alone is not committed thanks to its neighbours', async () => {
    const { primary } = await openPrimary(schema)
    const orphan = primary.run(...insert(1, 2))
    const parent = primary.run(...insert(2))
    const child = primary.run(...insert(3, 2))
    await expectSqlite(orphan, 'SQLITE_CONSTRAINT_FOREIGNKEY')
    await Promise.all([parent, child])
    expect(await ids(primary)).toEqual([2, 3])
  })

  it('a transaction that SQLite has given up does not go on statement by statement', async () => {
    const { primary } = await openPrimary(schema)
    await primary.run(...insert(1))
    const given = primary.transaction(async (connection) => {
      await connection.run(...insert(2))
      await connection.run(...insert(1, null, 'OR ROLLBACK')).catch(() => {})
      await expectCode(connection.run(...insert(3)), 'ERR_REFUSED')
    })
    await expectCode(given, 'ERR_REFUSED')
    expect(await ids(primary)).toEqual([1])
  })

  it('a statement that fails with ON CONFLICT FAIL leaves nothing behind, whoever shares its transaction', async () => {
    const { primary } = await openPrimary(schema)
    await primary.run(...insert(12))
    const rows = 'INSERT OR FAIL INTO t (id) VALUES (10), (11), (12), (13)'
    const outcomes = await Promise.allSettled([
      primary.run(...insert(1)),
      primary.run(rows),
      primary.run(...insert(2)),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await ids(primary)).toEqual([1, 2, 12])
  })

  it('many statements that each give up the transaction take no more than their time', async () => {
    const { primary } = await openPrimary(schema)
    await primary.run(...insert(0))
    const writes = Array.from({ length: 6000 }, (_, index) =>
      index % 2 === 0 ? primary.run(...insert(0, null, 'OR ROLLBACK')) : primary.run(...insert(index)),
    )
    const outcomes = await Promise.allSettled(writes)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(3000)
    expect(await ids(primary)).toHaveLength(3001)
  })
})

describe.each([
  { pageSize: 512, stepCount: 100 },
  { pageSize: 1024, stepCount: 100 },
  { pageSize: 4096, stepCount: 100 },
  { pageSize: 65536, stepCount: 60 },
])('with pages of $pageSize bytes', ({ pageSize, stepCount }) => {
  it('does what SQLite does, and replicates it', () =>
    withSeed(`pages of ${pageSize} bytes`, async (random) => {
      const cluster = await Cluster.make(random, pageSize)
      try {
        for (let step = 0; step < stepCount; step += 1) await cluster.step()
        await cluster.finish()
      } catch (error) {
        console.log(cluster.history.slice(-15).join('\n'))
        throw error
      }
    }))
})
