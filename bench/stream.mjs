/** The live stream of frames, from the commit to a subscriber on the main thread. */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { eventsSchema, forgetLog, makeDatabase, openPrimary } from './databases.mjs'
import { percentile } from './harness.mjs'
import { makePages, overwritePages, procedures, recordBytes } from './pages.mjs'
import { openEventsPrimary } from './writes.mjs'

const pageCount = 4096

const throughput = {
  name: 'stream.mbps',
  about: 'frames of commits of 64 rows, a page each, to a subscriber',
  reference: 'the same commits without a subscriber',
  unit: 'MB/s',
  goal: { of: 'value', atLeast: 400 },
  async prepare({ folder, isQuick }) {
    const callCount = isQuick ? 200 : 800
    const primary = await openPrimary(makePages(folder, pageCount), { procedures })
    const round = async (receivedBytes) => {
      const before = primary.lastFrameNo ?? -1
      const startMs = performance.now()
      const last = await overwritePages(primary, pageCount, callCount)
      const seconds = (performance.now() - startMs) / 1000
      const bytes = receivedBytes?.() ?? (last - before) * recordBytes
      await forgetLog(primary)
      return bytes / 1e6 / seconds
    }
    return {
      async measure() {
        const frames = primary.captureFrames()
        let byteCount = 0
        frames.subscribe((batch) => {
          byteCount += batch.byteLength
        })
        // Frames are sent before the answers to their writes: when all are answered, all have come.
        const value = await round(() => byteCount)
        frames.close()
        return value
      },
      measureReference: () => round(),
      close: () => primary.close(),
    }
  },
}

/** Calls `send` 1,000 times for each second. */
async function paced(durationMs, send) {
  const startMs = performance.now()
  for (let sentCount = 0; sentCount < durationMs; ) {
    await delay(1)
    const dueCount = Math.min(durationMs, Math.floor(performance.now() - startMs))
    for (; sentCount < dueCount; sentCount += 1) send()
  }
}

/** ... or one behind the other: of those that have a pause between them, 3 s warm up too few. */
async function oneByOne(count, send) {
  for (let sentCount = 0; sentCount < count; sentCount += 1) await send()
}

const warmUpCount = 4000

const latency = {
  name: 'stream.latency',
  about: 'from before the commit to a subscriber, 1,000 tx/s, p50',
  reference: 'a Worker: the same commit by better-sqlite3, a bare postMessage',
  unit: 'µs',
  goal: { of: 'ratio', atMost: 1.5 },
  async prepare({ folder, isQuick }) {
    const durationMs = isQuick ? 200 : 800
    const primary = await openEventsPrimary(folder)
    const frames = primary.captureFrames()
    const arrivals = new Map()
    frames.subscribe((batch) => arrivals.set(batch.nextFrameNo - 1, process.hrtime.bigint()))
    const worker = new Worker(new URL('./workers/stamping.mjs', import.meta.url), {
      workerData: { path: makeDatabase(folder, (connection) => connection.exec(eventsSchema)) },
    })
    await once(worker, 'message')
    return {
      async measure({ isWarmUp }) {
        const acks = []
        const send = () => acks[acks.push(primary.call('stamp')) - 1]
        await (isWarmUp ? oneByOne(warmUpCount, send) : paced(durationMs, send))
        const latencies = (await Promise.all(acks)).map((ack) =>
          Number(arrivals.get(ack.frameNo) - ack.peek()),
        )
        arrivals.clear()
        await forgetLog(primary)
        return percentile(latencies, 50) / 1000
      },
      async measureReference({ isWarmUp }) {
        const latencies = []
        const receive = (stamp) => latencies.push(Number(process.hrtime.bigint() - stamp))
        const send = () => worker.postMessage(undefined)
        worker.on('message', receive)
        if (isWarmUp) {
          await oneByOne(warmUpCount, () => {
            send()
            return once(worker, 'message')
          })
        } else {
          await paced(durationMs, send)
          while (latencies.length < durationMs) await delay(1)
        }
        worker.off('message', receive)
        return percentile(latencies, 50) / 1000
      },
      async close() {
        await primary.close()
        await worker.terminate()
      },
    }
  },
}

export const benchmarks = [throughput, latency]
