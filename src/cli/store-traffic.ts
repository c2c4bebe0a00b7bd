/** The traffic of a load with a store: clients, until the control says stop; then all is stored, and followed. */
import { setImmediate as nextTick } from 'node:timers/promises'
import { type ClientParts, runClients } from './clients.js'
import type { Follower } from './follower.js'
import type { CaughtUp } from './follower-messages.js'
import type { TrafficTimes } from './traffic.js'
import type { IdRun } from './transaction-ledger.js'

/** What the store may take until it has everything; after that it counts as failed. */
const drainMsMax = 60_000

export interface StoreTrafficParts extends ClientParts {
  readonly followers: readonly Follower[]
}

/** What was durable when the load stopped, before everything else was stored. */
export interface StoredAtStop {
  readonly savedFrameNo: number | undefined
  readonly durableRuns: readonly IdRun[]
  readonly executedCount: number
}

export interface StoreTrafficResult extends TrafficTimes {
  readonly atStop: StoredAtStop
  /** By follower; undefined for one that has not caught up. */
  readonly caughtUp: readonly (CaughtUp | undefined)[]
}

/** Never rejects: what fails is told to the control. */
export async function runStoreTraffic(parts: StoreTrafficParts): Promise<StoreTrafficResult> {
  const { primary, followers, control, measurements, ledger } = parts
  const startedAtMs = performance.now()
  await runClients(parts)
  const executeMs = performance.now() - startedAtMs
  // Lets those hear of it whose transactions have just become durable.
  await nextTick()
  const { savedFrameNo } = primary
  const atStop = { savedFrameNo, durableRuns: ledger.durableRuns(), executedCount: ledger.executedCount }
  await drain(parts).catch(control.fail)
  await nextTick()
  const durableMs = performance.now() - startedAtMs
  const caughtUp = await Promise.all(
    followers.map((follower) => follower.catchUp(primary.savedFrameNo).catch(control.fail)),
  )
  for (const one of caughtUp) measurements.read(one?.readCount ?? 0)
  return { executeMs, durableMs, atStop, caughtUp: caughtUp.map((one) => one ?? undefined) }
}

/** A store that cannot be reached is tried again and again: somebody has to say when it is too late. */
async function drain({ primary }: StoreTrafficParts): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(async () => {
      const { archive } = await primary.stats()
      const cause = archive?.lastError
      reject(new Error(`The store did not take everything within ${drainMsMax} ms`, { cause }))
    }, drainMsMax)
  })
  try {
    await Promise.race([primary.checkpoint(), late])
  } finally {
    clearTimeout(timer)
  }
}
