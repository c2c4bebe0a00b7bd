/** What keeps the two replicas up to date: one takes saved log files, the other one live frames. */
import { type Frames, Log, type Replica } from '../main/index.js'
import type { ReplicationLag } from './replication-lag.js'

/**
 * Feeds a replica with log files, in order, as another machine would that sees the folder. Durability does not
 * wait for it.
 */
export class LogFollower {
  readonly #replica: Replica
  readonly #lag: ReplicationLag
  #applied: Promise<void> = Promise.resolve()

  constructor(replica: Replica, lag: ReplicationLag) {
    this.#replica = replica
    this.#lag = lag
  }

  follow(logPath: string, fail: (error: unknown) => void): void {
    this.#applied = this.#applied.then(() => this.#apply(logPath))
    this.#applied.catch(fail)
  }

  /** Resolves when all logs are applied; rejects when one cannot be. */
  settled(): Promise<void> {
    return this.#applied
  }

  async #apply(logPath: string): Promise<void> {
    // replicate() checks every byte itself.
    const log = await Log.open(logPath, { verify: false })
    try {
      this.#lag.applied(await this.#replica.replicate(log))
    } finally {
      await log.close()
    }
  }
}

/** Batches on their way to the replica's thread: enough that it never waits for the next one. */
const batchesUnderWayMax = 16

/**
 * Feeds a replica with live frames until the stream is closed. It never calls ackReplicated: durable means saved in a
 * log file. When it fails it closes the stream, so that the primary is not held back.
 */
export async function followFrames(replica: Replica, frames: Frames, lag: ReplicationLag): Promise<void> {
  const underWay: Promise<void>[] = []
  try {
    for await (const batch of frames) {
      // Applied in the order of the calls, so that none has to wait for the answer to the one before.
      const applied = replica.replicateFrames(batch).then((frameNo) => lag.applied(frameNo))
      // Awaited later; it may fail before.
      applied.catch(() => {})
      underWay.push(applied)
      if (underWay.length >= batchesUnderWayMax) await underWay.shift()
    }
    await Promise.all(underWay)
  } finally {
    frames.close()
  }
}
