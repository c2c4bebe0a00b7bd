// Three primaries take one store from each other, again and again. Every call waits for its turn before it takes place
// and before its answer comes, and whose turn it is, is chance; some calls fail, answers get lost, what was given up for
// late takes place after all, logs are merged by two at once, and what snapshots have made superfluous is pruned. In the end every write that was
// acknowledged is in the history, once and in order.
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { compact, MylibsqlError, Primary, prune } from 'mylibsql'
import { expect, it } from 'vitest'
import { blankStore, column } from '../support/archived.js'
import { type ControlledStore, storeError } from '../support/controlled-store.js'
import { expectSameBytes } from '../support/database.js'
import { type Random, withSeed } from '../support/random.js'

const primaryCount = 3
const runMs = 8_000
const runMsMax = 40_000
const options = {
  checkpoint: { intervalMs: 1, timeoutMs: 150 },
  snapshot: { everyBytes: 30_000 },
  closeTimeoutMs: 300,
  readers: 1,
}

/** What waits for its turn, of whichever primary. */
class Turns {
  readonly #waiting: (() => void)[] = []
  #isOver = false
  count = 0

  async wait(): Promise<void> {
    if (this.#isOver) return
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Lets them go on one by one until `runMs` have passed, on a busy machine until it is enough; then all that come. */
  async run(random: Random, isEnough: () => boolean): Promise<void> {
    const beginMs = performance.now()
    const passedMs = () => performance.now() - beginMs
    while (passedMs() < runMs || (!isEnough() && passedMs() < runMsMax)) {
      await nextTurn()
      const at = random.integer(0, this.#waiting.length)
      const go = this.#waiting[at]
      if (go === undefined) continue
      this.#waiting.splice(at, 1)
      this.count += 1
      go()
    }
    this.#isOver = true
    for (const go of this.#waiting.splice(0)) go()
  }

  get isOver(): boolean {
    return this.#isOver
  }
}

/** One that is slow, now and then, and does not take turns from the others. */
function slow(store: ControlledStore, random: Random): ControlledStore {
  const view = store.view()
  view.hooks.before = () => (random.chance(0.2) ? delay(random.integer(0, 20)).then(() => {}) : undefined)
  return view
}

/** A connection to the store on which nothing is certain. */
function unreliable(store: ControlledStore, turns: Turns, random: Random): ControlledStore {
  const view = store.view()
  const hook = (probability: number, message: string) => async () => {
    await turns.wait()
    if (!turns.isOver && random.chance(probability)) throw storeError(message)
  }
  view.hooks.before = hook(0.03, 'not reached')
  view.hooks.after = hook(0.03, 'the answer is lost')
  return view
}

it('every acknowledged write is in the history, once and in order', async () => {
  await withSeed('interleavings', async (random) => {
    const store = await blankStore()
    const first = await Primary.open({ store })
    await first.run('CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER)')
    await first.close()
    const turns = new Turns()
    const acknowledged: number[] = []
    const problems: unknown[] = []
    let [writeCount, openCount, pruneCount, mergedCount, removedCount] = [0, 0, 0, 0, 0]

    const write = async (primary: Primary): Promise<void> => {
      const n = ++writeCount
      const ack = await primary.run('INSERT INTO t (n) VALUES (?)', [n])
      await ack.durable()
      acknowledged.push(n)
    }
    const live = async (): Promise<void> => {
      while (!turns.isOver) {
        let primary: Primary | undefined
        // Each has some time to itself now and then.
        await delay(random.integer(0, 600))
        try {
          primary = await Primary.open({ store: unreliable(store, turns, random), ...options })
          openCount += 1
          for (let count = random.integer(1, 60); count > 0 && !turns.isOver; count--) {
            // Some wait for each write, others for many at a time.
            await Promise.all(Array.from({ length: random.integer(1, 5) }, () => write(primary!)))
          }
          if (random.chance(0.5)) await primary.checkpoint()
        } catch (error) {
          const code = error instanceof MylibsqlError ? error.code : undefined
          if (code === 'ERR_FENCED' && random.chance(0.5))
            await (await primary?.intoReplica().catch(() => undefined))?.close()
          else if (code === undefined || !['ERR_FENCED', 'ERR_STORE'].includes(code)) problems.push(error)
        }
        await primary?.close().catch((error: unknown) => {
          const code = error instanceof MylibsqlError ? error.code : undefined
          if (!['ERR_FENCED', 'ERR_SAVE_PENDING'].includes(String(code))) problems.push(error)
        })
      }
    }
    const pruning = async (): Promise<void> => {
      while (!turns.isOver) {
        await turns.wait()
        await delay(random.integer(1, 1000))
        await prune(store, { keepSnapshots: 1 })
        pruneCount += 1
      }
    }
    const compacting = async (): Promise<void> => {
      while (!turns.isOver) {
        await delay(random.integer(50, 400))
        const spanMs = random.integer(1, 400)
        try {
          const result = await compact(slow(store, random), { keepMs: 0, spanMs })
          mergedCount += result.mergedCount
          removedCount += result.removedCount
        } catch (error) {
          if (!(error instanceof MylibsqlError) || error.code !== 'ERR_STORE') problems.push(error)
        }
      }
    }

    const lives = Array.from({ length: primaryCount }, live)
    await Promise.all([
      turns.run(random, () => acknowledged.length >= 30 && mergedCount > 0),
      pruning(),
      compacting(),
      compacting(),
      ...lives,
    ])
    if (problems.length > 0) throw problems[0]
    const last = await Primary.open({ store })
    const again = await Primary.open({ store: store.view() })
    const history = (await column(last, 'SELECT n FROM t ORDER BY id')) as number[]
    await expectSameBytes(last, again)
    await last.close()
    await again.close()
    console.log(
      `${turns.count} turns: ${openCount} primaries, ${store.holders.length} epochs, ${pruneCount} prunings, ` +
        `${mergedCount} logs merged and ${removedCount} removed, ${(await store.snapshots()).length} snapshots, ${acknowledged.length} of ${writeCount} writes acknowledged, ` +
        `${history.length} in the history`,
    )
    expect(new Set(history).size).toBe(history.length)
    const there = new Set(history)
    expect(acknowledged.filter((n) => !there.has(n))).toEqual([])
    expect(acknowledged.length).toBeGreaterThan(0)
    expect(openCount).toBeGreaterThan(primaryCount)
    // Of one primary's writes each was made after those before it were acknowledged, or together with them.
    const position = new Map(history.map((n, index) => [n, index]))
    const inOrder = acknowledged.map((n) => position.get(n)!)
    expect(inOrder).toEqual([...inOrder].sort((left, right) => left - right))
  })
})
