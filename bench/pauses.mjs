/** Pauses: of writers while a log is saved, and of the main thread's event loop while it is busy. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { forgetLog, insertEvent, newPath, openPrimary } from './databases.mjs'
import { makePages, overwritePages, procedures, recordBytes } from './pages.mjs'
import { openEventsPrimary, writeEvents } from './writes.mjs'

const windowMs = 100

/** The longest write, in ms, of each window of 100 ms while `work` runs: 8 callers write one row after the other. */
async function longestWrites(primary, work) {
  const windows = []
  const startMs = performance.now()
  let isWorking = true
  const writer = async () => {
    while (isWorking) {
      const beganMs = performance.now()
      await primary.run(insertEvent, ['event', 0])
      const endedMs = performance.now()
      const windowNo = Math.floor((endedMs - startMs) / windowMs)
      windows[windowNo] = Math.max(windows[windowNo] ?? 0, endedMs - beganMs)
    }
  }
  const writers = Array.from({ length: 8 }, writer)
  await work()
  isWorking = false
  await Promise.all(writers)
  // A write that took longer than a window has left those before its own empty.
  return windows.filter((longest) => longest !== undefined)
}

const stall = {
  name: 'stall',
  about: 'longest write in 100 ms while a 64 MiB log is saved for 2 s, p99',
  reference: 'while nothing is saved',
  unit: 'ms',
  goal: { of: 'value', atMost: 20 },
  percentile: 99,
  async prepare({ folder, isQuick }) {
    const pageCount = 4096
    const logBytes = 64 * 1024 * 1024
    const saveMs = isQuick ? 500 : 2000
    const path = makePages(folder, pageCount)
    const primary = await openPrimary(path, { procedures })
    await primary.run(
      'CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT NOT NULL, value INTEGER NOT NULL)',
    )
    const save = async (log) => {
      const logPath = newPath(folder, '.log')
      await Promise.all([log.copyTo(logPath), delay(saveMs)])
      await log.close()
    }
    return {
      async measure() {
        await overwritePages(primary, pageCount, logBytes / recordBytes / 64)
        const longest = await longestWrites(primary, () => primary.checkpoint(save))
        await forgetLog(primary)
        return longest
      },
      async measureReference() {
        const longest = await longestWrites(primary, () => delay(saveMs / 2))
        await forgetLog(primary)
        return longest
      },
      close: () => primary.close(),
    }
  },
}

const resolutionMs = 1

async function loopDelayP99Ms(work) {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs })
  histogram.enable()
  await work()
  histogram.disable()
  return histogram.percentile(99) / 1e6
}

const loop = {
  name: 'loop',
  about: "main thread's event-loop delay during write.c64, p99",
  reference: 'while idle',
  unit: 'ms',
  goal: { of: 'value', atMost: 12 },
  async prepare({ folder, isQuick }) {
    const count = isQuick ? 40_000 : 160_000
    const primary = await openEventsPrimary(folder)
    return {
      async measure() {
        const value = await loopDelayP99Ms(() => writeEvents(primary, 64, count))
        await forgetLog(primary)
        return value
      },
      measureReference: () => loopDelayP99Ms(() => delay(300)),
      close: () => primary.close(),
    }
  },
}

export const benchmarks = [stall, loop]
