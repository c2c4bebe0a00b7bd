/** The loop of a replica's thread that takes the logs of a folder as they come, and what the main thread makes of what it tells. */
import { tracingChannel } from 'node:diagnostics_channel'
import { linkSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FileStore, Replica } from 'mylibsql'
import { expect, it, onTestFinished, vi } from 'vitest'
import { AppliedFrames } from '../../src/main/applied-frames.js'
import { stepBytesMax } from '../../src/protocol/limits.js'
import { type LogFile, logNextFrameNo } from '../../src/protocol/log-format.js'
import type { AppliedLogs, Position } from '../../src/protocol/wire.js'
import { NextLogs } from '../../src/worker/next-logs.js'
import { closedAfterTest } from '../support/database.js'
import { temporaryFolder } from '../support/folder.js'
import { startHistory } from '../support/history.js'
import { storeWithSegment } from '../support/segments.js'

const noWait = 3_600_000

function followed(storePath: string, nextFrameNo = 0) {
  let position: Position = { nextFrameNo, checksum: 0n }
  const told: AppliedLogs[] = []
  const next = new NextLogs(storePath, {
    position: () => position,
    isApplied: ({ header }: LogFile) => {
      position = { nextFrameNo: logNextFrameNo(header), checksum: 0n }
      return true
    },
    told: (logs) => void told.push(logs),
  })
  onTestFinished(() => next.stop())
  return { next, told, taken: () => told.reduce((sum, { appliedCount }) => sum + appliedCount, 0) }
}

it('takes more than one step, woken by events alone', async () => {
  const store = closedAfterTest(new FileStore(join(temporaryFolder(), 'store')))
  const { write } = await startHistory(store)
  for (let n = 0; n < 4; n++)
    expect((await write({ transactions: 1, rows: 2500 })).byteLength).toBeGreaterThan(stepBytesMax)
  const { path } = store.logLocation((await store.logs())[0]!)
  const from = dirname(path)
  const storePath = temporaryFolder()
  const to = join(storePath, 'logs')
  mkdirSync(to)
  const { next, told } = followed(storePath)
  const request = { storePath, after: undefined, doubtedFrameNo: undefined, listInMs: noWait }
  // What was there before it listened, nobody knows.
  expect(await next.follow(request)).toMatchObject({ reason: 'unfound' })
  // Nothing polls while this clock stands still.
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const following = next.follow(request)
  const names = readdirSync(from).sort()
  expect(names).toHaveLength(5)
  for (const name of names) linkSync(join(from, name), join(to, name))
  while (told.length < 5) await new Promise((resolve) => setImmediate(resolve))
  next.stop()
  expect(await following).toMatchObject({ reason: 'stopped' })
})

it('looks behind the log that was told of', async () => {
  const { dir, store, logs, writer } = await storeWithSegment(3)
  writer.close()
  const last = (await store.logs()).at(-1)!
  const { path, byteOffset = 0 } = store.logLocation(last)
  const { next, taken } = followed(dir, last.startFrameNo)
  const request = { storePath: dir, doubtedFrameNo: undefined, listInMs: 0 }
  // One log before: it is found behind that.
  expect(await next.follow({ ...request, after: { path, byteOffset: byteOffset / 2 } })).toMatchObject({
    reason: 'unfound',
    position: { nextFrameNo: logs[6]!.nextFrameNo },
  })
  expect(taken()).toBe(1)
})

it('traces what was applied before anybody listened once, and as it was', async () => {
  const stops: string[] = []
  const thread = { call: async (method: string) => void stops.push(method) }
  const applied = new AppliedFrames({ thread, path: 'replica.db', pageSize: 4096 } as never, {
    nextFrameNo: 10,
    checksum: 0n,
  })
  const traces: { startFrameNo: number; frameCount: number }[] = []
  const channel = tracingChannel<object>('mylibsql.replicate')
  const subscribers = { start: (trace: object) => void traces.push(trace as (typeof traces)[number]) }
  channel.subscribe(subscribers as Parameters<typeof channel.subscribe>[0])
  onTestFinished(() => channel.unsubscribe(subscribers as Parameters<typeof channel.unsubscribe>[0]))
  // Several messages of a thread are handed over in one turn when the main thread was busy.
  for (const nextFrameNo of [14, 14, 20, 21]) {
    const position = { nextFrameNo, checksum: 0n }
    applied.receive({ kind: 'applied', logs: { position, appliedCount: 1, epoch: 1, createdAtMs: 0 } })
    expect(applied.position()).toEqual(position)
  }
  expect(traces).toMatchObject([
    { startFrameNo: 10, frameCount: 4 },
    { startFrameNo: 14, frameCount: 6 },
    { startFrameNo: 20, frameCount: 1 },
  ])
  expect(new Set(stops)).toEqual(new Set(['stopNextLogs']))
})

/** Of all threads of this process. */
function watchCount(): number {
  const folder = '/proc/self/fdinfo'
  const infos = readdirSync(folder).map((name) => {
    try {
      return readFileSync(join(folder, name), 'utf8')
    } catch {
      return ''
    }
  })
  return infos.join('\n').match(/^inotify wd:/gm)?.length ?? 0
}

it('stops when the store is closed, though logs go on coming, and keeps no watch', async () => {
  const before = watchCount()
  const { store, source, write } = await startHistory(
    closedAfterTest(new FileStore(join(temporaryFolder(), 'store'))),
  )
  const seen = closedAfterTest(new FileStore(join(store.url.replace('file:', ''))))
  const replica = closedAfterTest(await Replica.follow(seen))
  for (let n = 0; n < 5; n++) await replica.waitFor((await write({ transactions: 1 })).lastFrameNo)
  if (process.platform === 'linux') expect(watchCount()).toBe(before + 1)
  await seen.close()
  await vi.waitFor(
    async () => {
      await write({ transactions: 1 })
      expect((await replica.stats()).follow).toMatchObject({
        state: 'ended',
        lastError: { code: 'ERR_CLOSED' },
      })
    },
    { timeout: 20_000, interval: 5 },
  )
  const { lastFrameNo } = replica
  await write()
  expect(watchCount()).toBe(before)
  expect(replica.lastFrameNo).toBe(lastFrameNo)
  expect(source.primary.lastFrameNo).toBeGreaterThan(lastFrameNo!)
})
