// A procedure takes all of the memory that its thread may have.
import { Primary, Snapshot } from '../../dist/main/index.js'

const blank = await Snapshot.blank()
const options = { procedures: new URL('procedures.mjs', import.meta.url) }
const primary = await Primary.open(blank, [], options)
await primary.run('CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT)')
await primary.call('insertItems', 1, 3)
const logs = []
await primary.checkpoint((log) => logs.push(log))
const error = await primary.call('takeAllMemory').then(
  () => new Error('nothing was thrown'),
  (reason) => reason,
)
await primary.close()
const again = await Primary.open(blank, logs, options)
const { n } = await again.get('SELECT count(*) AS n FROM items')
await again.close()
process.stdout.write(`${JSON.stringify({ code: error.code, cause: error.cause?.code, rows: n })}\n`)
