/** A primary that is never without work still hears of everything else. */
import type { Primary } from 'mylibsql'
import { expect, it } from 'vitest'
import { openPrimary } from './support/database.js'

/** Costs the actor more than this thread: whenever it has answered a group, the next one is there already. */
const costly =
  'UPDATE sums SET n = (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100) SELECT sum(n) FROM c)'
const callerCount = 1000

/** How many writes were executed at most while each of the calls was waited for. */
async function writesMeanwhile(primary: Primary, call: () => Promise<unknown>): Promise<number> {
  let isStreaming = true
  let writeCount = 0
  const stream = Promise.all(
    Array.from({ length: callerCount }, async () => {
      for (; isStreaming; writeCount += 1) await primary.run(costly)
    }),
  )
  let most = 0
  for (let round = 0; round < 10; round += 1) {
    const before = writeCount
    await call()
    most = Math.max(most, writeCount - before)
  }
  isStreaming = false
  await stream
  return most
}

it('answers calls between two groups of writes, not when the stream of them ends', async () => {
  const { primary } = await openPrimary('CREATE TABLE sums (n INTEGER); INSERT INTO sums VALUES (0)')
  expect(await writesMeanwhile(primary, () => primary.stats())).toBeLessThan(5 * callerCount)
})
