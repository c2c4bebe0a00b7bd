import { FrameBatch, Frames, Log, type Primary, Replica } from 'mylibsql'
import { bufferCount, firstValueFrom, from, lastValueFrom, map, Observable, take, toArray } from 'rxjs'
import { describe, expect, it } from 'vitest'
import {
  closedAfterTest,
  expectReplicated,
  expectSameBytes,
  openPrimary,
  openReplica,
} from './support/database.js'
import { rejection } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
const last = (batch: FrameBatch) => batch.nextFrameNo - 1

describe('next', () => {
  it('gives what waits, then what comes', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const waiting = await insert(primary, 1)
    expect(last((await frames.next())!)).toBe(waiting.frameNo)
    const coming = [frames.next(), frames.next()]
    const acks = [await insert(primary, 2), await insert(primary, 3)]
    expect((await Promise.all(coming)).map((batch) => last(batch!))).toEqual(
      acks.map(({ frameNo }) => frameNo),
    )
  })

  it('is undefined once closed', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const pending = [frames.next(), frames.next()]
    frames.close()
    frames.close()
    expect(await Promise.all(pending)).toEqual([undefined, undefined])
    expect(await frames.next()).toBeUndefined()
  })
})

describe('tryNext', () => {
  it('gives what waits, else undefined', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    expect(frames.tryNext()).toBeUndefined()
    const ack = await insert(primary, 1)
    // The frames of a write are there when its Ack is.
    expect(last(frames.tryNext()!)).toBe(ack.frameNo)
    expect(frames.tryNext()).toBeUndefined()
    frames.close()
    expect(frames.tryNext()).toBeUndefined()
  })
})

describe('for await', () => {
  it('takes every batch until the stream is closed', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const taken: number[] = []
    const loop = (async () => {
      for await (const batch of frames) {
        taken.push(last(batch))
        if (taken.length === 3) frames.close()
      }
    })()
    const acks = []
    for (let n = 1; n <= 3; n++) acks.push(await insert(primary, n))
    await loop
    expect(taken).toEqual(acks.map(({ frameNo }) => frameNo))
  })

  it('does not close the stream when it is left', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    await insert(primary, 1)
    const ack = await insert(primary, 2)
    for await (const _batch of frames) break
    expect(last((await frames.next())!)).toBe(ack.frameNo)
  })

  it('ends with the primary', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const loop = (async () => {
      for await (const _batch of frames);
    })()
    await primary.close()
    await loop
  })
})

describe('a batch', () => {
  it('holds whole transactions, without gaps, that continue the history', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    const frames = primary.captureFrames()
    let [nextFrameNo, checksum] = [primary.lastFrameNo! + 1, source.logs.at(-1)!.endChecksum]
    const text = 'x'.repeat(3000)
    const writes = Array.from({ length: 50 }, (_, n) =>
      primary.run('INSERT INTO numbers VALUES (?, ?)', [n, n % 10 === 0 ? text.repeat(20) : text]),
    )
    await Promise.all(writes)
    await primary.transaction(async (connection) => {
      await connection.run('DELETE FROM numbers WHERE n % 2 = 0')
      await connection.exec('CREATE INDEX by_text ON numbers (text)')
    })
    await primary.run('VACUUM')
    for (let batch = frames.tryNext(); batch !== undefined; batch = frames.tryNext()) {
      expect(batch.startFrameNo).toBe(nextFrameNo)
      expect(batch.startChecksum).toBe(checksum)
      expect(batch.frames).toHaveLength(batch.frameCount)
      expect(batch.frames.map(({ frameNo }) => frameNo)).toEqual(
        Array.from({ length: batch.frameCount }, (_, index) => nextFrameNo + index),
      )
      expect(batch.frames.every(({ data }) => data.byteLength === primary.pageSize)).toBe(true)
      expect(batch.frames.at(-1)!.sizeAfter, 'ends with a commit').toBeGreaterThan(0)
      nextFrameNo = batch.nextFrameNo
      checksum = batch.frames.at(-1)!.checksum
    }
    expect(nextFrameNo).toBe(primary.lastFrameNo! + 1)
    await save()
    expect(source.logs.at(-1)!.endChecksum).toBe(checksum)
    await expectReplicated(source)
  })

  it('is shown only when its transaction has committed', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const rolledBack = primary.transaction(async (connection) => {
      // More than SQLite keeps in memory: it writes frames of the open transaction into the WAL.
      await connection.run(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 6000) INSERT INTO numbers SELECT n, printf('%04096d', n) FROM c",
      )
      expect(frames.tryNext()).toBeUndefined()
      throw new Error('no')
    })
    await expect(rolledBack).rejects.toThrow('no')
    expect(frames.tryNext()).toBeUndefined()
    const ack = await insert(primary, 1)
    const batch = frames.tryNext()!
    expect(last(batch)).toBe(ack.frameNo)
    expect(batch.frameCount).toBe(1)
  })

  it('has statements of withConnection one by one', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    await primary.withConnection(async (connection) => {
      await connection.run('INSERT INTO numbers (n) VALUES (1)')
      expect(frames.tryNext()?.frameCount).toBe(1)
      await connection.exec('BEGIN; INSERT INTO numbers (n) VALUES (2)')
      expect(frames.tryNext()).toBeUndefined()
      await connection.exec('COMMIT')
      expect(frames.tryNext()?.frameCount).toBe(1)
    })
  })
})

describe('several subscribers', () => {
  it('share the batches', async () => {
    const { primary } = await openPrimary(numbers)
    const streams = [primary.captureFrames(), primary.captureFrames(), primary.captureFrames()]
    await insert(primary, 1)
    const [first, ...others] = await Promise.all(streams.map((frames) => frames.next()))
    expect(first).toBeInstanceOf(FrameBatch)
    for (const batch of others) expect(batch).toBe(first)
  })

  it('a late one begins with the next commit', async () => {
    const { primary } = await openPrimary(numbers)
    const early = primary.captureFrames()
    const before = await insert(primary, 1)
    const late = primary.captureFrames()
    expect(late.tryNext()).toBeUndefined()
    const after = await insert(primary, 2)
    const batch = late.tryNext()!
    expect(batch.startFrameNo).toBe(before.frameNo! + 1)
    expect(last(batch)).toBe(after.frameNo)
    expect(last(early.tryNext()!)).toBe(before.frameNo)
    expect(early.tryNext()).toBe(batch)
  })

  it('one that closes leaves the others, and can come again', async () => {
    const { primary } = await openPrimary(numbers)
    const [one, other] = [primary.captureFrames(), primary.captureFrames()]
    one.close()
    await insert(primary, 1)
    expect(other.tryNext()?.frameCount).toBe(1)
    other.close()
    await insert(primary, 2)
    const again = primary.captureFrames()
    const ack = await insert(primary, 3)
    const batch = again.tryNext()!
    expect([batch.startFrameNo, last(batch)]).toEqual([ack.frameNo, ack.frameNo])
  })

  it('one that begins while frames are on their way to one that left sees nothing of those', async () => {
    const { primary } = await openPrimary(numbers)
    const left = primary.captureFrames()
    const onTheWay = insert(primary, 1)
    // Behind the tick in which the write is sent.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    left.close()
    const unseen = insert(primary, 2)
    const frames = primary.captureFrames()
    await onTheWay
    await unseen
    const ack = await insert(primary, 3)
    expect(frames.tryNext()?.startFrameNo).toBe(ack.frameNo)
  })

  it('one that another one closes does not hold writers', async () => {
    const { primary } = await openPrimary(numbers, { subscriberBytesMax: 1 })
    const closing = primary.captureFrames()
    const closed = primary.captureFrames()
    closing.subscribe(() => closed.close())
    for (let n = 1; n <= 3; n++) await insert(primary, n)
    expect(primary.lastFrameNo).toBeGreaterThan(0)
  })
})

describe('ackReplicated', () => {
  it('refuses what was not delivered', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    expect(() => frames.ackReplicated(0)).toThrow(
      new RangeError('Frame 0 cannot be acknowledged: none was delivered yet'),
    )
    const ack = await insert(primary, 1)
    // It waits, but nobody has taken it.
    expect(() => frames.ackReplicated(ack.frameNo!)).toThrow(RangeError)
    frames.tryNext()
    expect(() => frames.ackReplicated(ack.frameNo! + 1)).toThrow(
      new RangeError(
        `Frame ${ack.frameNo! + 1} cannot be acknowledged: the last one delivered is ${ack.frameNo}`,
      ),
    )
    frames.ackReplicated(ack.frameNo!)
    frames.ackReplicated(ack.frameNo!)
    frames.ackReplicated(0)
    expect(primary.savedFrameNo).toBe(ack.frameNo)
    for (const wrong of [-1, 1.5, Number.NaN, '1', undefined]) {
      expect(() => frames.ackReplicated(wrong as number)).toThrow(TypeError)
    }
  })
})

describe('as an Observable', () => {
  it('is one of RxJS', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    expect(frames).toBeInstanceOf(Frames)
    expect(frames).toBeInstanceOf(Observable)
    expect(from(frames)).toBe(frames)
  })

  it('works with operators, and completes with close', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const seen = lastValueFrom(
      frames.pipe(
        map((batch) => last(batch)),
        bufferCount(2),
        toArray(),
      ),
    )
    const acks = []
    for (let n = 1; n <= 5; n++) acks.push((await insert(primary, n)).frameNo)
    frames.close()
    expect(await seen).toEqual([acks.slice(0, 2), acks.slice(2, 4), acks.slice(4)])
    expect(await lastValueFrom(frames.pipe(toArray()))).toEqual([])
  })

  it('hands what waits to the first observer, and only as much as it takes', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const acks = []
    for (let n = 1; n <= 4; n++) acks.push((await insert(primary, n)).frameNo)
    expect(last(await firstValueFrom(frames))).toBe(acks[0])
    const two = await lastValueFrom(frames.pipe(take(2), toArray()))
    expect(two.map(last)).toEqual([acks[1], acks[2]])
    expect(last((await frames.next())!)).toBe(acks[3])
  })

  it('gives each batch to all observers of one stream, and may be acknowledged in them', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const seen: FrameBatch[][] = [[], []]
    for (const list of seen) frames.subscribe((batch) => void list.push(batch))
    frames.subscribe((batch) => frames.ackReplicated(last(batch)))
    const ack = await insert(primary, 1)
    await ack.durable()
    expect(seen[0]).toHaveLength(1)
    expect(seen[0]![0]).toBe(seen[1]![0])
  })

  it('is not pulled from at the same time', async () => {
    const { primary } = await openPrimary(numbers)
    const frames = primary.captureFrames()
    const subscription = frames.subscribe()
    expect(() => frames.tryNext()).toThrow(TypeError)
    expect(await rejection(frames.next())).toBeInstanceOf(TypeError)
    subscription.unsubscribe()
    const ack = await insert(primary, 1)
    expect(last(frames.tryNext()!)).toBe(ack.frameNo)
    const taken = frames.next()
    expect(await rejection(firstValueFrom(frames))).toBeInstanceOf(TypeError)
    expect(last((await insert(primary, 2).then(() => taken))!)).toBe(ack.frameNo! + 1)
  })

  it('completes when the primary closes', async () => {
    const { primary } = await openPrimary(numbers)
    const completed = lastValueFrom(primary.captureFrames(), { defaultValue: 'nothing' })
    await primary.close()
    expect(await completed).toBe('nothing')
  })
})

describe('micro-replication', () => {
  it('a log made of live frames makes writes durable, and shrinks with checkpoints', async () => {
    const source = await openPrimary(numbers)
    const { primary, logs } = source
    const frames = primary.captureFrames()
    const live = await Log.create(primary.lastFrameNo! + 1)
    const replicate = async () => {
      for (let batch = frames.tryNext(); batch !== undefined; batch = frames.tryNext()) {
        await live.pushFrames(batch)
      }
      if (live.lastFrameNo !== undefined) frames.ackReplicated(live.lastFrameNo)
    }

    const first = await insert(primary, 1)
    expect(first.isDurable).toBe(false)
    await replicate()
    await first.durable()

    const second = await insert(primary, 2)
    const checkpointed = await primary.checkpoint((log) => void logs.push(log))
    expect(checkpointed).toBe(second.frameNo)
    await second.durable()
    await replicate()
    const third = await insert(primary, 3)
    await replicate()
    await third.durable()

    // What the checkpoint saved is not needed in the live log any more.
    await live.truncate(checkpointed! + 1)
    expect([live.startFrameNo, live.lastFrameNo]).toEqual([checkpointed! + 1, third.frameNo])
    await live.verify()

    // The primary is lost now: a replica has everything that was durable.
    const replica = closedAfterTest(await Replica.open(source.blank, [...logs, live]))
    expect(await replica.all('SELECT n FROM numbers')).toEqual([1, 2, 3].map((n) => ({ n })))
    await expectSameBytes(primary, replica)
    await expectReplicated(source)
  })

  it('a replica that is fed with live frames', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const replica = await openReplica(source)
    const frames = primary.captureFrames()
    const feeding = (async () => {
      for await (const batch of frames) {
        await replica.replicateFrames(batch)
        frames.ackReplicated(last(batch))
      }
    })()
    const durables: Promise<unknown>[] = []
    for (let n = 1; n <= 60; n++) durables.push((await insert(primary, n)).durable())
    await Promise.all(durables)
    await replica.waitFor(primary.lastFrameNo!)
    expect(await replica.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 60 })
    frames.close()
    await feeding
    await expectSameBytes(primary, replica)
  })
})
