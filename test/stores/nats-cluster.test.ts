/** Three servers on loopback, everything on all of them, and the one that leads the stream is killed under load. */
import { Snapshot } from 'mylibsql'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectCode } from '../support/errors.js'
import { NatsServer } from '../support/nats-server.js'
import { openNatsStore, rawClient, sharedNatsStore, storeName } from '../support/nats-store.js'
import { type Acknowledged, expectHolds, followPatiently, writeUntil } from '../support/store-load.js'
import { chain, followed } from './contract.js'
import { describeTakeovers } from './takeovers.js'

let servers: NatsServer[] = []

beforeAll(async () => {
  servers = await NatsServer.startCluster()
})
afterAll(() => Promise.all(servers.map((server) => server.remove())))

const reconnect = { reconnectTimeWait: 20, reconnectJitter: 1 }

const electionMsMax = 90_000

/** Asks until there is one. */
async function leaderOf(name: string): Promise<NatsServer> {
  let leader: NatsServer | undefined
  const ask = async () => {
    const { js } = await rawClient(servers)
    const { cluster } = await (await js.jetstreamManager()).streams.info(name)
    leader = servers.find((one) => one.name === cluster?.leader)
    return leader !== undefined
  }
  await expect.poll(() => ask().catch(() => false), { timeout: electionMsMax, interval: 100 }).toBe(true)
  return leader!
}

it('has every acknowledged log, in order and once, after its leader was killed under load', async () => {
  const name = storeName()
  const store = await openNatsStore(servers, { name, replicas: 3, ...reconnect })
  await store.putSnapshot(await Snapshot.blank())
  const epoch = await store.claimEpoch('me')
  const reader = await openNatsStore(servers, { name, ...reconnect })
  const seen: number[] = []
  const controller = new AbortController()
  const following = followPatiently(reader, controller.signal, seen)
  let isOver = false
  const acknowledged: Acknowledged[] = []
  const writing = writeUntil(store, epoch, () => isOver, acknowledged)
  const more = async (count: number) => {
    const goal = acknowledged.length + count
    await expect.poll(() => acknowledged.length, { timeout: electionMsMax }).toBeGreaterThan(goal)
  }
  try {
    await more(200)
    const leader = await leaderOf(name)
    const killedAt = { logs: acknowledged.length, ms: performance.now() }
    await leader.kill()
    await more(200)
    const outageMs = Math.round(performance.now() - killedAt.ms)
    await leader.start(false)
    await more(200)
    // And once more, politely: another one leads.
    const { connection } = await rawClient(servers)
    await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${name}`, '', { timeout: 5000 })
    await more(200)
    console.log(`killed after ${killedAt.logs} logs; 200 more were stored ${outageMs} ms later`)
  } finally {
    isOver = true
    await writing
  }
  await expectHolds(await openNatsStore(servers, { name, ...reconnect }), acknowledged)
  expect(await reader.snapshots()).toHaveLength(1)
  await expect.poll(() => seen.length, { timeout: electionMsMax }).toBe(acknowledged.length)
  expect(seen).toEqual(acknowledged.map(({ startFrameNo }) => startFrameNo))
  controller.abort()
  await following
})

it('fences across servers', async () => {
  const name = storeName()
  const older = await openNatsStore(servers[0]!, { name, replicas: 3, ...reconnect })
  const newer = await openNatsStore(servers[1]!, { name, replicas: 3, ...reconnect })
  const logs = await chain(2)
  const first = await older.claimEpoch('older')
  await older.append(logs[0]!, first)
  const second = await newer.claimEpoch('newer')
  expect(await newer.logs()).toHaveLength(1)
  await expectCode(older.append(logs[1]!, first), 'ERR_FENCED')
  await newer.append(logs[1]!, second)
  expect(await followed(older, 0, 2)).toHaveLength(2)
})

describeTakeovers('a NatsStore on three servers', () => sharedNatsStore(servers), [3])
