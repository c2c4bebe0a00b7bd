// A small life of a database in which one system call fails: each step is tried, and tried again when it failed.
// What is left is looked at when all calls work again. One life for each line of the input; see faults.c.
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { init, Log, MylibsqlError, Primary, Replica, Snapshot } from '../../dist/main/index.js'

const { folder } = JSON.parse(process.argv[2])
const problems = []
process.on('unhandledRejection', (reason) => problems.push(`unhandled rejection: ${describe(reason)}`))

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

const describe = (error) => `${error?.name} ${error?.code ?? ''} ${error?.message}`
/** Errors that an application has to expect. */
const isExpected = (error) =>
  (error instanceof MylibsqlError &&
    ['ERR_IO', 'ERR_CORRUPT', 'ERR_NOT_A_LOG', 'ERR_NOT_A_SNAPSHOT'].includes(error.code)) ||
  (error?.name === 'SqliteError' && /^SQLITE_(IOERR|FULL|CANTOPEN|READONLY)/.test(error.code))

class Life {
  errors = []
  /** Rows whose durable() has resolved. */
  durable = []
  written = 0
  /** What did not work without a fault either, if there was such a thing. */
  gaveUp

  constructor(path) {
    this.path = path
    mkdirSync(join(path, 'logs'), { recursive: true })
  }

  /** The second attempt meets no fault any more, unless the fault lasts. */
  async attempt(step, action) {
    try {
      return await action()
    } catch (error) {
      this.errors.push(`${step}: ${describe(error)}`)
      if (!isExpected(error)) problems.push(`${step} failed with ${describe(error)}`)
    }
    order('off')
    try {
      return await action()
    } catch (error) {
      this.gaveUp = `${step} failed again with ${describe(error)}, after ${this.errors.at(-1)}`
      throw error
    }
  }

  async live() {
    const base = join(this.path, 'base.db')
    const made = await this.attempt('init', () =>
      init('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)', { pageSize: 65_536 }),
    )
    await this.attempt('moveTo', () => made.snapshot.moveTo(base))
    await made.log.close()
    const snapshot = await this.attempt('Snapshot.open', () => Snapshot.open(base))
    const path = join(this.path, 'working.sqlite')
    const primary = await this.attempt('Primary.open', () => Primary.open(snapshot, [], { path, readers: 1 }))
    const replica = await this.attempt('Replica.open', () => Replica.open(snapshot, [], { readers: 1 }))
    const frames = primary.captureFrames()
    const kept = await this.attempt('Log.create', () =>
      Log.create(primary.lastFrameNo + 1, { pageSize: 65_536 }),
    )
    try {
      for (const byteLength of [300_000, 17_000_000]) await this.round(primary, replica, byteLength)
      for (let batch = frames.tryNext(); batch !== undefined; batch = frames.tryNext()) {
        const next = batch
        await this.attempt('pushFrames', () => kept.pushFrames(next))
      }
      await this.attempt('verify', () => kept.verify())
      const imported = await this.attempt('fromDatabase', () => Snapshot.fromDatabase(base))
      await imported.close()
      await this.attempt('snapshot', async () => (await primary.snapshot(join(this.path, 'copy.db'))).close())
      const logs = await this.attempt('Log.open', () => this.logs())
      const newer = await this.attempt('append', () => snapshot.append(logs))
      await this.attempt('copyTo', () => newer.copyTo(join(this.path, 'newer.db')))
      await newer.close()
      await this.attempt('stats', () => primary.stats())
      const rows = await this.attempt('get', () => replica.get('SELECT count(*) AS n FROM t'))
      if (rows.n !== this.written)
        problems.push(`the replica has ${rows.n} rows, ${this.written} were written`)
      const demoted = await this.attempt('intoReplica', () => primary.intoReplica())
      const promoted = await this.attempt('intoPrimary', () => demoted.intoPrimary())
      await this.attempt('run again', () => promoted.run('UPDATE t SET bytes = NULL'))
      await this.attempt('close', () => promoted.close())
    } finally {
      frames.close()
      await kept.close()
      await this.attempt('close the primary', () => primary.close())
      await this.attempt('close the replica', () => replica.close())
      await snapshot.close()
      order('off')
    }
  }

  async round(primary, replica, byteLength) {
    const acks = []
    for (const size of [10, byteLength, 20]) {
      const id = this.written + 1
      const insert = () => primary.run('INSERT INTO t VALUES (?, zeroblob(?))', [id, size])
      acks.push([id, await this.attempt('run', insert)])
      this.written = id
    }
    const replicated = []
    await this.attempt('checkpoint', () =>
      primary.checkpoint(async (log) => {
        await log.copyTo(join(this.path, 'logs', `${String(log.startFrameNo).padStart(9, '0')}.log`))
        replicated.push(log)
      }),
    )
    for (const [id, ack] of acks) {
      await ack.durable()
      this.durable.push(id)
    }
    for (const log of replicated) {
      await this.attempt('replicate', () => replica.replicate(log))
      await log.close()
    }
  }

  logs() {
    const names = readdirSync(join(this.path, 'logs')).filter((name) => name.endsWith('.log'))
    return Promise.all(names.sort().map((name) => Log.open(join(this.path, 'logs', name))))
  }

  /** Nothing fails now. */
  async inspect() {
    const names = [...readdirSync(this.path), ...readdirSync(join(this.path, 'logs'))]
    for (const name of names) if (name.endsWith('.tmp')) problems.push(`${name} was left behind`)
    for (const name of ['copy.db', 'newer.db']) {
      if (existsSync(join(this.path, name))) await (await Snapshot.open(join(this.path, name))).close()
    }
    if (!existsSync(join(this.path, 'base.db'))) return
    const snapshot = await Snapshot.open(join(this.path, 'base.db'))
    const primary = await Primary.open(snapshot, await this.logs())
    const ids = (await primary.all('SELECT id FROM t ORDER BY id')).map(({ id }) => id)
    if (ids.some((id, index) => id !== index + 1)) problems.push(`${ids} is no prefix of what was written`)
    if (ids.length < this.durable.length) problems.push(`${ids} is all that is left of ${this.durable}`)
    await primary.close()
    await snapshot.close()
  }
}

let lifeNo = 0
const temporaryFiles = () => {
  const [name] = readdirSync(process.env.TMPDIR).filter((each) => each.startsWith('mylibsql-'))
  if (name === undefined) return []
  const directory = join(process.env.TMPDIR, name)
  return readdirSync(directory)
    .filter((each) => each !== 'lock')
    .map((each) => join(directory, each))
}
for await (const line of createInterface({ input: process.stdin })) {
  const { kinds, n, errno, count } = JSON.parse(line)
  problems.length = 0
  lifeNo += 1
  const life = new Life(join(folder, String(lifeNo)))
  order(`arm/${kinds}/${n}/${errno}/${count}`)
  try {
    await life.live()
  } catch {
    // Noted, with what it was that failed.
  }
  order('off')
  const trace = readFileSync(process.env.FAULTS_TRACE, 'utf8').split('\n').slice(0, -1)
  try {
    await life.inspect()
  } catch (error) {
    problems.push(`what is left cannot be opened: ${describe(error)}`)
  }
  await new Promise((resolve) => setImmediate(resolve))
  for (const path of temporaryFiles()) {
    problems.push(`the temporary file ${path} was left behind`)
    rmSync(path)
  }
  const report = { trace, errors: life.errors, gaveUp: life.gaveUp, problems }
  process.stdout.write(`${JSON.stringify(report)}\n`)
  rmSync(life.path, { recursive: true, force: true })
}
