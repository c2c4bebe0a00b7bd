import type { Connection, Primary } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectReplicated, openPrimary } from './support/database.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const all = async (primary: Primary) =>
  (await primary.all('SELECT n FROM numbers ORDER BY n')).map(({ n }) => n)
const insert = 'INSERT INTO numbers (n) VALUES (?)'

describe('transaction', () => {
  it('commits when the callback resolves', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const frames = primary.captureFrames()
    const ack = await primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      expect(await all(primary)).toEqual([])
      await connection.run(insert, [2])
      return 'done'
    })
    expect(ack.peek()).toBe('done')
    expect(await all(primary)).toEqual([1, 2])
    expect(frames.tryNext()?.nextFrameNo).toBe(ack.frameNo! + 1)
    await expectReplicated(source)
  })

  it('rolls back when it rejects', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const thrown = new Error('no')
    const failing = primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      throw thrown
    })
    expect(await rejection(failing)).toBe(thrown)
    expect(await all(primary)).toEqual([])
    await expectReplicated(source)
  })

  it('goes on after a statement that fails', async () => {
    const { primary } = await openPrimary(numbers)
    await primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      await expectSqlite(connection.run(insert, [1]), 'SQLITE_CONSTRAINT_PRIMARYKEY')
      await connection.run(insert, [2])
    })
    expect(await all(primary)).toEqual([1, 2])
  })

  it.each([
    [
      'had failed before it ended',
      async (connection: Connection) => void (await connection.run(insert, [2])),
    ],
    ['was under way when it ended', async () => {}],
  ])('rolls back when a statement fails that it did not await, and that %s', async (_name, more) => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.run(insert, [1])
    const failing = primary.transaction(async (connection) => {
      void connection.run(insert, [1])
      await more(connection)
    })
    await expectSqlite(failing, 'SQLITE_CONSTRAINT_PRIMARYKEY')
    expect(await all(primary)).toEqual([1])
    await expectReplicated(source)
  })

  it('waits for statements that it did not await', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.transaction(async (connection) => {
      for (let n = 1; n <= 100; n += 1) void connection.run(insert, [n])
      void connection.transaction(async (inner) => {
        await inner.run(insert, [101])
        void inner.run(insert, [102])
      })
    })
    expect(await all(primary)).toHaveLength(102)
    await expectReplicated(source)
  })

  it('is no failure when somebody has seen that of the statement, then or later', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.run(insert, [1])
    await primary.transaction(async (connection) => {
      const seen = [0, 1, 2].map(() => connection.run(insert, [1]))
      seen[0]!.catch(() => {})
      void Promise.allSettled([seen[1]])
      await connection.run(insert, [2])
      // Only now.
      await expectSqlite(seen[2]!, 'SQLITE_CONSTRAINT_PRIMARYKEY')
    })
    expect(await all(primary)).toEqual([1, 2])
    await expectReplicated(source)
  })

  it('inside withConnection rolls back, too, when a statement fails that it did not await', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.run(insert, [1])
    const failing = primary.withConnection(async (connection) => {
      await connection.transaction(async () => {
        void connection.run(insert, [1])
        await connection.run(insert, [2])
      })
    })
    await expectSqlite(failing, 'SQLITE_CONSTRAINT_PRIMARYKEY')
    expect(await all(primary)).toEqual([1])
    await expectReplicated(source)
  })

  it('fails as a whole when the commit fails', async () => {
    const source = await openPrimary(`${numbers};
      CREATE TABLE refs (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)`)
    const { primary } = source
    const failing = primary.transaction((connection) => connection.run('INSERT INTO refs VALUES (7)'))
    await expectSqlite(failing, 'SQLITE_CONSTRAINT_FOREIGNKEY')
    expect(await primary.all('SELECT * FROM refs')).toEqual([])
    await primary.transaction(async (connection) => {
      await connection.run('INSERT INTO refs VALUES (7)')
      await connection.run(insert, [7])
    })
    expect(await primary.all('SELECT * FROM refs')).toEqual([{ n: 7 }])
    await expectReplicated(source)
  })

  it.each([
    ['run BEGIN', (c: Connection) => c.run('BEGIN')],
    ['run COMMIT', (c: Connection) => c.run('COMMIT')],
    ['run END', (c: Connection) => c.run('/* a comment */ END TRANSACTION')],
    ['run ROLLBACK', (c: Connection) => c.run('ROLLBACK')],
    ['get COMMIT', (c: Connection) => c.get('COMMIT')],
    ['exec COMMIT', (c: Connection) => c.exec('-- a comment\nCOMMIT')],
    ['exec with COMMIT', (c: Connection) => c.exec('INSERT INTO numbers (n) VALUES (2); COMMIT')],
    ['exec with ROLLBACK', (c: Connection) => c.exec('INSERT INTO numbers (n) VALUES (2); ROLLBACK')],
    ['exec with COMMIT and BEGIN', (c: Connection) => c.exec('SELECT 1; COMMIT; BEGIN')],
    ['exec with ROLLBACK and BEGIN', (c: Connection) => c.exec('SELECT 1; ROLLBACK; BEGIN IMMEDIATE')],
    [
      'exec with ROLLBACK and more',
      (c: Connection) => c.exec('SELECT 1; ROLLBACK; INSERT INTO numbers (n) VALUES (3)'),
    ],
  ])('refuses to be ended inside: %s', async (_name, end) => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const ended = primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      await end(connection)
    })
    await expectCode(ended, 'ERR_REFUSED')
    expect(await all(primary)).toEqual([])
    await primary.run(insert, [9])
    expect(await all(primary)).toEqual([9])
    await expectReplicated(source)
  })

  it('goes on after what was refused', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      const error = await expectCode(connection.exec('SELECT 1; ROLLBACK'), 'ERR_REFUSED')
      expect(error.message).toContain('ROLLBACK is refused')
      await connection.run(insert, [2])
    })
    expect(await all(primary)).toEqual([1, 2])
    await expectReplicated(source)
  })

  it('allows savepoints', async () => {
    const { primary } = await openPrimary(numbers)
    await primary.transaction(async (connection) => {
      await connection.run(insert, [1])
      await connection.run('SAVEPOINT mine')
      await connection.run(insert, [2])
      await connection.run('ROLLBACK TRANSACTION TO SAVEPOINT mine')
      await connection.run('-- a comment\nRELEASE mine')
      await connection.exec('SAVEPOINT other; INSERT INTO numbers (n) VALUES (3); RELEASE other')
    })
    expect(await all(primary)).toEqual([1, 3])
  })

  it('a conflict clause ROLLBACK ends it, which the callback hears', async () => {
    const source = await openPrimary(`${numbers}; INSERT INTO numbers (n) VALUES (1)`)
    const { primary } = source
    const ended = primary.transaction(async (connection) => {
      await connection.run(insert, [2])
      await expectSqlite(
        connection.run('INSERT OR ROLLBACK INTO numbers (n) VALUES (1)'),
        'SQLITE_CONSTRAINT_PRIMARYKEY',
      )
      await connection.run(insert, [3])
    })
    await rejection(ended)
    expect(await all(primary)).toEqual([1])
    await expectReplicated(source)
  })
})

describe('connection.transaction', () => {
  it('is a transaction outside one, and a savepoint inside, to any depth', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    await primary.withConnection(async (connection) => {
      const result = await connection.transaction(async (same) => {
        expect(same).toBe(connection)
        await connection.run(insert, [1])
        const inner = connection.transaction(async () => {
          await connection.run(insert, [2])
          await connection.transaction(() => connection.run(insert, [3]))
          throw new Error('inner')
        })
        await expect(inner).rejects.toThrow('inner')
        await connection.transaction(() => connection.run(insert, [4]))
        return 'result'
      })
      expect(result).toBe('result')
      const failing = connection.transaction(async () => {
        await connection.run(insert, [5])
        throw new Error('outer')
      })
      await expect(failing).rejects.toThrow('outer')
      await connection.run(insert, [6])
    })
    expect(await all(primary)).toEqual([1, 4, 6])
    await primary.transaction(async (connection) => {
      await connection.transaction(() => connection.run(insert, [7]))
    })
    expect(await all(primary)).toEqual([1, 4, 6, 7])
    await expectReplicated(source)
  })

  it('whose commit fails is rolled back, and the connection goes on', async () => {
    const { primary } = await openPrimary(`${numbers};
      CREATE TABLE refs (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)`)
    await primary.withConnection(async (connection) => {
      const failing = connection.transaction(() => connection.run('INSERT INTO refs VALUES (7)'))
      await expectSqlite(failing, 'SQLITE_CONSTRAINT_FOREIGNKEY')
      await connection.run(insert, [1])
    })
    expect(await primary.all('SELECT * FROM refs')).toEqual([])
  })
})
