import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase, randomFrom, temporaryDirectory } from './addon.js'

interface Folded {
  frameCount: number
  foldedCount: number
}

/** A database that the addon folds, and one that SQLite does: whatever happens to one happens to the other. */
class Twins {
  readonly #directory = temporaryDirectory()
  readonly #own: ReturnType<typeof openDatabase>
  readonly #stock: Database.Database
  #readers: Database.Database[][] = []

  constructor(pageSize: number) {
    this.#own = openDatabase(join(this.#directory, 'own.db'), { pageSize, guard: false })
    this.#stock = this.#connect(join(this.#directory, 'stock.db'))
    this.#stock.pragma(`page_size = ${pageSize}`)
    this.#stock.pragma('journal_mode = WAL')
    for (const db of this.#both()) db.pragma('wal_autocheckpoint = 0')
  }

  exec(sql: string): void {
    for (const db of this.#both()) db.exec(sql)
  }

  get readerCount(): number {
    return this.#readers.length
  }

  /** Begins to read, and goes on until stopReading. */
  read(): void {
    const pair = this.#both().map((db) => this.#connect(db.name))
    for (const db of pair) db.exec('BEGIN; SELECT count(*) FROM sqlite_schema')
    this.#readers.push(pair)
  }

  stopReading(index: number): void {
    for (const db of this.#readers.splice(index, 1)[0] ?? []) db.close()
  }

  /** What each reader sees is the same in both, and whole. */
  expectSameReads(): void {
    for (const pair of this.#readers) {
      const [own, stock] = pair.map((db) => [
        db.pragma('integrity_check', { simple: true }),
        db.prepare('SELECT count(*), sum(length(text)), max(id) FROM t').raw().get(),
      ])
      expect(own?.[0]).toBe('ok')
      expect(own).toEqual(stock)
    }
  }

  async fold(inBackground: boolean): Promise<{ own: Folded; stock: Folded }> {
    const { wal } = this.#own
    const own = inBackground ? await wal.fold() : wal.foldSync('passive')
    const [result] = this.#stock.pragma('wal_checkpoint(PASSIVE)') as [{ log: number; checkpointed: number }]
    return { own, stock: { frameCount: result.log, foldedCount: result.checkpointed } }
  }

  /** Closes all readers first: reading the file here drops the locks of this process. */
  files(): Buffer[] {
    while (this.#readers.length > 0) this.stopReading(0)
    return this.#both().map(({ name }) => readFileSync(name))
  }

  #both(): [Database.Database, Database.Database] {
    return [this.#own.db, this.#stock]
  }

  #connect(path: string): Database.Database {
    const db = new Database(path)
    onTestFinished(() => void db.close())
    return db
  }
}

describe.each([512, 4096, 65536])('fold, pages of %d bytes', (pageSize) => {
  test.each([1, 2, 3])('does what a passive checkpoint of SQLite does, seed %d', async (seed) => {
    const random = randomFrom(seed)
    const upTo = (count: number) => Math.floor(random() * count)
    const twins = new Twins(pageSize)
    twins.exec('PRAGMA auto_vacuum = INCREMENTAL; CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
    let partialCount = 0
    let wholeCount = 0
    for (let step = 0; step < 150; step++) {
      const text = `printf('%.${upTo(3 * pageSize)}c', 'x')`
      const choice = random()
      if (choice < 0.25) twins.exec(`INSERT INTO t (text) VALUES (${text}), (${text})`)
      else if (choice < 0.4) twins.exec(`UPDATE t SET text = ${text} WHERE id % ${2 + upTo(9)} = 0`)
      else if (choice < 0.45)
        twins.exec(`DELETE FROM t WHERE id % ${2 + upTo(5)} = 1; PRAGMA incremental_vacuum`)
      else if (choice < 0.5) twins.exec('VACUUM')
      else if (choice < 0.6 && twins.readerCount < 6) twins.read()
      else if (choice < 0.75 && twins.readerCount > 0) twins.stopReading(upTo(twins.readerCount))
      else {
        const { own, stock } = await twins.fold(random() < 0.5)
        expect(own, `step ${step}`).toEqual(stock)
        if (own.foldedCount < own.frameCount) partialCount++
        else wholeCount++
      }
      if (step % 10 === 0) twins.expectSameReads()
    }
    twins.expectSameReads()
    expect(Math.min(partialCount, wholeCount)).toBeGreaterThan(3)
    while (twins.readerCount > 0) twins.stopReading(0)
    const { own, stock } = await twins.fold(false)
    expect(own).toEqual(stock)
    const [ownFile, stockFile] = twins.files()
    expect(stockFile !== undefined && ownFile?.equals(stockFile)).toBe(true)
  })
})
