// What happens on a disk of 4 MiB that runs full, and when there is room again. Prints what it saw as JSON.
import { openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { init, Log, Primary, Replica, Snapshot } from '../../dist/main/index.js'

const [folder, scenario] = process.argv.slice(2)
const mebibyte = 1024 * 1024
const filler = join(folder, 'filler')
/** Where nothing could be mounted, a preloaded library watches the room: see faults.c. */
const isMounted = process.env.FAULTS_PREFIX === undefined

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

function fill(byteLength) {
  if (isMounted) return writeFileSync(filler, new Uint8Array(byteLength))
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  )
  const used = files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
  order(`room/${4 * mebibyte - byteLength - used}`)
}

const filesBelow = (path) => readdirSync(path, { recursive: true })

function makeRoom() {
  if (isMounted) rmSync(filler)
  else order('off')
}

const insert = 'INSERT INTO t (bytes) VALUES (?)'
const codeOf = (promise) =>
  promise.then(
    () => 'ok',
    (error) => `${error.constructor.name} ${error.code}`,
  )
const pagesOf = async (database, name) => {
  const snapshot = await database.snapshot(join('/tmp', `small-disk-${process.pid}-${name}`))
  const bytes = readFileSync(snapshot.path).subarray(0, snapshot.pageCount * snapshot.pageSize)
  rmSync(snapshot.path)
  return bytes
}

const { snapshot } = await init('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)')
const seen = {}

const scenarios = {
  /** The working file is on the small disk. */
  async writes() {
    fill(2 * mebibyte)
    const primary = await Primary.open(snapshot, [], { path: join(folder, 'working.sqlite') })
    const large = new Uint8Array(3 * mebibyte)
    const ask = [
      primary.run(insert, [new Uint8Array(10)]),
      primary.run(insert, [large]),
      primary.run(insert, [null]),
    ]
    seen.group = await Promise.all(ask.map(codeOf))
    seen.rows = (await primary.get('SELECT count(*) AS n FROM t')).n
    makeRoom()
    seen.again = await codeOf(primary.run(insert, [new Uint8Array(mebibyte)]))
    const logs = []
    await primary.checkpoint((log) => logs.push(log))
    const replica = await Replica.open(snapshot, logs)
    seen.isSame = (await pagesOf(primary, 'a')).equals(await pagesOf(replica, 'b'))
    seen.integrity = (await primary.get('PRAGMA integrity_check')).integrity_check
    await primary.close()
    await replica.close()
  },

  /** The WAL alone fills the disk, long before it would be folded. */
  async walFills() {
    fill(mebibyte)
    // In the file, which need not grow for it.
    const made = await init('CREATE TABLE t (bytes BLOB); INSERT INTO t VALUES (zeroblob(100000))')
    const primary = await Primary.open(made.snapshot, [], { path: join(folder, 'working.sqlite') })
    const update = (n) => primary.run('UPDATE t SET bytes = ?', [new Uint8Array(100_000).fill(n % 256)])
    const codes = new Set()
    let n = 0
    while (!codes.has('SqliteError SQLITE_FULL') && n < 1000) codes.add(await codeOf(update(n++)))
    seen.codes = [...codes]
    // What is full is emptied in the background.
    for (let tries = 0; tries < 100 && seen.again !== 'ok'; tries += 1) {
      seen.again = await codeOf(update(n++))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    seen.integrity = (await primary.get('PRAGMA integrity_check')).integrity_check
    await primary.close()
  },

  /** Temporary files are on the small disk, the working file is not. */
  async seals() {
    const path = join('/tmp', `small-disk-${process.pid}.sqlite`)
    const primary = await Primary.open(snapshot, [], { path })
    await primary.run(insert, [new Uint8Array(2.5 * mebibyte)])
    fill(2 * mebibyte)
    const logs = []
    const save = (log) => void logs.push(log)
    seen.checkpoint = await codeOf(primary.checkpoint(save))
    seen.savedWhenFull = logs.length
    const ack = await primary.run(insert, [null])
    makeRoom()
    seen.again = await codeOf(primary.checkpoint(save))
    await ack.durable()
    seen.frameCount = logs.reduce((sum, log) => sum + log.frameCount, 0)
    seen.expectedFrameCount = primary.lastFrameNo - snapshot.lastFrameNo
    const before = filesBelow(folder)
    fill(mebibyte)
    seen.merge = await codeOf(Log.merge(logs))
    makeRoom()
    seen.left = filesBelow(folder).filter((name) => !before.includes(name))
    await primary.close()
    for (const suffix of ['', '-mylibsql']) rmSync(`${path}${suffix}`)
  },

  /** A replica, and files that are made, on the small disk. */
  async replicates() {
    const primary = await Primary.open(snapshot)
    await primary.run(insert, [new Uint8Array(2.5 * mebibyte)])
    const logs = []
    await primary.checkpoint((log) => logs.push(log))
    const replica = await Replica.open(snapshot, [], { path: join(folder, 'replica.sqlite') })
    fill(2 * mebibyte)
    seen.replicate = await codeOf(replica.replicate(logs[0]))
    seen.rows = (await replica.get('SELECT count(*) AS n FROM t')).n
    seen.snapshot = await codeOf(primary.snapshot(join(folder, 'copy.db')))
    seen.copyTo = await codeOf(logs[0].copyTo(join(folder, 'copy.log')))
    seen.left = readdirSync(folder).filter((name) => name.startsWith('copy'))
    makeRoom()
    seen.again = await codeOf(replica.replicate(logs[0]))
    seen.isSame = (await pagesOf(primary, 'a')).equals(await pagesOf(replica, 'b'))
    await primary.close()
    await replica.close()
  },

  /** The WAL of a replica fills the disk, long before it would be folded. */
  async replicaFills() {
    const made = await init('CREATE TABLE t (bytes BLOB); INSERT INTO t VALUES (zeroblob(100000))')
    const primary = await Primary.open(made.snapshot)
    const replica = await Replica.open(made.snapshot, [], { path: join(folder, 'replica.sqlite') })
    fill(mebibyte)
    let log
    for (let n = 1; seen.code === undefined && n < 1000; n += 1) {
      await primary.run('UPDATE t SET bytes = ?', [new Uint8Array(100_000).fill(n)])
      await primary.checkpoint((saved) => {
        log = saved
      })
      await replica.replicate(log).catch(({ code, cause }) => {
        seen.code = code
        seen.cause = cause.code
      })
    }
    // What is full is emptied in the background.
    for (let tries = 0; tries < 100 && seen.again !== 'ok'; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      seen.again = await codeOf(replica.replicate(log))
    }
    seen.isSame = (await pagesOf(primary, 'a')).equals(await pagesOf(replica, 'b'))
    await primary.close()
    await replica.close()
  },

  /** A disk that cannot be written to. */
  async refuses() {
    // A path below a file is one that nobody can write to.
    const readOnly = join(folder, 'read-only')
    if (!isMounted) writeFileSync(readOnly, '')
    const primary = await Primary.open(snapshot)
    await primary.run(insert, [null])
    const logs = []
    await primary.checkpoint((log) => logs.push(log))
    seen.codes = await Promise.all(
      [
        Primary.open(snapshot, [], { path: join(readOnly, 'working.sqlite') }),
        Replica.open(snapshot, [], { path: join(readOnly, 'working.sqlite') }),
        primary.snapshot(join(readOnly, 'copy.db')),
        logs[0].copyTo(join(readOnly, 'copy.log')),
        snapshot.copyTo(join(readOnly, 'snapshot.db')),
        Snapshot.open(join(readOnly, 'nothing.db')),
        Log.open(join(readOnly, 'nothing.log')),
      ].map(codeOf),
    )
    seen.left = isMounted ? readdirSync(readOnly) : []
    seen.goesOn = await codeOf(primary.run(insert, [null]))
    await primary.close()
  },
}

await scenarios[scenario]()
console.log(JSON.stringify(seen))
