/** Readers of which there is always one: they do not keep the WAL from being folded, and each of them is answered. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Primary, Replica } from 'mylibsql'
import { describe, expect, it, vi } from 'vitest'
import { iterateChunkRows, readerGapWalBytes } from '../src/protocol/limits.js'
import { expectReplicated, expectSameBytes, openPrimary, openReplica } from './support/database.js'

const mebibyte = 1024 * 1024
/** Many times what it comes to, which the speed of the machine decides. */
const walBytesMax = 1000 * mebibyte
const schema =
  "CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL); INSERT INTO blobs VALUES (1, x'00')"
const write = 'UPDATE blobs SET bytes = ? WHERE id = 1'
/** Reads the table, and then counts for a while. */
const slowly = (count: number) =>
  `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
   SELECT count(*) AS n, (SELECT count(*) FROM blobs) AS blobs FROM n`
/** Ends only by being interrupted. */
const endless = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
  SELECT count(*), (SELECT count(*) FROM blobs) FROM n`

type Readable = Pick<Primary, 'get' | 'iterate' | 'stats'> | Replica

/** A read that has been asked for. */
interface Reading {
  /** Resolves when it has begun, if that can be told. */
  readonly begun: Promise<unknown>
  finish(): Promise<void>
}

function queries(database: Readable): Reading {
  const row = database.get(slowly(1_000_000))
  const finish = async () => expect(await row).toEqual({ n: 1_000_000, blobs: 1 })
  return { begun: delay(20), finish }
}

function iterations(database: Readable): Reading {
  const rowCount = 2 * iterateChunkRows + 1
  const list = JSON.stringify(Array.from({ length: rowCount }, (_, i) => i))
  const rows = database.iterate<{ i: number }>('SELECT value AS i FROM json_each(?), blobs', [list])
  const first = rows.next()
  const finish = async () => {
    let count = 0
    for (let row = await first; !row.done; row = await rows.next()) {
      expect(await database.get('SELECT ? AS i FROM blobs', [row.value.i])).toEqual({ i: count })
      count += 1
    }
    expect(count).toBe(rowCount)
  }
  return { begun: first, finish }
}

/** One read begins, something is written, and the read before ends, until the WAL was folded, and a gap was made for it. */
async function untilFolded(
  database: Readable,
  begin: (database: Readable) => Reading,
  write: () => Promise<unknown>,
): Promise<void> {
  let isFolded = false
  let gapCount = 0
  let walBytesBefore = 0
  let last = begin(database)
  await last.begun
  // On a busy machine reads do not always overlap, and it is folded without one.
  while (!isFolded || gapCount === 0) {
    const next = begin(database)
    // In a gap it waits for the end of the other one.
    await Promise.race([next.begun, delay(60)])
    await write()
    await last.finish()
    last = next
    const { walBytes, walError, readerGapCount } = await database.stats()
    expect(walError).toBeUndefined()
    expect(walBytes).toBeLessThan(walBytesMax)
    gapCount = readerGapCount
    isFolded ||= walBytes < walBytesBefore
    walBytesBefore = walBytes
  }
  await last.finish()
  expect((await database.stats()).readerGapMs).toBeGreaterThan(0)
}

let fill = 0

/** Each blob is another one: SQLite does not write what is there already. */
function nextFill(): number {
  fill = (fill + 1) % 256
  return fill
}

async function writeMebibytes(primary: Primary, mebibytes: number): Promise<void> {
  for (let written = 0; written < mebibytes; written += 1) {
    await primary.run(write, [new Uint8Array(mebibyte).fill(nextFill())])
  }
}

it('queries that overlap let the WAL of a primary be folded', async () => {
  const source = await openPrimary(schema, { readers: 2 })
  const { primary } = source
  await untilFolded(primary, queries, () => writeMebibytes(primary, 8))
  await expectReplicated(source)
})

it('iterations that overlap, with a query for each row, let the WAL of a replica be folded', async () => {
  const source = await openPrimary(schema)
  const replica = await openReplica(source, { readers: 2 })
  await untilFolded(replica, iterations, async () => {
    await writeMebibytes(source.primary, 8)
    await source.primary.checkpoint((log) => replica.replicate(log))
  })
  await expectSameBytes(source.primary, replica)
})

it('queries that overlap let the WAL of a primary be folded in which there is always a transaction open', async () => {
  const source = await openPrimary(schema, { readers: 2 })
  const { primary } = source
  let isWriting = true
  const writing = (async () => {
    while (isWriting) {
      await primary.transaction(async (connection) => {
        await connection.run(write, [new Uint8Array(2 * mebibyte).fill(nextFill())])
        await delay(5)
        await connection.run('UPDATE blobs SET id = 1')
      })
    }
  })()
  await untilFolded(primary, queries, () => delay(10))
  isWriting = false
  await writing
  await expectReplicated(source)
})

it('queries that overlap let the WAL of a primary be folded whose transactions wait for queries of their own', async () => {
  const source = await openPrimary(schema, { readers: 2 })
  const { primary } = source
  let isWriting = true
  const writing = (async () => {
    while (isWriting) {
      await primary.transaction(async (connection) => {
        await connection.run(write, [new Uint8Array(4 * mebibyte).fill(nextFill())])
        expect(await primary.get('SELECT count(*) AS n FROM blobs')).toEqual({ n: 1 })
        await connection.run('UPDATE blobs SET id = 1')
      })
    }
  })()
  const startMs = performance.now()
  await untilFolded(primary, queries, () => delay(10))
  isWriting = false
  await writing
  // Reads were held for a small part of the time.
  expect((await primary.stats()).readerGapMs).toBeLessThan((performance.now() - startMs) / 2)
  await expectReplicated(source)
})

/** Writes until the WAL is that large, which it is once it cannot be folded. */
async function growWal(primary: Primary, byteCount: number): Promise<void> {
  while ((await primary.stats()).walBytes < byteCount) await writeMebibytes(primary, 4)
}

describe('with a large WAL and a query in the way that does not end', () => {
  /** The query holds the state before the load, so that the WAL is never folded. */
  async function heldPrimary() {
    const source = await openPrimary(schema, { readers: 2, closeTimeoutMs: 200 })
    const { primary } = source
    const signal = new AbortController()
    const query = primary.get(endless, [], { signal: signal.signal })
    query.catch(() => {})
    await growWal(primary, 100 * mebibyte)
    return { source, primary, query, stop: () => signal.abort(new Error('enough')) }
  }

  it('reads go on, and the WAL is folded when it is gone', async () => {
    const { source, primary, query, stop } = await heldPrimary()
    let isLoading = true
    const reads = (async () => {
      for (; isLoading; await delay(1)) expect(await primary.get(slowly(10))).toEqual({ n: 10, blobs: 1 })
    })()
    await growWal(primary, 160 * mebibyte)
    isLoading = false
    await reads
    expect((await primary.stats()).walError).toBeUndefined()
    stop()
    await expect(query).rejects.toThrow('enough')
    await vi.waitFor(
      async () => {
        await writeMebibytes(primary, 1)
        expect((await primary.stats()).walBytes).toBeLessThan(readerGapWalBytes)
      },
      { timeout: 30_000 },
    )
    await expectReplicated(source)
  })

  it('reads can be given up, and the primary can be closed', async () => {
    const { primary, query } = await heldPrimary()
    const outcomes: unknown[] = []
    const late: Promise<unknown>[] = []
    const writing = writeMebibytes(primary, 60)
    for (let n = 0; n < 200; n += 1) {
      late.push(
        primary.get(slowly(400_000), [], { timeoutMs: 20 }).catch((error: unknown) => outcomes.push(error)),
      )
      await delay(2)
    }
    await Promise.all(late)
    expect(outcomes.length).toBeGreaterThan(0)
    for (const error of outcomes) expect(error).toMatchObject({ code: 'ERR_TIMEOUT' })
    await writing
    await primary.close()
    await expect(query).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  })
})
