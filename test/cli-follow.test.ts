/** The command that keeps a file up to date with a store, as users run it. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { FileStore, Primary, restore, Snapshot } from 'mylibsql'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CommandLine, until } from './support/command-line.js'
import { integrityCheck } from './support/database.js'
import { temporaryFolder } from './support/folder.js'

const commandLine = new CommandLine()
const inFolder = (name: string) => join(commandLine.folder, name)
const url = () => `file:${inFolder('history')}`

async function storeWithRow() {
  const store = new FileStore(inFolder('history'))
  await store.putSnapshot(await Snapshot.blank())
  const primary = await Primary.open({ store })
  onTestFinished(async () => {
    await primary.close()
    await store.close()
  })
  await primary.run('CREATE TABLE t (a)')
  await primary.run('INSERT INTO t VALUES (1)')
  await primary.checkpoint()
  return { store, primary }
}

/** As another program does, which opens it anew each time. */
function rowsIn(path: string) {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT a FROM t ORDER BY a').pluck().all()
  } finally {
    database.close()
  }
}

describe('mylibsql follow', () => {
  it('keeps a file up to date that others read, until it is interrupted, and leaves it as a plain database', async () => {
    const { store, primary } = await storeWithRow()
    const path = inFolder('copy.db')
    const following = commandLine.start('follow', url(), path)
    const { child, output, code } = following
    await until(following, () => output.out.includes('\n'))
    expect(output.out).toBe(`${path} follows ${url()}, now as of frame ${primary.lastFrameNo}\n`)
    expect(rowsIn(path)).toEqual([1])

    await primary.run('INSERT INTO t VALUES (2)')
    await primary.checkpoint()
    await until(following, () => rowsIn(path).length === 2)

    child.kill('SIGINT')
    expect(await code, output.err).toBe(0)
    expect(output.out.split('\n')[1]).toBe(`${path} is as of frame ${primary.lastFrameNo}`)
    expect(output.err).toBe('')
    expect((await readdir(commandLine.folder)).sort()).toEqual(['copy.db', 'copy.db-mylibsql', 'history'])
    expect(await readdir(commandLine.temporary)).toEqual([])
    integrityCheck(path)
    const restored = join(temporaryFolder(), 'restored.db')
    await restore(store, restored)
    expect(rowsIn(path)).toEqual(rowsIn(restored))
  })

  it('says when the store cannot be reached, and goes on when it can; takes the place of the file that it has left', async () => {
    const { primary } = await storeWithRow()
    const path = inFolder('copy.db')
    const first = commandLine.start('follow', url(), path)
    await until(first, () => first.output.out.includes('\n'))
    first.child.kill('SIGTERM')
    expect(await first.code).toBe(0)

    const following = commandLine.start('follow', url(), path)
    const { child, output, code } = following
    await until(following, () => output.out.includes('\n'))
    await rename(inFolder('history'), inFolder('away'))
    await until(following, () => output.err.includes('\n'))
    expect(output.err).toMatch(/^warning: ERR_\w+: .*history.*; trying again\n$/)
    await rename(inFolder('away'), inFolder('history'))
    await until(following, () => output.err.includes('following again\n'))
    await primary.run('INSERT INTO t VALUES (2)')
    await primary.checkpoint()
    await until(following, () => rowsIn(path).length === 2)
    child.kill('SIGINT')
    expect(await code).toBe(0)
  })

  it('makes no store, and touches no file of somebody else', async () => {
    const nowhere = await commandLine.run('follow', url(), inFolder('copy.db'))
    expect(nowhere.err).toMatch(/^error: ERR_NOT_FOUND: .*history/)
    expect(nowhere.code).toBe(1)
    expect(await readdir(commandLine.folder)).toEqual([])

    await mkdir(inFolder('history'))
    await storeWithRow()
    await writeFile(inFolder('mine.db'), 'mine')
    const mine = await commandLine.run('follow', url(), inFolder('mine.db'))
    expect(mine.err).toMatch(/^error: ERR_PATH_EXISTS: .*mine\.db/)
    expect(mine.code).toBe(1)
    expect(existsSync(inFolder('mine.db-mylibsql'))).toBe(false)
  })
})
