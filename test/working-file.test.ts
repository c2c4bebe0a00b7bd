import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { closedAfterTest, expectSameBytes, integrityCheck, openPrimary, pagesOf } from './support/database.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const users = 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)'

describe('the working file', () => {
  it('is kept at `path` as a plain database without a WAL', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary, save } = await openPrimary(users, { path })
    expect(primary.path).toBe(path)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    await save()
    const snapshot = await primary.snapshot(join(dirname(path), 'snapshot.db'))
    await primary.get('SELECT 1')
    await primary.close()
    expect(readdirSync(dirname(path)).filter((name) => name.startsWith('working.db-'))).toEqual([
      'working.db-mylibsql',
    ])
    expect(readFileSync(path).equals(await pagesOf(snapshot))).toBe(true)
    integrityCheck(path)
  })

  it('takes a file: URL, and the path of an earlier opening again', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const blank = await Snapshot.blank()
    const first = await Primary.open(blank, [], { path: pathToFileURL(path) })
    await first.run(users)
    await first.close()
    // Not saved, so it is not there any more: the file is rebuilt from the snapshot.
    const second = closedAfterTest(await Primary.open(blank, [], { path }))
    expect(second.lastFrameNo).toBeUndefined()
    expect(await second.all('SELECT * FROM sqlite_schema')).toEqual([])
  })

  it('is read by other programs while it is open', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary } = await openPrimary(users, { path })
    const other = new Database(path, { readonly: true })
    onTestFinished(() => void other.close())
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    expect(other.prepare('SELECT name FROM users').pluck().all()).toEqual(['Alice'])
  })

  it.each([
    ['another primary', (snapshot: Snapshot, path: string) => Primary.open(snapshot, [], { path })],
    ['a replica', (snapshot: Snapshot, path: string) => Replica.open(snapshot, [], { path })],
  ])('is locked against %s of this process', async (_name, open) => {
    const path = join(temporaryFolder(), 'working.db')
    const { primary, blank } = await openPrimary(users, { path })
    const error = await expectCode(open(blank, path), 'ERR_LOCKED')
    expect(error.details).toEqual({ path })
    expect(error.message).toContain(path)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    await primary.close()
    await (await open(blank, path)).close()
  })

  it('is locked against another process', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const child = fork(fileURLToPath(new URL('support/open-primary.mjs', import.meta.url)), [path])
    onTestFinished(() => void child.kill('SIGKILL'))
    expect((await once(child, 'message'))[0]).toBe('open')
    const blank = await Snapshot.blank()
    await expectCode(Primary.open(blank, [], { path }), 'ERR_LOCKED')
    child.kill('SIGKILL')
    await once(child, 'exit')
    // What a killed process leaves behind is a working file, and free.
    await (await Primary.open(blank, [], { path })).close()
  })

  it('is locked also when another opening, which failed, has just removed the lock file', async () => {
    const path = join(temporaryFolder(), 'working.db')
    const blank = await Snapshot.blank()
    const opening = Primary.open(blank, [], { path })
    while (!existsSync(`${path}-mylibsql`)) await setImmediate()
    rmSync(`${path}-mylibsql`)
    closedAfterTest(await opening)
    await expectCode(Primary.open(blank, [], { path }), 'ERR_LOCKED')
  })

  it.each(['database', 'text'])('never takes the place of a %s of somebody else', async (kind) => {
    const path = join(temporaryFolder(), 'mine')
    if (kind === 'database') new Database(path).exec(users).close()
    else writeFileSync(path, 'my text')
    const before = readFileSync(path)
    const error = await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_PATH_EXISTS')
    expect(error.details).toEqual({ path })
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(readdirSync(dirname(path))).toEqual(['mine'])
  })

  it('is temporary without `path`, and gone after close', async () => {
    const { primary } = await openPrimary(users)
    expect(existsSync(primary.path)).toBe(true)
    await primary.get('SELECT 1')
    await primary.close()
    const name = primary.path.slice(dirname(primary.path).length + 1)
    expect(readdirSync(dirname(primary.path)).filter((file) => file.startsWith(name))).toEqual([])
  })

  it('in a folder that is not there is ERR_IO', async () => {
    const path = join(temporaryFolder(), 'nowhere', 'working.db')
    const error = await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_IO')
    expect((error.cause as { code?: string }).code).toBe('ENOENT')
  })
})

describe('snapshot', () => {
  it('is the database as of the last commit, saved or not, and goes on as a history', async () => {
    const folder = temporaryFolder()
    const { primary, save, logs } = await openPrimary(users)
    await primary.run("INSERT INTO users (name) VALUES ('Alice')")
    const snapshot = await primary.snapshot(join(folder, 'snapshot.db'))
    expect(snapshot.lastFrameNo).toBe(primary.lastFrameNo)
    await primary.run("INSERT INTO users (name) VALUES ('Bob')")
    await save()
    const other = closedAfterTest(await Primary.open(snapshot, logs))
    expect(other.lastFrameNo).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, other)
  })

  it('takes no part of a transaction that is open', async () => {
    const folder = temporaryFolder()
    const { primary } = await openPrimary(users)
    await primary.transaction(async (connection) => {
      await connection.run("INSERT INTO users (name) VALUES ('Alice')")
      const snapshot = await primary.snapshot(join(folder, 'snapshot.db'))
      expect((await pagesOf(snapshot)).includes('Alice')).toBe(false)
      expect(snapshot.lastFrameNo).toBe(primary.lastFrameNo)
    })
  })
})
