import { describe, expect, it } from 'vitest'
import { openPrimary, openReplica } from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode, expectSqlite, rejection } from './support/errors.js'

const numbers = `
  CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT);
  WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000)
  INSERT INTO numbers SELECT n, 'text ' || n FROM c;`

const count = 'SELECT count(*) AS n FROM numbers'

async function openBoth(options?: Parameters<typeof openPrimary>[1]) {
  const source = await openPrimary(numbers, options)
  return { source, primary: source.primary, replica: await openReplica(source, options) }
}

describe('readTransaction of a primary', () => {
  it('sees one state while others write, and keeps nobody from it', async () => {
    const { primary } = await openBoth()
    await primary.readTransaction(async (connection) => {
      expect(await connection.get(count)).toEqual({ n: 2000 })
      await primary.run('DELETE FROM numbers WHERE n > 10')
      await primary.transaction((writer) => writer.run('DELETE FROM numbers WHERE n > 5'))
      expect(await primary.get(count)).toEqual({ n: 5 })
      expect(await connection.all(count)).toEqual([{ n: 2000 }])
      const { message } = await expectSqlite(connection.run('DELETE FROM numbers'), 'SQLITE_READONLY')
      expect(message).toContain('run() of the primary')
    })
    expect(await primary.readTransaction((connection) => connection.get(count))).toEqual({ n: 5 })
  })

  it('is closed with it, and takes a time limit', async () => {
    const { primary } = await openBoth()
    const late = primary.readTransaction(() => new Promise<void>(() => {}), { timeoutMs: 20 })
    expect((await expectCode(late, 'ERR_TIMEOUT')).message).toContain('readTransaction took longer')
    const open = expectCode(
      primary.readTransaction(() => new Promise<void>(() => {})),
      'ERR_CLOSED',
    )
    await primary.close()
    await open
    await expectCode(
      primary.readTransaction(async () => {}),
      'ERR_CLOSED',
    )
  })
})

describe('replica.withConnection', () => {
  it('sees one state while logs are applied', async () => {
    const { source, primary, replica } = await openBoth()
    const result = await replica.withConnection(async (connection) => {
      expect(await connection.get(count)).toEqual({ n: 2000 })
      await primary.run('DELETE FROM numbers WHERE n > 10')
      await source.save()
      await replica.replicate(source.logs.at(-1)!)
      expect(await replica.get(count)).toEqual({ n: 10 })
      expect(await connection.all(count)).toEqual([{ n: 2000 }])
      return 'result'
    })
    expect(result).toBe('result')
    expect(await replica.withConnection((connection) => connection.get(count))).toEqual({ n: 10 })
  })

  it('sees the state of when the callback began, also before its first query', async () => {
    const { source, primary, replica } = await openBoth()
    await replica.withConnection(async (connection) => {
      await primary.run('DELETE FROM numbers WHERE n > 10')
      await source.save()
      await replica.replicate(source.logs.at(-1)!)
      expect(await connection.get(count)).toEqual({ n: 2000 })
    })
  })

  it('refuses writes', async () => {
    const { source, replica } = await openBoth()
    await replica.withConnection(async (connection) => {
      const { message } = await expectSqlite(connection.run('DELETE FROM numbers'), 'SQLITE_READONLY')
      expect(message).toContain('run() of the primary')
      await expectSqlite(connection.exec('CREATE TABLE t (a)'), 'SQLITE_READONLY')
      await expectSqlite(connection.all('INSERT INTO numbers (n) VALUES (-1) RETURNING n'), 'SQLITE_READONLY')
      expect(await connection.get(count)).toEqual({ n: 2000 })
    })
    await source.primary.run('DELETE FROM numbers WHERE n = 1')
    await source.save()
    await replica.replicate(source.logs.at(-1)!)
    expect(await replica.get(count)).toEqual({ n: 1999 })
  })

  it('has no transactions to end, and savepoints', async () => {
    const { replica } = await openBoth()
    await replica.withConnection(async (connection) => {
      await expectCode(connection.run('COMMIT'), 'ERR_REFUSED')
      await expectCode(connection.exec('SELECT 1; COMMIT'), 'ERR_REFUSED')
    })
    await replica.withConnection(async (connection) => {
      expect(await connection.transaction(() => connection.get(count))).toEqual({ n: 2000 })
    })
    expect(await replica.get(count)).toEqual({ n: 2000 })
  })

  it('throws what the callback throws, and frees the reader', async () => {
    const { replica } = await openBoth({ readers: 1 })
    const thrown = new Error('mine')
    for (let round = 0; round < 70; round++) {
      const throwing = replica.withConnection(async (connection) => {
        await connection.get('SELECT 1')
        throw thrown
      })
      expect(await rejection(throwing)).toBe(thrown)
    }
    expect(await replica.get(count)).toEqual({ n: 2000 })
  })

  it('statements in parallel are answered in order', async () => {
    const { replica } = await openBoth()
    await replica.withConnection(async (connection) => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          n % 5 === 4
            ? rejection(connection.get('SELECT * FROM nowhere'))
            : connection.get('SELECT text FROM numbers WHERE n = ?', [n + 1]),
        ),
      )
      const texts = answers.map((answer) => (answer instanceof Error ? 'error' : answer?.text))
      expect(texts).toEqual(texts.map((_, n) => (n % 5 === 4 ? 'error' : `text ${n + 1}`)))
    })
  })

  it('its connection works only inside the callback', async () => {
    const { replica } = await openBoth()
    const connection = await replica.withConnection(async (kept) => kept)
    await expectCode(connection.get('SELECT 1'), 'ERR_CLOSED')
  })

  it('is given up after idleTimeoutMs without a statement', async () => {
    const { replica } = await openBoth({ readers: 1, idleTimeoutMs: 250 })
    const goOn = deferred()
    const statement = deferred<Error>()
    const idle = replica.withConnection(async (connection) => {
      await connection.get('SELECT 1')
      await goOn.promise
      statement.resolve(await rejection(connection.get('SELECT 1')))
    })
    await expectCode(idle, 'ERR_TIMEOUT')
    goOn.resolve()
    expect(await statement.promise).toMatchObject({ code: 'ERR_CLOSED' })
    expect(await replica.get(count)).toEqual({ n: 2000 })
  })

  it('refuses a wrong argument', async () => {
    const { replica } = await openBoth()
    const error = await rejection(replica.withConnection('x' as never))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe("work must be a function, got string 'x'")
  })
})
