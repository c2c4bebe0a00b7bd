/** The load whose primary archives to a store, followed by replicas in processes of their own. */
import { join } from 'node:path'
import { Primary, type Store } from '../main/index.js'
import { byteSize } from './byte-size.js'
import { type Distribution, distribution, merged } from './distribution.js'
import { Follower } from './follower.js'
import { formatLag, showProgress } from './load-progress.js'
import {
  type LoadSetting,
  measuredOf,
  type Outcome,
  prepare,
  procedures,
  reportAndProve,
} from './load-steps.js'
import { Measurements } from './measurements.js'
import { followersDefault } from './options.js'
import { ReplicationLag } from './replication-lag.js'
import { collect } from './report.js'
import { proveStore } from './store-proof.js'
import { runStoreTraffic } from './store-traffic.js'
import { openStore } from './store-url.js'
import { TransactionLedger } from './transaction-ledger.js'
import { UsageError } from './usage-error.js'
import type { LoadPrimary } from './workload.js'

/** Throws UsageError, what preparing the database throws, and what the store does. */
export async function storeLoad(setting: LoadSetting, url: string): Promise<Outcome> {
  const { compression } = setting.options
  const store = await openStore(url, { isMade: true, ...(compression && { compression }) })
  try {
    await checkEmpty(store)
    return await runOn(setting, store, url)
  } finally {
    await store.close()
  }
}

/** Histories must not be mixed: in one that is continued, nobody would know what the load has to find. */
async function checkEmpty(store: Store): Promise<void> {
  const [[snapshot], [log], epoch] = [await store.snapshots(), await store.logs(), await store.currentEpoch()]
  const found = snapshot?.id ?? log?.id ?? (epoch > 0 ? `epoch ${epoch}` : undefined)
  if (found === undefined) return
  throw new UsageError(`--store ${store.url} holds a history, such as ${found}: name a new or an empty store`)
}

async function runOn(setting: LoadSetting, store: Store, url: string): Promise<Outcome> {
  const { options, workload, control, scratchPath } = setting
  const snapshot = await prepare(setting, join(scratchPath, 'base.db'))
  if (snapshot === undefined) return 'interrupted'
  await store.putSnapshot(snapshot)
  const checkpoint = { intervalMs: options.checkpointMs }
  await using primary: LoadPrimary = await Primary.open({ store, checkpoint, procedures })
  const followers: Follower[] = []
  try {
    await startFollowers(setting, url, followers)
    const measurements = new Measurements(followers.map(({ lag }) => lag))
    const ledger = new TransactionLedger()
    const parts = { options, workload, primary, followers, control, measurements, ledger }

    const worstLagMs = () => Math.max(0, ...followers.map(({ lag }) => lag.lastLagMs))
    const stopProgress = showProgress(options, ledger, () => formatLag(worstLagMs()))
    const traffic = await runStoreTraffic(parts)
    stopProgress()

    const { archive, saveUs } = await primary.stats()
    const measured = {
      ...measuredOf(setting, snapshot, primary),
      checkpointCount: archive!.appendCount,
      logBytes: archive!.appendedBytes,
    }
    const results = {
      ...collect({ ...parts, ...measured, traffic }),
      store: store.url,
      saveMs: distribution(saveUs),
      storeFailureCount: archive!.failureCount,
      lagMs: distribution(merged(followers.map(({ lag }) => lag.histogram))),
      followers: followers.map(({ name, lag }, index) => ({
        name,
        lagMs: distribution(lag.histogram),
        ...traffic.caughtUp[index],
      })),
    }
    const proof = proveStore({ ...parts, store, invariants: workload.invariants, traffic, scratchPath })
    const { outcome, printJson } = await reportAndProve(results, tableParts(results), proof)
    printJson({})
    if (!options.json) process.stdout.write(`Kept in ${store.url}\n`)
    return outcome
  } finally {
    await Promise.all(followers.map((follower) => follower.close()))
  }
}

/** Into `followers` go all that have started, to be closed even when another one cannot. */
async function startFollowers(
  { options, control }: LoadSetting,
  url: string,
  followers: Follower[],
): Promise<void> {
  const numbers = Array.from({ length: options.followers ?? followersDefault }, (_, index) => index + 1)
  const start = (number: number) =>
    Follower.start(`follower ${number}`, new ReplicationLag(), { options, url }, control.fail)
  const all = await Promise.allSettled(numbers.map(start))
  followers.push(...all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])))
  const failed = all.find((one) => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

interface StoreResults {
  readonly saveMs: Distribution | null
  readonly lagMs: Distribution | null
  readonly followers: readonly {
    readonly name: string
    readonly lagMs: Distribution | null
    readonly peakRssBytes?: number
  }[]
}

function tableParts({ saveMs, lagMs, followers }: StoreResults) {
  const ofEach = followers.map((follower) => [`lag of ${follower.name}`, follower.lagMs] as const)
  const peakRssBytes = Math.max(0, ...followers.map((follower) => follower.peakRssBytes ?? 0))
  return {
    checkpoints: 'checkpoints (logs in the store)',
    times: {
      'checkpoint: storing the log': saveMs,
      ...Object.fromEntries(ofEach),
      'lag of all followers': lagMs,
    },
    memory: `, of a follower ${byteSize(peakRssBytes)}`,
  }
}
