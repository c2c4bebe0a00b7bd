// Vector search with sqlite-vec, and a function of one's own, on a primary and on a replica that follows it.
//   npm install mylibsql sqlite-vec
import { FileStore, Primary, Replica } from 'mylibsql'

const store = new FileStore('notes')
const setup = new URL('./setup.mjs', import.meta.url)
const primary = await Primary.open({ store, create: true, setup })
await primary.run('CREATE VIRTUAL TABLE IF NOT EXISTS notes USING vec0 (embedding float[3], +text TEXT)')

const vector = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer)
const insert = 'INSERT INTO notes (embedding, text) VALUES (?, ?)'
const ack = await primary.batch([
  { sql: insert, params: [vector(0, 0, 1), 'the sea'] },
  { sql: insert, params: [vector(0, 1, 0), 'the hills'] },
  { sql: insert, params: [vector(0, 0.9, 0.1), 'the mountains'] },
])

const replica = await Replica.follow(store, { setup })
await replica.waitFor(ack.frameNo)
const nearest = 'SELECT shout(text) AS text, distance FROM notes WHERE embedding MATCH ? AND k = 2'
for (const database of [primary, replica]) {
  for (const { text, distance } of await database.all<{ text: string; distance: number }>(nearest, [
    vector(0, 1, 0),
  ])) {
    console.log(text, distance.toFixed(2))
  }
}

await replica.close()
await primary.close()
await store.close()
