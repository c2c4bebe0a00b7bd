import { rm } from 'node:fs/promises'
import { FileStore, Primary, prune, Replica, restore } from 'mylibsql'

// A store keeps the history: here in a folder.
const store = new FileStore('history')

// A primary that stores by itself: its log goes to the store 10 ms after a write. What is durable has arrived there. A store
// that holds nothing is given the blank database to begin with.
const primary = await Primary.open({ store, create: true, checkpoint: { intervalMs: 10 } })
await primary.run('CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT)')
const ack = await primary.run('INSERT INTO users (name) VALUES (?)', ['Alice'])
await ack.durable()
const beforeBob = new Date()

// A replica, in this process or another one, that follows the store. After waitFor it reads what was written.
const replica = await Replica.follow(store)
const { frameNo } = await primary.run('INSERT INTO users (name) VALUES (?)', ['Bob'])
await replica.waitFor(frameNo)
console.log(await replica.all('SELECT name FROM users ORDER BY id'))

// The database as of a moment, or of a frame, as a plain SQLite file. One that is there is never replaced.
await rm('before-bob.db', { force: true })
await restore(store, 'before-bob.db', { at: beforeBob })

// Retention: any moment of the last seven days can be restored, what only older ones need is removed.
console.log(await prune(store, { keepMs: 7 * 24 * 3_600_000 }))

await replica.close()
await primary.close()
await store.close()
