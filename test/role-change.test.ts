import { join } from 'node:path'
import { type Log, Primary, Replica, Snapshot } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import {
  closedAfterTest,
  expectReplicated,
  expectSameBytes,
  integrityCheck,
  openPrimary,
  openReplica,
} from './support/database.js'
import { deferred } from './support/deferred.js'
import { expectCode } from './support/errors.js'
import { temporaryFolder } from './support/folder.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers VALUES (?)', [n])

describe('intoReplica', () => {
  it('keeps path, position and pages; the primary is closed', async () => {
    const source = await openPrimary(numbers)
    const { primary, save, blank, logs } = source
    await insert(primary, 1)
    await save()
    const [path, lastFrameNo] = [primary.path, primary.lastFrameNo]
    const frames = primary.captureFrames()
    const replica = closedAfterTest(await primary.intoReplica())
    expect(replica).toBeInstanceOf(Replica)
    expect([replica.path, replica.lastFrameNo, replica.pageSize]).toEqual([path, lastFrameNo, 4096])
    expect(await replica.all('SELECT n FROM numbers')).toEqual([{ n: 1 }])
    expect(await frames.next()).toBeUndefined()

    const error = await expectCode(insert(primary, 2), 'ERR_CLOSED')
    expect(error.message).toContain('intoReplica()')
    for (const call of [
      () => primary.get('SELECT 1'),
      () => primary.checkpoint(() => {}),
      () => primary.withConnection(async () => {}),
      () => primary.snapshot('x'),
      () => primary.stats(),
      () => primary.intoReplica(),
    ]) {
      await expectCode(call(), 'ERR_CLOSED')
    }
    // To close the old object is nothing to the new one.
    await primary.close()
    expect(await replica.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 1 })
    await expectSameBytes(replica, closedAfterTest(await Replica.open(blank, logs)))
  })

  it('rejects while writes are not saved, and leaves the primary usable', async () => {
    const source = await openPrimary(numbers)
    const { primary, save } = source
    const frames = primary.captureFrames()
    const ack = await insert(primary, 1)
    const error = await expectCode(primary.intoReplica(), 'ERR_UNSAVED_WRITES')
    expect(error.message).toContain(`frames ${ack.frameNo} to ${ack.frameNo} are not saved`)
    expect(error.details).toEqual({ frameNo: ack.frameNo })
    await insert(primary, 2)
    expect(frames.tryNext()?.startFrameNo).toBe(ack.frameNo)
    expect(await primary.get('SELECT count(*) AS n FROM numbers')).toEqual({ n: 2 })
    await save()
    await ack.durable()
    await expectReplicated(source)
    await (await primary.intoReplica()).close()
  })

  it('takes requests into account that nobody waited for', async () => {
    const { primary } = await openPrimary(numbers)
    const write = insert(primary, 1)
    await expectCode(primary.intoReplica(), 'ERR_UNSAVED_WRITES')
    await write
  })

  it('rejects while a callback has the connection', async () => {
    const { primary, save } = await openPrimary(numbers)
    const [begun, end] = [deferred(), deferred()]
    const session = primary.transaction(async (connection) => {
      await connection.run('INSERT INTO numbers VALUES (1)')
      begun.resolve()
      await end.promise
    })
    await begun.promise
    const error = await expectCode(primary.intoReplica(), 'ERR_UNSAVED_WRITES')
    expect(error.message).toContain('writes are under way')
    end.resolve()
    await session
    await save()
    await (await primary.intoReplica()).close()
  })

  it('inside withConnection is ERR_REENTRANT', async () => {
    const { primary } = await openPrimary(numbers)
    await primary.withConnection(() => expectCode(primary.intoReplica(), 'ERR_REENTRANT'))
  })

  it('is allowed when every write is acknowledged by a subscriber', async () => {
    const source = await openPrimary(numbers)
    const { primary } = source
    const replica = await openReplica(source)
    const frames = primary.captureFrames()
    await insert(primary, 1)
    const batch = frames.tryNext()!
    await replica.replicateFrames(batch)
    frames.ackReplicated(batch.nextFrameNo - 1)
    const former = closedAfterTest(await primary.intoReplica())
    await expectSameBytes(former, replica)
  })

  it('a replica of a primary that never wrote', async () => {
    const { primary, blank } = await openPrimary()
    const replica = closedAfterTest(await primary.intoReplica())
    expect(replica.lastFrameNo).toBeUndefined()
    const other = await openPrimary(numbers)
    for (const log of other.logs) await replica.replicate(log)
    await expectSameBytes(replica, other.primary)
    expect(blank.lastFrameNo).toBeUndefined()
  })
})

describe('intoPrimary', () => {
  it('keeps path, position and pages; the replica is closed', async () => {
    const source = await openPrimary(numbers)
    const replica = await openReplica(source)
    const { path, lastFrameNo } = replica
    const waiting = replica.waitFor(lastFrameNo! + 1)
    const rejected = expectCode(waiting, 'ERR_CLOSED')
    const primary = closedAfterTest(await replica.intoPrimary())
    expect(primary).toBeInstanceOf(Primary)
    expect([primary.path, primary.lastFrameNo, primary.savedFrameNo]).toEqual([
      path,
      lastFrameNo,
      lastFrameNo,
    ])
    await rejected
    const error = await expectCode(replica.replicate(source.logs[0]!), 'ERR_CLOSED')
    expect(error.message).toContain('intoPrimary()')
    await expectCode(replica.get('SELECT 1'), 'ERR_CLOSED')
    await replica.close()

    const ack = await insert(primary, 1)
    expect(ack.frameNo).toBe(lastFrameNo! + 1)
    const logs: Log[] = []
    await primary.checkpoint((log) => void logs.push(log))
    expect(logs[0]!.startChecksum).toBe(source.logs.at(-1)!.endChecksum)
    const copy = closedAfterTest(await Replica.open(source.blank, [...source.logs, ...logs]))
    await expectSameBytes(primary, copy)
  })

  it('what two primaries write is told apart', async () => {
    const source = await openPrimary(numbers)
    const fork = closedAfterTest(await (await openReplica(source)).intoPrimary())
    await insert(source.primary, 1)
    await source.save()
    await insert(fork, 2)
    const forked: Log[] = []
    await fork.checkpoint((log) => void forked.push(log))
    await insert(fork, 3)
    await fork.checkpoint((log) => void forked.push(log))
    const replica = await openReplica(source)
    await expectCode(replica.replicate(forked[1]!), 'ERR_LINEAGE')
    await expectReplicated(source)
  })
})

it('a kept path stays locked through the changes, and is a plain database in the end', async () => {
  const path = join(temporaryFolder(), 'working.db')
  const { primary, save } = await openPrimary(numbers, { path })
  await insert(primary, 1)
  await save()
  const replica = await primary.intoReplica()
  await expectCode(Primary.open(await Snapshot.blank(), [], { path }), 'ERR_LOCKED')
  const again = await replica.intoPrimary()
  await insert(again, 2)
  await expectCode(Replica.open(await Snapshot.blank(), [], { path }), 'ERR_LOCKED')
  await again.close()
  integrityCheck(path)
  await (await Primary.open(await Snapshot.blank(), [], { path })).close()
})

it.each(['logs', 'frames'])('two machines swap roles several times, by %s', async (way) => {
  const source = await openPrimary(numbers)
  const allLogs = [...source.logs]
  let primary: Primary = source.primary
  let replica: Replica = await openReplica(source)
  for (let round = 0; round < 6; round++) {
    const frames = way === 'frames' ? primary.captureFrames() : undefined
    const acks = []
    for (let n = 0; n < 20; n++) acks.push(await insert(primary, round * 100 + n))
    await primary.run('DELETE FROM numbers WHERE n % 3 = 0')
    if (round % 2 === 1) await primary.run('VACUUM')
    await primary.checkpoint(async (log) => {
      allLogs.push(log)
      if (way === 'logs') await replica.replicate(log)
    })
    for (let batch = frames?.tryNext(); batch !== undefined; batch = frames?.tryNext()) {
      await replica.replicateFrames(batch)
    }
    for (const ack of acks) expect(ack.isDurable).toBe(true)
    expect(replica.lastFrameNo).toBe(primary.lastFrameNo)
    await expectSameBytes(primary, replica)
    const [next, former] = await Promise.all([replica.intoPrimary(), primary.intoReplica()])
    primary = closedAfterTest(next)
    replica = closedAfterTest(former)
  }
  const left = [0, 1, 2, 3, 4, 5]
    .flatMap((round) => Array.from({ length: 20 }, (_, n) => round * 100 + n))
    .filter((n) => n % 3 !== 0)
  expect((await primary.all('SELECT n FROM numbers ORDER BY n')).map((row) => row.n)).toEqual(left)
  const copy = closedAfterTest(await Replica.open(source.blank, allLogs))
  await expectSameBytes(primary, copy)
  await expectSameBytes(replica, copy)
})

it('whose object is closed meanwhile rejects, and gives no other one', async () => {
  const blank = await Snapshot.blank()
  const primary = await Primary.open(blank)
  const becoming = expectCode(primary.intoReplica(), 'ERR_CLOSED')
  await Promise.all([primary.close(), becoming])
  const replica = await Replica.open(blank)
  const promoted = expectCode(replica.intoPrimary(), 'ERR_CLOSED')
  await Promise.all([replica.close(), promoted])
})

it('reads go on through a change', async () => {
  const { primary } = await openPrimary(`${numbers}; INSERT INTO numbers VALUES (1), (2), (3)`)
  const rows = primary.iterate('SELECT n FROM numbers')
  expect((await rows.next()).value).toEqual({ n: 1 })
  const replica = closedAfterTest(await primary.intoReplica())
  expect((await rows.next()).value).toEqual({ n: 2 })
  expect((await rows.next()).value).toEqual({ n: 3 })
  expect((await rows.next()).done).toBe(true)
  expect(await replica.get('SELECT 1 AS one')).toEqual({ one: 1 })
})
