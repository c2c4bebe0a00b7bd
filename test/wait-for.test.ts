import { type Primary, Replica, Snapshot } from 'mylibsql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closedAfterTest, openPrimary, openReplica } from './support/database.js'
import { isSettled } from './support/deferred.js'
import { expectCode, rejection } from './support/errors.js'

const numbers = 'CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)'
const insert = (primary: Primary, n: number) => primary.run('INSERT INTO numbers (n) VALUES (?)', [n])
const count = async (replica: Replica) => (await replica.get('SELECT count(*) AS n FROM numbers'))?.n

async function openBoth() {
  const source = await openPrimary(numbers)
  return { source, primary: source.primary, replica: await openReplica(source) }
}

describe('waitFor', () => {
  let shared: Replica
  beforeAll(async () => {
    shared = await Replica.open(await Snapshot.blank())
  })
  afterAll(() => shared.close())

  it('resolves when the frame is applied: read your writes', async () => {
    const { source, primary, replica } = await openBoth()
    const ack = await insert(primary, 1)
    const waits = [replica.waitFor(ack.frameNo), replica.waitFor(ack.frameNo)]
    const later = replica.waitFor(ack.frameNo! + 1)
    expect(await isSettled(Promise.race(waits))).toBe(false)
    await source.save()
    await replica.replicate(source.logs.at(-1)!)
    await Promise.all(waits)
    expect(await count(replica)).toBe(1)
    expect(await isSettled(later)).toBe(false)
    await insert(primary, 2)
    await source.save()
    await replica.replicate(source.logs.at(-1)!)
    await later
  })

  it('resolves at once for what is there, and for no frame at all', async () => {
    const { replica } = await openBoth()
    await replica.waitFor(0)
    await replica.waitFor(replica.lastFrameNo)
    await replica.waitFor(undefined)
    const blank = closedAfterTest(await Replica.open(await Snapshot.blank()))
    expect(blank.lastFrameNo).toBeUndefined()
    await blank.waitFor(undefined)
  })

  it('rejects with the reason of its signal', async () => {
    const { replica } = await openBoth()
    const controller = new AbortController()
    const waiting = replica.waitFor(99, { signal: controller.signal })
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await rejection(waiting)).toBe(reason)
    expect(await rejection(replica.waitFor(99, { signal: controller.signal }))).toBe(reason)
    expect(await rejection(replica.waitFor(99, { signal: AbortSignal.abort() }))).toMatchObject({
      name: 'AbortError',
    })
  })

  it('rejects with ERR_TIMEOUT', async () => {
    const { replica } = await openBoth()
    const error = await expectCode(replica.waitFor(99, { timeoutMs: 10 }), 'ERR_TIMEOUT')
    expect(error.details).toEqual({ frameNo: 99 })
    expect(error.message).toContain(`at frame ${replica.lastFrameNo}`)
  })

  it('waits as long as a timer can', async () => {
    const { replica } = await openBoth()
    const waiting = replica.waitFor(99, { timeoutMs: 2 ** 31 - 1 })
    expect(await isSettled(waiting)).toBe(false)
    const closed = expectCode(waiting, 'ERR_CLOSED')
    await replica.close()
    await closed
  })

  it.each<[unknown[], string]>([
    [['7'], "frameNo must be a frame number (integer from 0), got string '7'"],
    [[-1], 'frameNo must be a frame number (integer from 0), got number -1'],
    [[1.5], 'frameNo must be a frame number (integer from 0), got number 1.5'],
    [
      [1, { timeoutMs: 0 }],
      'Option "timeoutMs" of waitFor must be milliseconds from 1 to 2147483647, got number 0',
    ],
    [
      [1, { timeoutMs: 2 ** 31 }],
      'Option "timeoutMs" of waitFor must be milliseconds from 1 to 2147483647, got number 2147483648',
    ],
    [[1, { signal: {} }], 'Option "signal" of waitFor must be an AbortSignal, got an instance of Object'],
    [[1, { timeout: 1 }], 'Unknown option "timeout" of waitFor; did you mean "timeoutMs"?'],
  ])('refuses arguments %j', async (args, message) => {
    const error = await rejection(shared.waitFor(...(args as Parameters<Replica['waitFor']>)))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })
})
