import { mkdir } from 'node:fs/promises'
import { init, Log, Primary, Replica, Snapshot } from 'mylibsql'

await mkdir('store', { recursive: true })

// Initialize a new database: its first snapshot, and the log that led to it.
const { snapshot, log } = await init('CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)')

// Store both durably. The snapshot already includes the log; with the log, a blank snapshot becomes this one.
// (A file of that name is replaced: run twice, this begins anew.)
await snapshot.moveTo('store/0.db')
await log.copyTo('store/0.log')

// Open a primary from the latest snapshot, and the logs behind it (none yet).
const primary = await Primary.open(snapshot)

// Write. The result can be peeked at once; `durable()` resolves when the write is safely checkpointed.
const ack = await primary.run('INSERT INTO users (name) VALUES (?)', ['Alice'])
console.log('inserted as', ack.peek().lastInsertRowid, 'durable:', ack.isDurable)

// Checkpoint: save the log wherever you like. Writers go on meanwhile.
await primary.checkpoint((log) => log.copyTo('store/1.log'))
await ack.durable()
console.log('durable:', ack.isDurable)

// Open a read-only replica from the snapshot and the logs, and query it.
const replica = await Replica.open(await Snapshot.open('store/0.db'), [await Log.open('store/1.log')])
console.log(await replica.get('SELECT count(*) AS users FROM users'))

// When a new log arrives, apply it. Queries go on meanwhile.
await primary.transaction(async (connection) => {
  await connection.run('INSERT INTO users (name) VALUES (?)', ['Bob'])
  await connection.run('INSERT INTO users (name) VALUES (?)', ['Carol'])
})
await primary.checkpoint((log) => log.copyTo('store/2.log'))
await replica.replicate(await Log.open('store/2.log'))
console.log(await replica.all('SELECT name FROM users ORDER BY id'))

await replica.close()
await primary.close()
