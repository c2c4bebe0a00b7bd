// Writes without pause, and tells which writes are durable, until it is killed. Half of them become durable because
// the parent keeps their frames, half because of checkpoints.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Log, Primary, Snapshot } from '../../dist/main/index.js'

const { folder, seed, isReplicated } = JSON.parse(process.argv[2])
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)

const names = readdirSync(join(folder, 'logs'))
  .filter((name) => name.endsWith('.log'))
  .sort()
const logs = await Promise.all(names.map((name) => Log.open(join(folder, 'logs', name))))
// Half of them keep their working file, which the next one finds.
const options = seed % 2 === 0 ? {} : { path: join(folder, 'working.sqlite') }
const primary = await Primary.open(await Snapshot.open(join(folder, 'base.db')), logs, options)
const { last } = await primary.get('SELECT coalesce(max(id), 0) AS last FROM writes')
say({ kind: 'open', last, path: primary.path })

if (isReplicated) {
  const frames = primary.captureFrames()
  createInterface({ input: process.stdin }).on('line', (line) => frames.ackReplicated(Number(line)))
  frames.subscribe({
    next: ({ bytes, pageSize, startFrameNo, startChecksum }) => {
      const base64 = Buffer.from(bytes).toString('base64')
      say({ kind: 'frames', base64, pageSize, startFrameNo, startChecksum: String(startChecksum) })
    },
    error: () => {},
  })
}

const clientCount = 1 + (seed % 40)
let id = last
async function client() {
  for (;;) {
    id += 1
    const mine = id
    const bytes = Buffer.alloc((mine * 7919) % (mine % 50 === 0 ? 200_000 : 500), mine % 251)
    const ack = await primary.batch([
      { sql: 'INSERT INTO writes VALUES (?, ?)', params: [mine, bytes] },
      { sql: 'UPDATE counter SET n = n + 1' },
    ])
    ack.durable().then(() => say({ kind: 'durable', id: mine }))
    if (mine % 97 === 0) await ack.durable()
  }
}
for (let index = 0; index < clientCount; index += 1) void client()

for (;;) {
  // With replication, checkpoints are rare: most writes are durable because of the parent.
  await new Promise((resolve) => setTimeout(resolve, isReplicated ? 150 : seed % 20))
  await primary.checkpoint((log) =>
    log.copyTo(join(folder, 'logs', `${String(log.startFrameNo).padStart(12, '0')}.log`)),
  )
}
