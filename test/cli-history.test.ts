/** The commands on stores, logs and snapshots, as users run them. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { FileStore, Log, Primary, Snapshot } from 'mylibsql'
import { beforeEach, describe, expect, it } from 'vitest'
import { CommandLine } from './support/command-line.js'
import { rejection } from './support/errors.js'

const commandLine = new CommandLine()
const inFolder = (name: string) => join(commandLine.folder, name)
const url = () => `file:${inFolder('history')}`

/** Frame after which a restore finds so many rows. */
let frameNos: number[]
let times: Date[]

beforeEach(async () => {
  const store = new FileStore(inFolder('history'))
  await store.putSnapshot(await Snapshot.blank())
  const primary = await Primary.open({ store })
  frameNos = []
  times = []
  for (const sql of ['CREATE TABLE t (a)', 'INSERT INTO t VALUES (1)', 'INSERT INTO t VALUES (2)']) {
    const ack = await primary.run(sql)
    await primary.checkpoint()
    frameNos.push(ack.frameNo!)
    times.push(new Date())
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await primary.close()
  await store.close()
})

const rowsIn = (path: string) => {
  const database = new Database(path, { readonly: true })
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    return database.prepare('SELECT a FROM t ORDER BY a').pluck().all()
  } finally {
    database.close()
  }
}

describe('mylibsql list', () => {
  it('tells what a store holds', async () => {
    const { code, out, err } = await commandLine.run('list', url())
    expect(code, err).toBe(0)
    expect(out).toContain(`file:${inFolder('history')}, newest epoch 1`)
    expect(out).toMatch(/blank\.db +│ +blank/)
    expect(out).toMatch(/│ 3 logs +│ +from 0, the last from \d+ │/)
  })

  it('lists every object as JSON', async () => {
    const { code, out, err } = await commandLine.run('list', url(), '--json')
    expect(code, err).toBe(0)
    const listed = JSON.parse(out)
    expect(listed).toMatchObject({
      epoch: 1,
      snapshots: [{ id: join(inFolder('history'), 'snapshots/blank.db') }],
    })
    expect(listed.logs.map(({ startFrameNo }: { startFrameNo: number }) => startFrameNo)).toEqual([
      0,
      frameNos[0]! + 1,
      frameNos[1]! + 1,
    ])
  })

  it('makes no store where there is none', async () => {
    const { code, out, err } = await commandLine.run('list', `file:${inFolder('nothing')}`)
    expect(code).toBe(1)
    expect(out).toBe('')
    expect(err).toMatch(/^error: ERR_NOT_FOUND: .*nothing/)
    expect(await readdir(commandLine.folder)).toEqual(['history'])
  })

  it('says what a store is written like', async () => {
    const { code, err } = await commandLine.run('list', 'http://store')
    expect(code).toBe(2)
    expect(err).toContain('It must be file:DIR, nats://HOST:PORT/NAME')
  })

  it.each([
    [
      'file://data/history',
      '"data" would be the name of a machine: did you mean file:data/history, or file:///data/history?',
    ],
    ['file://data', 'did you mean file:data, or file:///data?'],
    ['s3://b/p', 'Names of buckets have 3 to 63 characters.'],
  ])('says what is wrong with %s', async (wrong, message) => {
    const { code, err } = await commandLine.run('list', wrong)
    expect(code).toBe(2)
    expect(err).toContain(message)
  })

  it('takes file URLs of this machine', async () => {
    for (const host of ['', 'localhost']) {
      const { code, out, err } = await commandLine.run('list', `file://${host}${inFolder('history')}`)
      expect(code, err).toBe(0)
      expect(out).toContain(`file:${inFolder('history')}, newest epoch 1`)
    }
  })
})

describe('mylibsql verify', () => {
  it('says that all is whole, and what can be restored', async () => {
    const { code, out, err } = await commandLine.run('verify', url())
    expect(code, err).toBe(0)
    expect(out).toBe(
      `${url()}: 1 snapshot and 3 logs found whole. Can be restored: the blank database to frame ${frameNos[2]}\n`,
    )
    expect(err).toMatch(/^verifying: ([1-9]\d* kB) of \1$/m)
    const { out: json } = await commandLine.run('verify', url(), '--json')
    expect(JSON.parse(json)).toEqual({
      url: url(),
      snapshotCount: 1,
      logCount: 3,
      spans: [{ to: frameNos[2] }],
      problems: [],
    })
  })

  it('fails when anything is wrong, and names it', async () => {
    const [, second] = (await readdir(inFolder('history/logs'))).sort()
    const path = join(inFolder('history/logs'), second!)
    const bytes = await readFile(path)
    bytes[bytes.length - 1]! ^= 1
    await writeFile(path, bytes)
    const { code, out } = await commandLine.run('verify', url())
    expect(code).toBe(1)
    expect(out).toContain(`problem: ${path}`)
    expect(out).toContain(`Can be restored: the blank database to frame ${frameNos[0]}\n`)
    const { code: jsonCode, out: json } = await commandLine.run('verify', url(), '--json')
    expect(jsonCode).toBe(1)
    expect(JSON.parse(json).problems).toMatchObject([{ code: 'ERR_CORRUPT', details: { path } }])
  })
})

describe('mylibsql restore', () => {
  it('makes a database of the newest state, a frame, a time', async () => {
    const newest = await commandLine.run('restore', url(), inFolder('newest.db'))
    expect(newest.code, newest.err).toBe(0)
    // A database that small is not told in megabytes: it would have none.
    expect(newest.out).toMatch(new RegExp(`newest\\.db: [1-9]\\d* kB, as of frame ${frameNos[2]}\n$`))
    expect(newest.err).toMatch(/^restoring: sync, [1-9]\d* kB of [1-9]\d* kB$/m)
    expect(rowsIn(inFolder('newest.db'))).toEqual([1, 2])
    const frame = await commandLine.run('restore', url(), inFolder('frame.db'), '--at', String(frameNos[1]))
    expect(frame.code, frame.err).toBe(0)
    expect(rowsIn(inFolder('frame.db'))).toEqual([1])
    const time = await commandLine.run('restore', url(), inFolder('time.db'), '--at', times[0]!.toISOString())
    expect(time.code, time.err).toBe(0)
    expect(rowsIn(inFolder('time.db'))).toEqual([])
  })

  it('replaces nothing, and leaves nothing when it fails', async () => {
    await writeFile(inFolder('mine.db'), 'precious')
    const there = await commandLine.run('restore', url(), inFolder('mine.db'))
    expect(there.code).toBe(1)
    expect(there.err).toContain('error: ERR_PATH_EXISTS: ')
    const nowhere = await commandLine.run('list', `file:${inFolder('nowhere')}`)
    expect(nowhere.code).toBe(1)
    expect(nowhere.err).toMatch(
      /^error: ERR_NOT_FOUND: There is no store at .*nowhere: check the path: ENOENT/,
    )
    expect(nowhere.err.match(/ENOENT/g)).toHaveLength(1)
    const late = await commandLine.run('restore', url(), inFolder('late.db'), '--at', '999')
    expect(late.code).toBe(1)
    expect(late.err).toMatch(/error: ERR_NOT_FOUND: Frame 999 is not in file:/)
    expect((await readdir(commandLine.folder)).sort()).toEqual(['history', 'mine.db'])
  })

  it.each(['yesterday', '-1', '1.5', '2026-01-31'])('takes no moment like %s', async (moment) => {
    const { code, err } = await commandLine.run('restore', url(), inFolder('x.db'), `--at=${moment}`)
    expect(code).toBe(2)
    expect(err).toContain('It must be a frame number or a time such as 2026-01-31T18:00:00Z')
  })
})

describe('mylibsql compact', () => {
  it('merges logs; the newest state stays what it was', async () => {
    const { code, out, err } = await commandLine.run(
      ...['compact', url(), '--keep-hours', '0', '--span-minutes', '0.0005'],
    )
    expect(code, err).toBe(0)
    expect(out).toMatch(/^Made \d+ merged logs, removed \d+ logs: [\d,]+ kB became [\d,]+ kB$/m)
    const store = new FileStore(inFolder('history'))
    const logs = await store.logs()
    const counts = /^Made (\d+) merged logs, removed (\d+)/m.exec(out)!
    expect(logs).toHaveLength(3 - Number(counts[2]))
    await store.close()
    const restored = await commandLine.run('restore', url(), inFolder('merged.db'))
    expect(restored.code, restored.err).toBe(0)
    expect(rowsIn(inFolder('merged.db'))).toEqual([1, 2])
  })

  it.each(['0', '-5', 'five'])('takes no span of %s minutes', async (span) => {
    const { code, err } = await commandLine.run('compact', url(), `--span-minutes=${span}`)
    expect(code).toBe(2)
    expect(err).toContain('It must be a number of minutes, more than 0.')
  })
})

describe('mylibsql prune', () => {
  it('removes what is not kept, and says how much', async () => {
    const store = new FileStore(inFolder('history'))
    const primary = await Primary.open({ store })
    for (const n of [3, 4]) {
      await primary.run('INSERT INTO t VALUES (?)', [n])
      await primary.checkpoint()
      const snapshot = await primary.snapshot(inFolder(`snapshot-${n}.db`))
      await store.putSnapshot(snapshot)
      await snapshot.close()
    }
    await primary.close()
    const { code, out, err } = await commandLine.run(
      'prune',
      url(),
      '--keep-hours',
      '0',
      '--keep-snapshots',
      '1',
    )
    expect(code, err).toBe(0)
    expect(out).toMatch(/^Removed 2 snapshots and 4 logs, /)
    expect(await store.snapshots()).toHaveLength(1)
    const again = await commandLine.run('restore', url(), inFolder('again.db'))
    expect(again.code, again.err).toBe(0)
    expect(rowsIn(inFolder('again.db'))).toEqual([1, 2, 3, 4])
    await store.close()
  })

  it('has to be told what to keep', async () => {
    const { code, err } = await commandLine.run('prune', url())
    expect(code).toBe(2)
    expect(err).toBe('error: prune needs --keep-hours, --keep-snapshots or both: what is to be kept\n')
    const nothing = await commandLine.run('prune', url(), '--keep-snapshots', '1')
    expect(nothing.code, nothing.err).toBe(0)
    expect(nothing.out).toBe('Removed 0 snapshots and 0 logs, 0 kB\n')
    expect((await commandLine.run('prune', url(), '--keep-hours', 'all')).code).toBe(2)
  })
})

describe('mylibsql show', () => {
  const logPath = () => join(inFolder('history'), 'logs', '0000000000000000.log')

  it('describes a log, and each of its frames', async () => {
    const { code, out, err } = await commandLine.run('show', logPath(), '--frames')
    expect(code, err).toBe(0)
    const log = await Log.open(logPath())
    expect(out).toMatch(new RegExp(`│ frames +│ +0 to ${frameNos[0]} │`))
    expect(out).toContain(log.endChecksum.toString(16).padStart(16, '0'))
    expect(out.match(/^frame \d+ {2}page \d+/gm)).toHaveLength(log.frameCount)
    expect(out).toMatch(/ {2}commit, \d+ pages$/m)
    await log.close()
  })

  it('ends quietly when nobody reads on', async () => {
    const { child, output, code } = commandLine.start('show', logPath(), '--frames')
    child.stdout!.destroy()
    expect(await code).toBe(0)
    expect(output).toEqual({ out: '', err: '' })
  })

  it('describes a merged log', async () => {
    const folder = join(inFolder('history'), 'logs')
    const names = (await readdir(folder)).filter((name) => name.endsWith('.log')).sort()
    const logs = await Promise.all(names.map((name) => Log.open(join(folder, name))))
    const merged = await Log.merge(logs)
    await merged.copyTo(inFolder('merged.log'))
    const { code, out, err } = await commandLine.run('show', inFolder('merged.log'), '--frames')
    expect(code, err).toBe(0)
    expect(out).toMatch(new RegExp(`│ of which it holds +│ +${merged.recordCount}, the last version of`))
    const starts = logs.map(({ startFrameNo }) => startFrameNo).join(', ')
    expect(out).toMatch(new RegExp(`│ taken at frame +│ +${starts} │`))
    expect(out.match(/^frame \d+ {2}page \d+/gm)).toHaveLength(merged.recordCount)
    for (const log of [...logs, merged]) await log.close()
  })

  it('describes a snapshot', async () => {
    const { code, out, err } = await commandLine.run(
      'show',
      join(inFolder('history'), 'snapshots', 'blank.db'),
    )
    expect(code, err).toBe(0)
    expect(out).toMatch(/│ frames +│ +none: blank │/)
  })

  it('describes what its store has compressed', async () => {
    const path = inFolder('compressed')
    const store = new FileStore(path, { compression: 'deflate' })
    await store.putSnapshot(await Snapshot.blank())
    const primary = await Primary.open({ store })
    await primary.run('CREATE TABLE t (a)')
    await primary.checkpoint()
    await primary.close()
    await store.close()
    const log = join(path, 'logs', '0000000000000000.log')
    const shown = await commandLine.run('show', log, '--frames')
    expect(shown.code, shown.err).toBe(0)
    expect(shown.out).toMatch(/│ frames +│ +0 to \d+ │/)
    expect(shown.out).toMatch(/ {2}commit, \d+ pages$/m)
    const snapshot = await commandLine.run('show', join(path, 'snapshots', 'blank.db'))
    expect(snapshot.out).toMatch(/│ frames +│ +none: blank │/)
    // Elsewhere nobody can tell what it is of.
    await writeFile(inFolder('copy.log'), await readFile(log))
    expect((await commandLine.run('show', inFolder('copy.log'))).code).toBe(1)
    expect(await rejection(Log.open(log))).toMatchObject({
      code: 'ERR_NOT_A_LOG',
      message: `${log} is no plain log, but a compressed object of a store: read it with store.readLog`,
    })
  })

  it('says where a file is damaged, and what is neither', async () => {
    const damaged = inFolder('damaged.log')
    const bytes = await readFile(logPath())
    bytes[200]! ^= 1
    await writeFile(damaged, bytes)
    const bad = await commandLine.run('show', damaged)
    expect(bad.code).toBe(1)
    expect(bad.err).toMatch(/^error: ERR_CORRUPT: .*damaged\.log: frame 0 at byte 112 is damaged/)
    await writeFile(inFolder('text'), 'a text of more than seventy-two bytes, '.repeat(20))
    const foreign = await commandLine.run('show', inFolder('text'))
    expect(foreign.code).toBe(1)
    expect(foreign.err).toMatch(/^error: ERR_NOT_A_LOG: .*text is no log, segment or snapshot of mylibsql$/m)
  })
})
