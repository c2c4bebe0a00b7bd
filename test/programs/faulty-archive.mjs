// A primary on a FileStore that adds logs to a segment, of which one system call after the other fails (see faults.c). Tells
// what came of each: whatever fails, what was acknowledged is in the history, once and in order, and writing goes on.
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, Primary, Snapshot } from '../../dist/main/index.js'

const { folder, errno, count, blobBytes } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)
const insert = 'INSERT INTO t (n, blob) VALUES (?, ?)'

function order(path) {
  try {
    openSync(`/faults/${path}`)
  } catch {}
}

async function write(primary, n, size = 10) {
  const ack = await primary.run(insert, [n, Buffer.alloc(size)])
  await ack.durable()
}

/** What somebody else finds who opens the store. */
async function found(dir) {
  const store = new FileStore(dir)
  const primary = await Primary.open({ store })
  const rows = await primary.all('SELECT n FROM t ORDER BY n')
  const [{ integrity_check: integrity }] = await primary.all('PRAGMA integrity_check')
  await primary.close()
  await store.close()
  return { rows: rows.map(({ n }) => n), integrity }
}

async function failing(n) {
  const dir = join(folder, String(n))
  mkdirSync(dir)
  const store = new FileStore(dir)
  await store.putSnapshot(await Snapshot.blank())
  const primary = await Primary.open({ store, checkpoint: { frames: 1 } })
  await primary.run('CREATE TABLE t (n INTEGER PRIMARY KEY, blob)')
  // Until logs go to a segment.
  let written = 0
  while (!(await store.logs()).some(({ isOpen }) => isOpen)) await write(primary, written++)
  for (let more = 0; more < 2; more++) await write(primary, written++)
  const trace = process.env.FAULTS_TRACE
  writeFileSync(trace, '')
  order(`arm/w/${n}/${errno}/${count}`)
  const release = setTimeout(() => order('off'), 100)
  for (let more = 0; more < 4; more++) await write(primary, written++, blobBytes)
  clearTimeout(release)
  order('off')
  const calls = readFileSync(trace, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
  const { failureCount } = (await primary.stats()).archive
  await write(primary, written++)
  // As somebody finds it who comes while this one is there, and is the last one.
  const after = await found(dir)
  await primary.close().catch(() => {})
  await store.close()
  rmSync(dir, { recursive: true })
  const failed = calls.filter((line) => line.startsWith('failed ')).map((line) => line.replaceAll(dir, ''))
  return { n, failed, calls: calls.map((line) => line.replaceAll(dir, '')), failureCount, written, ...after }
}

for (let n = 1; ; n += 1) {
  const result = await failing(n)
  say(result)
  if (result.failed.length === 0) break
}
