/** The WAL of a working file: small under any load, and never reset with a frame in it that is nowhere else. */
import { closeSync, openSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from 'mylibsql'
import { type Primary, Replica } from 'mylibsql'
import { describe, expect, it, vi } from 'vitest'
import { Child } from './support/child.js'
import {
  closedAfterTest,
  expectReplicated,
  expectSameBytes,
  openPrimary,
  openReplica,
} from './support/database.js'
import { expectCode } from './support/errors.js'

const mebibyte = 1024 * 1024
/** What the WAL is let grow to, and what is committed while it is folded. */
const walBytesMax = 100 * mebibyte
/** More than that, so that a WAL which is never emptied would be seen. */
const loadMebibytes = 120
/** A WAL that was emptied meanwhile has less; a busy machine may be late to do so. */
const loadedWalBytesMax = 110 * mebibyte
const schema = 'CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)'
const insert = 'INSERT INTO blobs (bytes) VALUES (?)'
const blob = (byteLength: number, fill = 1) => new Uint8Array(byteLength).fill(fill)

/** Writes this much in many transactions; returns the largest WAL that was seen. */
async function writeLoad(primary: Pick<Primary, 'run' | 'stats'>, megabytes: number): Promise<number> {
  let written = 0
  let walBytesSeen = 0
  const client = async () => {
    while (written < megabytes * mebibyte) {
      written += 100_000
      await primary.run(insert, [blob(100_000, written % 251)])
    }
  }
  const observer = async () => {
    while (written < megabytes * mebibyte) {
      walBytesSeen = Math.max(walBytesSeen, (await primary.stats()).walBytes)
      await primary.run('DELETE FROM blobs WHERE id % 7 = 1')
    }
  }
  await Promise.all([...Array.from({ length: 8 }, client), observer()])
  return walBytesSeen
}

describe('under a steady load', () => {
  it('the WAL stays small, with checkpoints all the time', async () => {
    const source = await openPrimary(schema)
    let isWriting = true
    const checkpoints = (async () => {
      while (isWriting) await source.save()
    })()
    const walBytes = await writeLoad(source.primary, loadMebibytes)
    isWriting = false
    await checkpoints
    expect(walBytes).toBeLessThan(loadedWalBytesMax)
    expect(source.logs.length).toBeGreaterThan(2)
    await expectReplicated(source)
  })

  it('the WAL stays small without a checkpoint, and the log grows', async () => {
    const source = await openPrimary(schema)
    const walBytes = await writeLoad(source.primary, loadMebibytes)
    expect(walBytes).toBeLessThan(loadedWalBytesMax)
    const { unsavedBytes, walError } = await source.primary.stats()
    expect(unsavedBytes).toBeGreaterThan(loadMebibytes * mebibyte)
    expect(walError).toBeUndefined()
    await expectReplicated(source)
    expect((await source.primary.stats()).unsavedBytes).toBe(0)
  })

  it('the WAL stays small, with interactive transactions', async () => {
    const source = await openPrimary(schema)
    const { primary } = source
    let walBytes = 0
    for (let written = 0; written < loadMebibytes; written += 1) {
      await primary.transaction(async (connection) => {
        await connection.run(insert, [blob(mebibyte)])
        await connection.run('DELETE FROM blobs WHERE id % 2 = 1')
      })
      walBytes = Math.max(walBytes, (await primary.stats()).walBytes)
    }
    expect(walBytes).toBeLessThan(loadedWalBytesMax)
    await expectReplicated(source)
  })

  it('the WAL of a replica stays small', async () => {
    const source = await openPrimary(schema)
    const replica = await openReplica(source)
    const frames = source.primary.captureFrames()
    let walBytes = 0
    const replication = (async () => {
      for await (const batch of frames) {
        await replica.replicateFrames(batch)
        walBytes = Math.max(walBytes, (await replica.stats()).walBytes)
      }
    })()
    await writeLoad(source.primary, loadMebibytes)
    await vi.waitFor(() => expect(replica.lastFrameNo).toBe(source.primary.lastFrameNo), { timeout: 20_000 })
    frames.close()
    await replication
    expect(walBytes).toBeLessThan(loadedWalBytesMax)
    await expectSameBytes(source.primary, replica)
  })
})

describe('a reader that stays', () => {
  it('holds the WAL of a primary, loses nothing, and lets it go', async () => {
    const source = await openPrimary(schema)
    const { primary } = source
    await primary.batch(Array.from({ length: 1000 }, () => ({ sql: insert, params: [blob(10)] })))
    const rows = primary.iterate('SELECT id FROM blobs')
    await rows.next()
    await writeLoad(primary, 130)
    expect((await primary.stats()).walBytes).toBeGreaterThan(walBytesMax)
    let count = 1
    for await (const _ of rows) count += 1
    expect(count).toBe(1000)
    const walBytes = await shrunkWal(primary)
    expect(walBytes).toBeLessThan(walBytesMax)
    await expectReplicated(source)
  })

  it('of another process does the same', async () => {
    const source = await openPrimary(schema)
    const { primary } = source
    await primary.run(insert, [blob(10)])
    const shell = new Child<{ rows: unknown[] }>('sql-shell.mjs', { argument: { path: primary.path } })
    const ask = async (sql: string) => {
      shell.send(sql)
      return (await shell.expect()).rows
    }
    await ask('BEGIN')
    expect(await ask('SELECT count(*) AS n FROM blobs')).toEqual([{ n: 1 }])
    await writeLoad(primary, 130)
    expect(await ask('SELECT count(*) AS n FROM blobs')).toEqual([{ n: 1 }])
    expect((await primary.stats()).walBytes).toBeGreaterThan(walBytesMax)
    await ask('COMMIT')
    expect(await shrunkWal(primary)).toBeLessThan(walBytesMax)
    expect(await ask('PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }])
    expect(await ask('SELECT count(*) AS n FROM blobs')).toEqual([
      await primary.get('SELECT count(*) AS n FROM blobs'),
    ])
    await expectReplicated(source)
    await shell.end()
  })

  it('holds the WAL of a replica, which goes on, and lets it go', async () => {
    const source = await openPrimary(schema)
    const replica = await openReplica(source)
    const replicate = () => source.primary.checkpoint((log) => replica.replicate(log))
    await source.primary.run(insert, [blob(10)])
    await replicate()
    const count = 'SELECT count(*) AS n FROM blobs'
    await replica.withConnection(async (connection) => {
      expect(await connection.get(count)).toEqual({ n: 1 })
      for (let round = 0; round < 6; round += 1) {
        await writeLoad(source.primary, 20)
        await replicate()
      }
      expect(await connection.get(count)).toEqual({ n: 1 })
      expect((await replica.stats()).walBytes).toBeGreaterThan(walBytesMax)
    })
    expect(await replica.get(count)).toEqual(await source.primary.get(count))
    await vi.waitFor(
      async () => {
        await writeLoad(source.primary, 6)
        await replicate()
        expect((await replica.stats()).walBytes).toBeLessThan(walBytesMax)
      },
      { timeout: 30_000 },
    )
    await expectSameBytes(source.primary, replica)
  })
})

/** Writes until the WAL has been started over. */
async function shrunkWal(primary: Primary): Promise<number> {
  await writeLoad(primary, 10)
  return vi.waitFor(
    async () => {
      await primary.run(insert, [blob(100_000)])
      const { walBytes } = await primary.stats()
      expect(walBytes).toBeLessThan(walBytesMax)
      return walBytes
    },
    { timeout: 20_000 },
  )
}

describe('a large transaction', () => {
  const many = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)'
  const fill = `${many} INSERT INTO blobs (bytes) SELECT zeroblob(10000) FROM n`

  it('larger than the WAL is let grow to is replicated as one', async () => {
    const source = await openPrimary(schema)
    const replica = await openReplica(source)
    await source.primary.transaction(async (connection) => {
      for (let round = 0; round < 3; round += 1) await connection.run(fill)
    })
    const logs: Log[] = []
    await source.primary.checkpoint((log) => {
      logs.push(log)
      return replica.replicate(log)
    })
    expect(logs[0]?.byteLength).toBeGreaterThan(85 * mebibyte)
    await expectSameBytes(source.primary, replica)
    await source.primary.run('DELETE FROM blobs')
    expect(await shrunkWal(source.primary)).toBeLessThan(walBytesMax)
  })

  it('larger than the page cache that is rolled back leaves nothing', async () => {
    const source = await openPrimary(schema)
    const { primary } = source
    await primary.run(insert, [blob(10)])
    const { lastFrameNo } = primary
    const frames = primary.captureFrames()
    const rolledBack = primary.transaction(async (connection) => {
      await connection.run(fill)
      await connection.run(fill)
      // What the WAL holds of it must not be taken for committed, by checkpoints either.
      await source.save()
      throw new Error('enough')
    })
    await expect(rolledBack).rejects.toThrow('enough')
    expect(primary.lastFrameNo).toBe(lastFrameNo)
    expect(frames.tryNext()).toBeUndefined()
    await primary.run(insert, [blob(5000)])
    expect(frames.tryNext()?.frameCount).toBeLessThan(10)
    await expectReplicated(source)
  })

  it('may be rolled back in part', async () => {
    const source = await openPrimary(schema)
    await source.primary.transaction(async (connection) => {
      await connection.run(fill)
      await connection
        .transaction(async () => {
          await connection.run('UPDATE blobs SET bytes = zeroblob(20000)')
          throw new Error('undone')
        })
        .catch(() => {})
      await connection.run('DELETE FROM blobs WHERE id % 2 = 0')
    })
    expect(await source.primary.get('SELECT count(*) AS n, max(length(bytes)) AS l FROM blobs')).toEqual({
      n: 1500,
      l: 10000,
    })
    await expectReplicated(source)
  })
})

describe('logs in files', () => {
  it('stay what they are when the database changes its role and is written to again', async () => {
    const source = await openPrimary(schema)
    const kept: Log[] = []
    let primary: Primary = source.primary
    for (let era = 0; era < 3; era += 1) {
      for (let n = 0; n < 3; n += 1) await primary.run(insert, [blob(mebibyte, era)])
      await primary.checkpoint((log) => void kept.push(log))
      primary = closedAfterTest(await (await primary.intoReplica()).intoPrimary())
    }
    expect(kept).toHaveLength(3)
    for (const log of kept) await log.verify()
    const replica = closedAfterTest(await Replica.open(source.blank, [...source.logs, ...kept]))
    await expectSameBytes(primary, replica)
  })
})

describe('another program', () => {
  async function open() {
    const source = await openPrimary(schema)
    const shell = new Child<{ rows: unknown[]; error?: string }>('sql-shell.mjs', {
      argument: { path: source.primary.path },
    })
    const ask = async (sql: string) => {
      shell.send(sql)
      const { rows, error } = await shell.expect()
      return error ?? rows
    }
    return { source, primary: source.primary, ask }
  }

  const write = "INSERT INTO blobs (bytes) VALUES ('from elsewhere')"
  const locked = 'SQLITE_BUSY: database is locked'

  it('reads, and cannot write', async () => {
    const { source, primary, ask } = await open()
    expect(await ask(write)).toBe(locked)
    await primary.run(insert, [blob(10)])
    expect(await ask(write)).toBe(locked)
    expect(await ask('SELECT count(*) AS n FROM blobs')).toEqual([{ n: 1 }])
    await expectReplicated(source)
  })

  it('that folds the WAL does no harm to what a statement has written that is reset at its first row', async () => {
    const { source, primary, ask } = await open()
    await source.save()
    await primary.withConnection((connection) => connection.get(`${insert} RETURNING id`, [blob(10_000)]))
    await ask('PRAGMA wal_checkpoint(PASSIVE)')
    await primary.run(insert, [blob(10)])
    await expectReplicated(source)
  })

  it('that folds the WAL does no harm, also to frames that are nowhere else', async () => {
    const { source, primary, ask } = await open()
    const acks = [await primary.run(insert, [blob(10_000)])]
    for (const saves of [false, true, false, false]) {
      const [folded] = (await ask('PRAGMA wal_checkpoint(TRUNCATE)')) as Record<string, number>[]
      // All is folded, and the WAL stays: it is we who may write.
      expect(folded).toMatchObject({ busy: 1, checkpointed: folded!.log })
      acks.push(await primary.run(insert, [blob(10_000)]))
      if (saves) await source.save()
    }
    await source.save()
    await Promise.all(acks.map((ack) => ack.durable()))
    await expectReplicated(source)
  })

  describe('that can write because a file of the database was opened and closed, by which a process loses its locks,', () => {
    async function openAttached() {
      const opened = await open()
      // One that opens the database later takes its files for those of a process that has died.
      await opened.ask('SELECT count(*) AS n FROM blobs')
      return { ...opened, loseLocks: () => closeSync(openSync(`${opened.primary.path}-shm`, 'r')) }
    }

    it('and resets the WAL over frames that are nowhere else ends the primary', async () => {
      const { source, primary, ask, loseLocks } = await openAttached()
      const saved = await primary.run(insert, [blob(10)])
      await source.save()
      await saved.durable()
      const lost = await primary.run(insert, [blob(10_000)])
      const durable = lost.durable()
      durable.catch(() => {})
      loseLocks()
      await ask('PRAGMA wal_checkpoint(TRUNCATE)')
      await expectCode(primary.run(insert, [blob(10)]), 'ERR_WAL_RESET')
      await expectCode(durable, 'ERR_WAL_RESET')
      await expectCode(source.save(), 'ERR_WAL_RESET')
      await expectCode(primary.run(insert, [blob(10)]), 'ERR_WAL_RESET')
      await primary.close()
      const again = closedAfterTest(await Replica.open(source.blank, source.logs))
      expect(await again.get('SELECT count(*) AS n FROM blobs')).toEqual({ n: 1 })
    })

    it('and resets it is noticed by a checkpoint too', async () => {
      const { source, primary, ask, loseLocks } = await openAttached()
      const lost = await primary.run(insert, [blob(10_000)])
      loseLocks()
      await ask('PRAGMA wal_checkpoint(TRUNCATE)')
      await expectCode(source.save(), 'ERR_WAL_RESET')
      await expectCode(lost.durable(), 'ERR_WAL_RESET')
    })

    it('cannot for longer than a moment', async () => {
      const { source, primary, ask, loseLocks } = await openAttached()
      loseLocks()
      await delay(200)
      await primary.transaction(async (connection) => {
        await connection.run(insert, [blob(10)])
        expect(await ask(write)).toBe(locked)
      })
      expect(await ask(write)).toBe(locked)
      await expectReplicated(source)
    })

    it('is replicated too, or noticed', async () => {
      const { source, primary, ask, loseLocks } = await openAttached()
      loseLocks()
      await ask(write)
      await primary.run(insert, [blob(10)])
      await expectReplicated(source)

      loseLocks()
      await ask(write)
      await ask('PRAGMA wal_checkpoint(TRUNCATE)')
      await expectCode(primary.run(insert, [blob(10)]), 'ERR_WAL_RESET')
    })
  })
})
