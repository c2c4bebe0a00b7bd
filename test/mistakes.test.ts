// Mistakes of an application that would go unnoticed, and cost it data, a time limit or an answer.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, Primary, Replica, type SaveLog, Snapshot, SqliteError } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { openPrimary } from './support/database.js'
import { expectCode, rejection } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const schema = 'CREATE TABLE t (n INTEGER NOT NULL)'

describe('a saveLog that awaits nothing', () => {
  const forgetful = (path: string): SaveLog[] => [
    (log) => {
      log.copyTo(path).catch(() => {})
    },
    async (log) => {
      log.copyTo(path).catch(() => {})
    },
  ]

  it('is waited for: what it has begun is done when the write is durable', async () => {
    for (const index of [0, 1]) {
      const path = join(temporaryFolder(), `${index}.log`)
      const { primary } = await openPrimary(schema)
      await primary.checkpoint((log) => log.close())
      const ack = await primary.run('INSERT INTO t VALUES (1)')
      await primary.checkpoint(forgetful(path)[index])
      expect(ack.isDurable).toBe(true)
      expect(existsSync(path)).toBe(true)
    }
  })

  it('fails with what it has begun: nothing is durable, and the next checkpoint gets the log again', async () => {
    for (const index of [0, 1]) {
      const { primary } = await openPrimary(schema)
      await primary.checkpoint((log) => log.close())
      const ack = await primary.run('INSERT INTO t VALUES (1)')
      const missing = join(temporaryFolder(), 'missing', 'a.log')
      await expectCode(primary.checkpoint(forgetful(missing)[index]), 'ERR_IO')
      expect(ack.isDurable).toBe(false)
      await primary.checkpoint((log) => expect(log.lastFrameNo).toBe(ack.frameNo))
      expect(ack.isDurable).toBe(true)
    }
  })
})

describe('options in the place of parameters', () => {
  it('are refused: there would be no limit', async () => {
    const { primary } = await openPrimary(schema)
    const calls = [
      primary.run('DELETE FROM t', { timeoutMs: 5 }),
      primary.get('SELECT 1', { timeoutMs: 5 }),
      primary.all('SELECT 1', { timeoutMs: 5 }),
      primary.withConnection((connection) => connection.run('DELETE FROM t', { timeoutMs: 5 })),
    ]
    for (const call of calls) {
      const error = await rejection(call)
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toContain('options come behind them, as in (sql, [], { timeoutMs: … })')
    }
    expect(() => primary.iterate('SELECT 1', { timeoutMs: 5 })).toThrow(TypeError)
  })

  it('may be parameters of that name', async () => {
    const { primary } = await openPrimary(schema)
    expect(
      await primary.get<{ n: number }>('SELECT :wait + $timeoutMs AS n', { wait: 1, timeoutMs: 2 }),
    ).toEqual({
      n: 3,
    })
  })
})

it('parameters of a batch under another name are refused', async () => {
  const { primary } = await openPrimary(schema)
  const statements = [{ sql: 'DELETE FROM t' }, { sql: 'DELETE FROM t', args: [7] }]
  const error = await rejection(primary.batch(statements))
  expect(error).toBeInstanceOf(TypeError)
  expect(error.message).toBe('statements[1] must be an object { sql, params }, it has "args" and no params')
})

it('a folder that does not exist is named, not the temporary file in it', async () => {
  const { primary } = await openPrimary(schema)
  await primary.run('INSERT INTO t VALUES (1)')
  const folder = join(temporaryFolder(), 'missing')
  const path = join(folder, 'a.log')
  const error = await expectCode(
    primary.checkpoint((log) => log.copyTo(path)),
    'ERR_IO',
  )
  expect(error.message).toContain(`Cannot write ${path}: the folder ${folder} does not exist`)
  expect(error.details).toEqual({ path })
})

it('what SQLite refuses is a SqliteError', async () => {
  const { primary } = await openPrimary(schema)
  const error = await rejection(primary.run('INSERT INTO t VALUES (NULL)'))
  expect(error).toBeInstanceOf(SqliteError)
  expect(error.code).toBe('SQLITE_CONSTRAINT_NOTNULL')
})

it('a store that is closed before its primary ends it: durable() need not wait for ever', async () => {
  const store = new FileStore(join(temporaryFolder(), 'store'))
  await store.putSnapshot(await Snapshot.blank())
  const primary = await Primary.open({ store, checkpoint: { intervalMs: 10 } })
  await (await primary.run(schema)).durable()
  await store.close()
  const ack = await primary.run('INSERT INTO t VALUES (1)')
  const error = await expectCode(ack.durable(), 'ERR_CLOSED')
  expect(error.message).toContain('Close replicas and primaries before their store')
  await expectCode(primary.run('INSERT INTO t VALUES (2)'), 'ERR_CLOSED')
  await primary.close()
})

it('options of follow are refused by its name, before the store is looked at', async () => {
  const store = new FileStore(join(temporaryFolder(), 'nowhere'))
  const options: object = { polMs: 10 }
  expect(await rejection(Replica.follow(store, options))).toMatchObject({
    message: 'Unknown option "polMs" of Replica.follow; did you mean "pollMs"?',
  })
  const from: object = { from: 'base.db' }
  expect((await rejection(Replica.follow(store, from))).message).toContain('must be a Snapshot')
})

it('a replica that is opened with a store is told of follow', async () => {
  const open = Replica.open as (store: unknown) => Promise<Replica>
  expect((await rejection(open(new FileStore(temporaryFolder())))).message).toContain('Replica.follow(store)')
})
