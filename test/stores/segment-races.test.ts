// Segments of a FileStore while others come late, split, list and take over: what counts stays, what does not takes no place.
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { FileStore, Primary, prune, Snapshot } from 'mylibsql'
import { expect, it } from 'vitest'
import { LogTail } from '../../src/worker/log-tail.js'
import { column } from '../support/archived.js'
import { closedAfterTest } from '../support/database.js'
import { expectCode } from '../support/errors.js'
import { temporaryFolder } from '../support/folder.js'
import { addTo, starts, storeWithSegment } from '../support/segments.js'

it('an end that is said late is that of the segment it was meant for', async () => {
  const { store, epoch, logs, tail } = await storeWithSegment(3, 12)
  let at = 7
  let newer: typeof tail | undefined
  while (newer === undefined) ({ tail: newer } = await store.append(logs[at++]!, epoch, { takesTail: true }))
  const writer = new LogTail(newer)
  addTo(writer, logs[at++]!)
  await store.endTail(tail)
  addTo(writer, logs[at++]!)
  expect((await store.logs()).at(-1)).toMatchObject({
    startFrameNo: logs[at - 1]!.startFrameNo,
    isOpen: true,
  })
  writer.close()
})

it('a log that is added late takes no place when those before it get files of their own', async () => {
  const { dir, writer, logs, reopen } = await storeWithSegment(3)
  const newer = reopen()
  const epoch = await newer.claimEpoch('newer')
  addTo(writer, logs[7]!)
  const listed = await newer.logs()
  await newer.remove(listed.slice(5, 6))
  expect(starts(await newer.logs())).toEqual([0, 2, 4, 6, 8, 12])
  expect(readdirSync(join(dir, 'logs')).slice(-2)).toEqual(['0000000000000008.log', '0000000000000012.log'])
  const { id } = await newer.append(logs[7]!, epoch)
  expect(id).toMatch(/0014\.log$/)
  expect(starts(await newer.logs())).toEqual([0, 2, 4, 6, 8, 12, 14])
})

it('a primary that took over stores, though an older one added a log late and the history was pruned', async () => {
  const dir = temporaryFolder()
  const open = () => Primary.open({ store: new FileStore(dir), checkpoint: { intervalMs: 40 } })
  const insert = (primary: Primary, text: string) => primary.run('INSERT INTO t (text) VALUES (?)', [text])
  const store = new FileStore(dir)
  await store.putSnapshot(await Snapshot.blank())
  const older = await open()
  await (await older.run('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')).durable()
  const path = join(temporaryFolder(), 'snapshot.db')
  let snapshot: Snapshot | undefined
  for (let index = 0; index < 10; index++) {
    await insert(older, 'a')
    // In the midst of the last log.
    if (index === 9) snapshot = await older.snapshot(path)
    await (await insert(older, 'b')).durable()
  }
  await store.putSnapshot(snapshot!)
  const newer = closedAfterTest(await open())
  await expectCode(
    insert(older, 'late').then((ack) => ack.durable()),
    'ERR_FENCED',
  )
  await prune(new FileStore(dir), { keepMs: 0, keepSnapshots: 1 })
  await (await insert(newer, 'newer')).durable()
  await older.close().catch(() => {})
  await newer.close()
  const last = closedAfterTest(await open())
  await (await insert(last, 'last')).durable()
  const texts = (await column(last, 'SELECT text FROM t ORDER BY id')) as string[]
  expect(texts.slice(-3)).toEqual(['b', 'newer', 'last'])
  expect(texts).toHaveLength(22)
})

/** One without room for another log, and ended. */
async function storeWithFullSegment() {
  const { dir, store, tail, logs, writer } = await storeWithSegment(1, 240)
  let at = 5
  while (writer.takes(logs[at]!.file.header)) addTo(writer, logs[at++]!)
  writer.close()
  await store.endTail(tail)
  return { dir, store, newest: logs[at - 1]!.startFrameNo }
}

it('whoever lists while others remove finds the newest logs, each time', async () => {
  const { dir, store, newest } = await storeWithFullSegment()
  const reader = closedAfterTest(new FileStore(dir))
  const all = await reader.logs()
  let isRemoving = true
  // Every other one: that takes as many files as can be.
  const removing = store.remove(all.slice(4, -1).filter((_, index) => index % 2 === 0)).finally(() => {
    isRemoving = false
  })
  let count = 0
  for (; isRemoving; count++) {
    const found = starts(await reader.logs())
    expect(found.at(-1)).toBe(newest)
    expect(found.length).toBeGreaterThanOrEqual(all.length / 2)
  }
  await removing
  expect(count).toBeGreaterThan(1)
})

it('many logs are taken out of a segment at once', async () => {
  const { dir, store } = await storeWithFullSegment()
  const listed = await store.logs()
  await store.remove(listed.slice(4, 30))
  expect(starts(await store.logs())).toEqual(starts([...listed.slice(0, 4), ...listed.slice(30)]))
  // One of those that stay, not one for each.
  expect(readdirSync(join(dir, 'logs'))).toHaveLength(5)
})

it('a copy without its epochs has all logs', async () => {
  const { dir, reopen } = await storeWithSegment(3)
  rmSync(join(dir, 'epochs'), { recursive: true })
  expect(starts(await reopen().logs())).toEqual([0, 2, 4, 6, 8, 10, 12])
})

it('a follower is not told of a log that was added late, but of the one that counts', async () => {
  const { writer, logs, reopen } = await storeWithSegment(3)
  const ending = new AbortController()
  const seen: string[] = []
  const follow = async () => {
    for await (const { id } of reopen().follow(0, { signal: ending.signal })) seen.push(id.split('/').at(-1)!)
  }
  const following = follow()
  await expect.poll(() => seen.length).toBe(7)
  const newer = reopen()
  const epoch = await newer.claimEpoch('newer')
  addTo(writer, logs[7]!)
  await new Promise((resolve) => setTimeout(resolve, 100))
  for (const log of logs.slice(7, 9)) await newer.append(log, epoch)
  await expect.poll(() => seen.length).toBe(9)
  expect(seen.slice(7)).toEqual(['0000000000000014.log', '0000000000000016.log'])
  ending.abort()
  await following
})

it('room that is not needed is given back when a log is stored elsewhere', async () => {
  const { writer, tail } = await storeWithSegment(3)
  expect(statSync(tail.path).size).toBe(tail.fileBytes)
  writer.close()
  expect(statSync(tail.path).size).toBe(3 * 4096)
})
