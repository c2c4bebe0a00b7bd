/** Consecutive ids, both ends included. */
export interface IdRun {
  readonly first: number
  readonly last: number
}

/** Gives every transaction an id, from 1 on, and remembers which ones are durable: a byte each. */
export class TransactionLedger {
  #isDurable = new Uint8Array(1 << 16)
  #lastId = 0
  #executedCount = 0
  #durableCount = 0

  get executedCount(): number {
    return this.#executedCount
  }

  get durableCount(): number {
    return this.#durableCount
  }

  next(): number {
    this.#lastId += 1
    return this.#lastId
  }

  executed(): void {
    this.#executedCount += 1
  }

  durable(id: number): void {
    if (id >= this.#isDurable.length) this.#grow(id)
    this.#isDurable[id] = 1
    this.#durableCount += 1
  }

  /** The ids of the durable transactions. Mostly one run. */
  durableRuns(): IdRun[] {
    const runs: IdRun[] = []
    let at = this.#isDurable.indexOf(1)
    while (at !== -1) {
      const end = this.#isDurable.indexOf(0, at)
      const last = (end === -1 ? this.#isDurable.length : end) - 1
      runs.push({ first: at, last })
      at = this.#isDurable.indexOf(1, last + 1)
    }
    return runs
  }

  #grow(id: number): void {
    const larger = new Uint8Array(Math.max(id + 1, this.#isDurable.length * 2))
    larger.set(this.#isDurable)
    this.#isDurable = larger
  }
}

export function countIds(runs: readonly IdRun[]): number {
  return runs.reduce((count, { first, last }) => count + last - first + 1, 0)
}

/** Runs as text, the first few of them. */
export function describeRuns(runs: readonly IdRun[]): string {
  if (runs.length === 0) return 'none'
  const shown = runs.slice(0, 3).map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
  return runs.length > shown.length
    ? `${shown.join(', ')} and ${runs.length - shown.length} more runs`
    : shown.join(', ')
}
