/** A follower, in a process of its own: a replica that follows the store, and its readers. */
import { setImmediate as nextTick } from 'node:timers/promises'
import { Replica, type Store } from '../main/index.js'
import { describeError } from './describe-error.js'
import type { CaughtUp, FollowerNotice, FollowerRequest, FollowerSnapshot } from './follower-messages.js'
import { readRepeatedly } from './reader.js'
import { sharedClockMs } from './shared-clock.js'
import { openStore } from './store-url.js'
import { workloadOf } from './workloads.js'

/** No limit: it waits for the next write, however long nobody writes. */
const waitMsMax = 2 ** 31 - 1
const catchUpMsMax = 60_000
/** The load test hears of what was applied this often, with the times: a message for each log would be work for both. */
const tellMs = 250

class FollowerProcess {
  readonly #readsEnd = new AbortController()
  #store: Store | undefined
  #replica: Replica | undefined
  #reads: Promise<unknown> = Promise.resolve()
  #readCount = 0
  #applied: { readonly frameNo: number; readonly atMs: number }[] = []
  #telling: NodeJS.Timeout | undefined
  #isClosing = false

  async handle(request: FollowerRequest): Promise<CaughtUp | FollowerSnapshot | undefined> {
    switch (request.kind) {
      case 'follow':
        return this.#follow(request)
      case 'catchUp':
        return this.#catchUp(request.frameNo)
      case 'snapshot':
        return this.#snapshot(request.path)
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true
    this.#readsEnd.abort()
    await this.#replica?.close()
    await this.#store?.close()
  }

  async #follow({ options, url }: Extract<FollowerRequest, { kind: 'follow' }>): Promise<undefined> {
    const { readers, readPauseMs } = options
    const workload = workloadOf(options)
    this.#store = await openStore(url, { isMade: false })
    const replica = await Replica.follow(this.#store, { readers: Math.max(1, readers) })
    this.#replica = replica
    const onRead = () => {
      this.#readCount += 1
    }
    const reading = { workload, readPauseMs, signal: this.#readsEnd.signal, onRead }
    this.#reads = Promise.all(Array.from({ length: readers }, () => readRepeatedly(replica, reading)))
    this.#reads.catch((error) => this.#fail(error))
    this.#noteApplied(replica).catch((error) => this.#fail(error))
  }

  async #noteApplied(replica: Replica): Promise<void> {
    while (!this.#isClosing) {
      await replica.waitFor((replica.lastFrameNo ?? -1) + 1, { timeoutMs: waitMsMax })
      this.#applied.push({ frameNo: replica.lastFrameNo!, atMs: sharedClockMs() })
      this.#telling ??= setTimeout(() => this.#tellApplied(), tellMs)
    }
  }

  #tellApplied(): void {
    clearTimeout(this.#telling)
    this.#telling = undefined
    const steps = this.#applied.splice(0)
    if (steps.length > 0) tell({ kind: 'applied', steps })
  }

  async #catchUp(frameNo: number | undefined): Promise<CaughtUp> {
    this.#readsEnd.abort()
    await this.#reads
    await this.#replica!.waitFor(frameNo, { timeoutMs: catchUpMsMax })
    // The wait that notes it may end after this one.
    await nextTick()
    this.#tellApplied()
    return { readCount: this.#readCount, peakRssBytes: process.resourceUsage().maxRSS * 1024 }
  }

  async #snapshot(path: string): Promise<FollowerSnapshot> {
    const { pageSize, pageCount, lastFrameNo } = await this.#replica!.snapshot(path)
    return { path, pageSize, pageCount, lastFrameNo }
  }

  #fail(error: unknown): void {
    if (!this.#isClosing) tell({ kind: 'failed', reason: describeError(error) })
  }
}

function tell(notice: FollowerNotice): void {
  if (process.connected) process.send!(notice)
}

const follower = new FollowerProcess()
process.on('message', (request: FollowerRequest) => {
  follower.handle(request).then(
    (answer) => tell({ kind: 'answer', ...(answer && { answer }) }),
    (error: unknown) => tell({ kind: 'failed', reason: describeError(error) }),
  )
})
// Ctrl-C goes to the whole process group: what it means is decided by the load test.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('disconnect', () => {
  follower.close().finally(() => process.exit())
})
