/**
 * Random histories, with VACUUM, schema changes and rollbacks in them, whose logs are merged at random, merged ones among
 * them. What must hold: wherever a merged log may be taken, it leads to the very bytes of the primary.
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { Log, type LogBoundary, Replica } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import {
  closedAfterTest,
  expectSameBytes,
  openPrimary,
  pagesOf,
  type TestPrimary,
} from './support/database.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'
import { type Random, withSeed } from './support/random.js'
import { type Procedures, runOnPrimary, Workload, workloadSchema } from './support/workload.js'

type Source = TestPrimary<Procedures>

async function randomHistory(random: Random, pageSize: number, logCount: number): Promise<Source> {
  const source = await openPrimary<Procedures>(workloadSchema, { pageSize })
  const workload = new Workload(random, { blobBytesMax: Math.min(pageSize * 60, 300_000) })
  workload.hasProcedures = false
  while (source.logs.length < logCount) {
    const count = random.integer(1, 12)
    await Promise.all(Array.from({ length: count }, () => runOnPrimary(source.primary, workload.next())))
    // Now and then nothing was written: then there is no log.
    await source.save()
  }
  return source
}

/** Merged in one go or in steps, with positions that are states and others. */
async function mergeAtRandom(random: Random, logs: readonly Log[]): Promise<Log> {
  const parts: Log[] = []
  for (let from = 0; from < logs.length; ) {
    const to = random.integer(from + 1, logs.length)
    const part = logs.slice(from, to)
    const isMerged = to - from < logs.length && random.chance(0.5)
    if (isMerged) parts.push(await mergeAtRandom(random, part))
    else parts.push(...part)
    from = to
  }
  const { startFrameNo } = logs[0]!
  const { nextFrameNo } = logs.at(-1)!
  const at = Array.from({ length: random.integer(0, 5) }, () => random.integer(startFrameNo, nextFrameNo))
  return closedAfterTest(await Log.merge(parts, { at }))
}

/** The logs up to a position, the last one cut there. */
async function logsUpTo(logs: readonly Log[], { frameNo, checksum }: LogBoundary): Promise<Log[]> {
  const whole = logs.filter(({ nextFrameNo }) => nextFrameNo <= frameNo)
  const cut = logs[whole.length]
  if (cut === undefined || cut.startFrameNo >= frameNo) return whole
  const { pageSize, startFrameNo, startChecksum } = cut
  const head = closedAfterTest(await Log.create(startFrameNo, { pageSize, startChecksum }))
  const frames = []
  for await (const frame of cut.frames()) if (frame.frameNo < frameNo) frames.push(frame)
  await head.pushFrames(frames)
  expect(head.endChecksum).toBe(checksum)
  return [...whole, head]
}

/** Takes the merged log behind `before`, then the rest, in one of the ways that there are. */
async function checkTaken(random: Random, source: Source, before: readonly Log[], log: Log): Promise<void> {
  const { primary, blank, logs } = source
  const after = logs.filter(({ startFrameNo }) => startFrameNo >= log.nextFrameNo)
  const all = [...before, log, ...after]
  if (random.chance(0.3)) {
    const appended = closedAfterTest(await blank.append(all))
    const path = join(temporaryFolder(), `${randomUUID()}.db`)
    expect((await pagesOf(appended)).equals(await pagesOf(await primary.snapshot(path)))).toBe(true)
    return
  }
  const openedCount = random.integer(0, all.length)
  const replica = await Replica.open(blank, all.slice(0, openedCount))
  for (const one of all.slice(openedCount)) await replica.replicate(one)
  expect(replica.lastFrameNo).toBe(primary.lastFrameNo)
  await expectSameBytes(primary, replica)
  await replica.close()
}

describe.each([
  { pageSize: 512, mergeCount: 8 },
  { pageSize: 4096, mergeCount: 6 },
  { pageSize: 65536, mergeCount: 3 },
])('with pages of $pageSize bytes', ({ pageSize, mergeCount }) => {
  it('a merged log leads to the same bytes wherever it may be taken', () =>
    withSeed(`merging pages of ${pageSize} bytes`, async (random) => {
      const source = await randomHistory(random, pageSize, 12)
      const { logs, blank } = source
      for (let count = 0; count < mergeCount; count += 1) {
        const from = random.integer(0, logs.length - 1)
        const group = logs.slice(from, random.integer(from + 1, logs.length))
        const log = await mergeAtRandom(random, group)
        const { startFrameNo, startChecksum, endChecksum, frameCount, boundaries } = log
        expect({ startFrameNo, startChecksum, endChecksum, frameCount }).toEqual({
          startFrameNo: group[0]!.startFrameNo,
          startChecksum: group[0]!.startChecksum,
          endChecksum: group.at(-1)!.endChecksum,
          frameCount: group.reduce((sum, one) => sum + one.frameCount, 0),
        })
        const starts = group.slice(1).map((one) => one.startFrameNo)
        expect(boundaries.map(({ frameNo }) => frameNo)).toEqual(expect.arrayContaining(starts))
        const positions = [{ frameNo: startFrameNo, checksum: startChecksum }, ...boundaries]
        // All of them would take too long.
        const some = Array.from({ length: Math.min(3, positions.length) }, () => random.pick(positions))
        for (const position of some) {
          await checkTaken(random, source, await logsUpTo(logs, position), log)
        }
        const elsewhere = startFrameNo + random.integer(1, frameCount)
        const last = group.at(-1)!
        const isState = [...positions, { frameNo: last.nextFrameNo }].some((one) => one.frameNo === elsewhere)
        const inside = isState ? undefined : await stateAt(logs, elsewhere)
        if (inside === undefined) continue
        const replica = closedAfterTest(await Replica.open(blank, await logsUpTo(logs, inside)))
        await expectCode(replica.replicate(log), 'ERR_LOG_GAP')
      }
    }))
})

/** Undefined: no transaction ends before the frame. */
async function stateAt(logs: readonly Log[], frameNo: number): Promise<LogBoundary | undefined> {
  const log = logs.find((one) => one.startFrameNo < frameNo && one.nextFrameNo >= frameNo)!
  const { sizeAfter, checksum } = await log.readFrame(frameNo - 1)
  return sizeAfter === 0 ? undefined : { frameNo, checksum }
}
