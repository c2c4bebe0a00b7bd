/** Randomised tests: each prints its seed and is run again with `MYLIBSQL_SEED=<seed> npx vitest run <file>`. */
import { randomFrom } from '../native/addon.js'

export class Random {
  readonly seed: number
  readonly #next: () => number

  constructor(seed: number) {
    this.seed = seed
    this.#next = randomFrom(seed)
  }

  /** A whole number from `min` to `max`, both included. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.#next() * (max - min + 1))
  }

  /** True this often: 0 never, 1 always. */
  chance(probability: number): boolean {
    return this.#next() < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length - 1)]!
  }

  bytes(byteLength: number): Uint8Array {
    return Uint8Array.from({ length: byteLength }, () => this.integer(0, 255))
  }

  /** Small numbers often, large ones now and then. */
  skewed(max: number): number {
    return Math.floor(this.#next() ** 4 * (max + 1))
  }
}

/** Runs a test with the seed of the environment, otherwise with `usualSeed` or a random one; a failure names it. */
export async function withSeed(
  name: string,
  test: (random: Random) => Promise<void>,
  usualSeed = Math.floor(Math.random() * 2 ** 32),
): Promise<void> {
  const seed = Number(process.env.MYLIBSQL_SEED ?? usualSeed)
  console.log(`${name}: MYLIBSQL_SEED=${seed}`)
  try {
    await test(new Random(seed))
  } catch (error) {
    if (error instanceof Error) error.message = `MYLIBSQL_SEED=${seed}: ${error.message}`
    throw error
  }
}
