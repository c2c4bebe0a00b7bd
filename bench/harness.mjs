/**
 * How a benchmark is measured. No benchmark library fits: a figure here is a ratio of two things that run across
 * threads, and machines are noisy, so both are measured by turns (A B A B ...) and the medians are compared.
 *
 * A benchmark is an object:
 *
 *     name       what --only takes
 *     about      what is measured, one line
 *     reference  what it is compared with, one line
 *     unit       of both figures
 *     goal       { of: 'value' | 'ratio', atLeast | atMost: number }; absent: for information
 *     percentile 0..100 over all samples of all rounds; absent: 50, the median
 *     prepare    async ({ folder, isQuick }) => { measure, measureReference, close }
 *
 * `measure` and `measureReference` are one round each, of 0.3 to 1 s. They return a number or an array of numbers.
 * Both are told with `{ isWarmUp }` when the round does not count: one that takes its time may be shorter then.
 */

/**
 * Rounds by turns do not count until so much time is over and neither side gets better any more, for every benchmark the
 * same. Caches, files and threads are warm after one of them; compiled code is not: Node 20 optimizes a function when it
 * has run often or long, one after the other on each thread, and figures rise for some seconds, on a slow machine for
 * more than on a fast one. Where a round takes longer than that, only one does not count.
 */
const warmUpMs = { min: 3000, max: 12_000 }
/** A side has warmed up when so many rounds in a row were no better than the best one before, by this share. */
const steadyRounds = 2
const betterBy = 0.03

export async function runBenchmark(benchmark, { folder, roundCount, isQuick, onRound }) {
  const subject = await benchmark.prepare({ folder, isQuick })
  const values = []
  const referenceValues = []
  try {
    await warmUp(subject, { isQuick, isLessBetter: /^(ms|µs)$/.test(benchmark.unit) }, onRound)
    for (let round = 1; round <= roundCount; round += 1) {
      const [value, referenceValue] = await bothSides(subject, false)
      onRound(`round ${round} of ${roundCount}`)
      values.push(...[value].flat())
      referenceValues.push(...[referenceValue].flat())
    }
  } finally {
    await subject.close()
  }
  return judge(benchmark, values, referenceValues)
}

async function warmUp(subject, { isQuick, isLessBetter }, onRound) {
  onRound('warm-up')
  const startMs = performance.now()
  const sides = [new Progress(isLessBetter), new Progress(isLessBetter)]
  for (;;) {
    const figures = await bothSides(subject, true)
    for (const [index, side] of sides.entries()) side.note(percentile([figures[index]].flat(), 50))
    const tookMs = performance.now() - startMs
    const isWarm = tookMs >= warmUpMs.min && sides.every((side) => side.isSteady)
    if (isQuick || isWarm || tookMs >= warmUpMs.max) return
  }
}

/** Whether the figures of one side still get better. */
class Progress {
  #isLessBetter
  #best
  #steadyCount = 0

  constructor(isLessBetter) {
    this.#isLessBetter = isLessBetter
  }

  get isSteady() {
    return this.#steadyCount >= steadyRounds
  }

  note(figure) {
    const limit = this.#best * (this.#isLessBetter ? 1 - betterBy : 1 + betterBy)
    const isBetter = this.#best === undefined || (this.#isLessBetter ? figure < limit : figure > limit)
    this.#steadyCount = isBetter ? 0 : this.#steadyCount + 1
    if (isBetter) this.#best = figure
  }
}

async function bothSides(subject, isWarmUp) {
  globalThis.gc?.()
  const value = await subject.measure({ isWarmUp })
  globalThis.gc?.()
  return [value, await subject.measureReference({ isWarmUp })]
}

function judge(benchmark, values, referenceValues) {
  const { name, unit, reference, goal } = benchmark
  const value = percentile(values, benchmark.percentile ?? 50)
  const referenceValue = percentile(referenceValues, benchmark.percentile ?? 50)
  const ratio = value / referenceValue
  const met = goal === undefined ? null : isMet(goal, goal.of === 'ratio' ? ratio : value)
  return { name, value, unit, reference, referenceValue, ratio, goal: goal ?? null, met }
}

function isMet({ atLeast, atMost }, figure) {
  return atLeast === undefined ? figure <= atMost : figure >= atLeast
}

/** Nearest rank; the mean of the middle two for an even count's median. */
export function percentile(samples, percent) {
  const sorted = [...samples].sort((a, b) => a - b)
  if (percent === 50 && sorted.length % 2 === 0)
    return (sorted[sorted.length / 2 - 1] + sorted[sorted.length / 2]) / 2
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]
}

/** `call(n)` for n from 0 to `count` - 1, by `callerCount` callers that each wait for their last one. */
export async function withCallers(callerCount, count, call) {
  let next = 0
  const caller = async () => {
    while (next < count) {
      const n = next
      next += 1
      await call(n)
    }
  }
  await Promise.all(Array.from({ length: callerCount }, caller))
}

/** Units of `count` for each second that `work` takes. */
export async function perSecond(count, work) {
  const startMs = performance.now()
  await work()
  return (count * 1000) / (performance.now() - startMs)
}

/** How long `work` takes. */
export async function milliseconds(work) {
  const startMs = performance.now()
  await work()
  return performance.now() - startMs
}
