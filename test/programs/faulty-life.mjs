// A small life of a database in which one system call fails: each step is tried, and tried again when it failed.
// What is left is looked at when all calls work again. One life for each line of the input; see faults.c.
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'
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

class Life {
  errors = []
  acks = []
  /** What errors say which file it was. */
  blamed = []
  /** Rows whose durable() has resolved. */
  durable = []
  written = 0
  isUpdated = false
  /** What did not work without a fault either, if there was such a thing. */
  gaveUp

  constructor(path, { kinds, errno }) {
    this.path = path
    // When a read fails with EIO, SQLite takes the page for damaged: unixRead() gives SQLITE_IOERR_CORRUPTFS, of which a
    // statement makes SQLITE_CORRUPT (sqlite3VdbeExec). It is read anew the next time.
    const isCorrupt = kinds === 'r' && errno === constants.errno.EIO
    this.expectedOfSqlite = new RegExp(
      `^SQLITE_(IOERR|FULL|CANTOPEN|READONLY${isCorrupt ? '|CORRUPT$' : ''})`,
    )
    mkdirSync(join(path, 'logs'), { recursive: true })
  }

  /** Whether an application has to expect it. */
  isExpected(error) {
    if (error instanceof MylibsqlError)
      return ['ERR_IO', 'ERR_CORRUPT', 'ERR_NOT_A_LOG', 'ERR_NOT_A_SNAPSHOT'].includes(error.code)
    return error?.name === 'SqliteError' && this.expectedOfSqlite.test(error.code)
  }

  /** The second attempt meets no fault any more, unless the fault lasts. */
  async attempt(step, action) {
    try {
      return await action()
    } catch (error) {
      this.errors.push(`${step}: ${describe(error)}`)
      if (!this.isExpected(error)) problems.push(`${step} failed with ${describe(error)}`)
      if (error?.code === 'ERR_IO') this.blamed.push(String(error.details.path))
    }
    order('off')
    try {
      return await action()
    } catch (error) {
      this.gaveUp ??= `${step} failed again with ${describe(error)}, after ${this.errors.at(-1)}`
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
    let primary = await this.attempt('Primary.open', () => Primary.open(snapshot, [], { path, readers: 1 }))
    const replica = await this.attempt('Replica.open', () => Replica.open(snapshot, [], { readers: 1 }))
    const kept = await this.attempt('Log.create', () =>
      Log.create(primary.lastFrameNo + 2, { pageSize: 65_536 }),
    )
    try {
      // So that there is something already when frames begin to be captured.
      await this.write(primary, 10)
      const frames = primary.captureFrames()
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
      const merged = await this.attempt('Log.merge', () => Log.merge(logs))
      await this.attempt('verify merged', () => merged.verify())
      await merged.close()
      const newer = await this.attempt('append', () => snapshot.append(logs))
      await this.attempt('copyTo', () => newer.copyTo(join(this.path, 'newer.db')))
      await newer.close()
      await this.attempt('stats', () => primary.stats())
      const rows = await this.attempt('get', () => replica.get('SELECT count(*) AS n FROM t'))
      if (rows.n !== this.written)
        problems.push(`the replica has ${rows.n} rows, ${this.written} were written`)
      const demoted = await this.attempt('intoReplica', () => primary.intoReplica())
      primary = demoted
      primary = await this.attempt('intoPrimary', () => demoted.intoPrimary())
      await this.attempt('run again', () => primary.run('UPDATE t SET bytes = NULL'))
      this.isUpdated = true
    } finally {
      const open = { kept, primary, replica, snapshot }
      for (const [name, each] of Object.entries(open)) {
        await this.attempt(`close ${name}`, () => each.close()).catch(() => {})
      }
      order('off')
    }
  }

  async write(primary, byteLength) {
    const id = this.written + 1
    const insert = () => primary.run('INSERT INTO t VALUES (?, zeroblob(?))', [id, byteLength])
    this.acks.push(await this.attempt('run', insert))
    this.written = id
  }

  async round(primary, replica, byteLength) {
    for (const size of [10, byteLength, 20]) await this.write(primary, size)
    const replicated = []
    await this.attempt('checkpoint', () =>
      primary.checkpoint(async (log) => {
        await log.copyTo(join(this.path, 'logs', `${String(log.startFrameNo).padStart(9, '0')}.log`))
        replicated.push(log)
      }),
    )
    for (const ack of this.acks.splice(0)) {
      await ack.durable()
      this.durable.push(ack.peek().lastInsertRowid)
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
    if (this.isUpdated) this.inspectWorkingFile()
    const snapshot = await Snapshot.open(join(this.path, 'base.db'))
    const primary = await Primary.open(snapshot, await this.logs())
    const ids = (await primary.all('SELECT id FROM t ORDER BY id')).map(({ id }) => id)
    if (ids.some((id, index) => id !== index + 1)) problems.push(`${ids} is no prefix of what was written`)
    if (ids.length < this.durable.length) problems.push(`${ids} is all that is left of ${this.durable}`)
    const check = await primary.get('PRAGMA integrity_check')
    if (check.integrity_check !== 'ok') problems.push(`the reopened database: ${check.integrity_check}`)
    await primary.close()
    await snapshot.close()
  }

  /** What a program sees that opens it when the primary has ended. */
  inspectWorkingFile() {
    const database = new Database(join(this.path, 'working.sqlite'))
    const rows = database.prepare('SELECT count(*), count(bytes) FROM t').raw().get()
    if (rows.join() !== `${this.written},0`) problems.push(`the working file has ${rows} of ${this.written}`)
    const check = database.pragma('integrity_check', { simple: true })
    if (check !== 'ok') problems.push(`the working file: ${check}`)
    database.close()
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
  const fault = JSON.parse(line)
  problems.length = 0
  lifeNo += 1
  const life = new Life(join(folder, String(lifeNo)), fault)
  order(`arm/${fault.kinds}/${fault.n}/${fault.errno}/${fault.count}`)
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
    // What cannot be removed goes with the directory, when the process ends.
    if (!fault.kinds.includes('d')) problems.push(`the temporary file ${path} was left behind`)
    rmSync(path)
  }
  const { errors, blamed, gaveUp } = life
  process.stdout.write(`${JSON.stringify({ trace, errors, blamed, gaveUp, problems })}\n`)
  rmSync(life.path, { recursive: true, force: true })
}
