/** When readers are asked for a gap, for how long, and that they are told of its end. */
import { once } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { readerGapMs, readerGapPauses, readerGapWalBytes } from '../src/protocol/limits.js'
import type { ToReaders } from '../src/protocol/wire.js'
import type { WalConnection } from '../src/worker/native.js'
import { ReaderGap } from '../src/worker/reader-gap.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
})

/** A gap, the readers' end of its port, and a WAL that says what it is told to. */
function gapOf() {
  const { port1, port2 } = new MessageChannel()
  onTestFinished(() => port1.close())
  const told: ToReaders[] = []
  port1.on('message', (message: ToReaders) => told.push(message))
  const gap = new ReaderGap(port2)
  const position = { frameCount: 100, foldedCount: 10, pageCount: 1, salt1: 1 }
  const wal = { position: () => ({ ...position }) } as unknown as WalConnection
  const fold = vi.fn(async () => {
    position.foldedCount = position.frameCount
    return true
  })
  /** Readers answer the next question. */
  const quieten = async () => {
    let gapNo: ToReaders
    while (gapNo === undefined) [gapNo] = (await once(port1, 'message')) as [ToReaders]
    port1.postMessage(gapNo)
  }
  return { gap, readers: port1, told, position, wal, fold, quieten }
}

/** Messages between the ports have arrived. */
const delivered = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate)
}

describe('a gap', () => {
  it('is not made for a WAL that is not large', async () => {
    const { gap, told, wal, fold } = gapOf()
    expect(await gap.folding(wal, readerGapWalBytes - 1, fold)).toBe(false)
    await delivered()
    expect([told, fold.mock.calls]).toEqual([[], []])
  })

  it('is folded in once readers are quiet, and over after that', async () => {
    const { gap, told, wal, fold, quieten } = gapOf()
    const [isFolded] = await Promise.all([gap.folding(wal, readerGapWalBytes, fold), quieten()])
    expect(isFolded).toBe(true)
    await delivered()
    expect(told).toEqual([1, undefined])
  })

  it('may be made again after ten times as long as it took', async () => {
    const { gap, told, position, wal, fold, quieten } = gapOf()
    const slowly = () => {
      vi.advanceTimersByTime(20)
      return fold()
    }
    await Promise.all([gap.folding(wal, readerGapWalBytes, slowly), quieten()])
    position.frameCount = 200
    vi.advanceTimersByTime(readerGapPauses * 20 - 1)
    expect(await gap.folding(wal, readerGapWalBytes, fold)).toBe(false)
    vi.advanceTimersByTime(1)
    expect(await Promise.all([gap.folding(wal, readerGapWalBytes, fold), quieten()])).toEqual([
      true,
      undefined,
    ])
    await delivered()
    expect(told).toEqual([1, undefined, 2, undefined])
    expect(gap.stats.readerGapCount).toBe(2)
  })

  it('is in vain when something else was in the way of the fold', async () => {
    const { gap, told, wal, quieten } = gapOf()
    expect(await Promise.all([gap.folding(wal, readerGapWalBytes, async () => false), quieten()])).toEqual([
      false,
      undefined,
    ])
    await delivered()
    expect(told).toEqual([1, undefined])
  })

  it('is over when the fold fails', async () => {
    const { gap, told, wal, quieten } = gapOf()
    const failing = gap.folding(wal, readerGapWalBytes, () => Promise.reject(new Error('no room')))
    await Promise.all([expect(failing).rejects.toThrow('no room'), quieten()])
    await delivered()
    expect(told).toEqual([1, undefined])
  })
})

describe('readers that are not quiet in time', () => {
  /** In vain, after just as long as it may take. */
  async function waitInVain({ gap, wal, fold }: ReturnType<typeof gapOf>, ms: number) {
    const folding = gap.folding(wal, readerGapWalBytes, fold)
    let isOver = false
    folding.then(() => {
      isOver = true
    })
    vi.advanceTimersByTime(ms - 1)
    await delivered()
    expect(isOver).toBe(false)
    vi.advanceTimersByTime(1)
    expect(await folding).toBe(false)
  }

  it('go on, and the next gap may take twice as long, up to a limit', async () => {
    const made = gapOf()
    let waitMs = readerGapMs.min
    for (let gapNo = 1; gapNo < 10; gapNo += 1) {
      await waitInVain(made, waitMs)
      // Another reader is in the way.
      made.position.foldedCount += 1
      vi.advanceTimersByTime(readerGapPauses * waitMs - 1)
      expect(await made.gap.folding(made.wal, readerGapWalBytes, made.fold)).toBe(false)
      vi.advanceTimersByTime(1)
      await delivered()
      expect(made.told.length).toBe(2 * gapNo)
      waitMs = Math.min(2 * waitMs, readerGapMs.max)
    }
    expect(waitMs).toBe(readerGapMs.max)
    const { readerGapCount, readerGapMs: heldMs } = made.gap.stats
    expect(readerGapCount).toBe(9)
    expect(heldMs).toBeGreaterThanOrEqual(9 * readerGapMs.min)
    expect(made.fold).not.toHaveBeenCalled()
  })

  it('are not asked again while the same reader is in the way', async () => {
    const made = gapOf()
    await waitInVain(made, readerGapMs.min)
    vi.advanceTimersByTime(1_000_000)
    expect(await made.gap.folding(made.wal, readerGapWalBytes, made.fold)).toBe(false)
    made.position.foldedCount += 1
    expect(
      await Promise.all([made.gap.folding(made.wal, readerGapWalBytes, made.fold), made.quieten()]),
    ).toEqual([true, undefined])
  })

  it('may answer late: that is not taken for an answer to the next question', async () => {
    const made = gapOf()
    await waitInVain(made, readerGapMs.min)
    made.position.foldedCount += 1
    vi.advanceTimersByTime(readerGapPauses * readerGapMs.min)
    const folding = made.gap.folding(made.wal, readerGapWalBytes, made.fold)
    made.readers.postMessage(1)
    await delivered()
    expect(made.fold).not.toHaveBeenCalled()
    made.readers.postMessage(2)
    expect(await folding).toBe(true)
  })
})

describe('a gap that waits', () => {
  it('is given up at once when it is canceled', async () => {
    const { gap, told, wal, fold } = gapOf()
    const folding = gap.folding(wal, readerGapWalBytes, fold)
    gap.cancel()
    expect(await folding).toBe(false)
    await delivered()
    expect(told).toEqual([1, undefined])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('is given up when there are no readers any more', async () => {
    const { gap, readers, wal, fold } = gapOf()
    const folding = gap.folding(wal, readerGapWalBytes, fold)
    readers.close()
    expect(await folding).toBe(false)
    expect(fold).not.toHaveBeenCalled()
  })
})
