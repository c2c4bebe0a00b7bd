/**
 * How much is asked of a store at a time. One way to it may be long, so that many answers have to be under way, and another
 * one slow, so that the last of many would come too late.
 */
export const atOnce = {
  /** So many objects, whatever their size; ... */
  countMin: 8,
  /** ... more of them as long as all have no more bytes than this, as they are stored, ... */
  smallBytesMax: 256 * 1024,
  /** ... and so many at most. */
  countMax: 32,
} as const

/** Lets those wait that would be more at once. */
export class TransferLimit {
  readonly #waiting: { readonly byteLength: number; readonly begin: () => void }[] = []
  #count = 0
  #byteCount = 0

  async run<T>(byteLength: number, transfer: () => Promise<T>): Promise<T> {
    await new Promise<void>((begin) => {
      this.#waiting.push({ byteLength, begin })
      this.#beginNext()
    })
    try {
      return await transfer()
    } finally {
      this.#count -= 1
      this.#byteCount -= byteLength
      this.#beginNext()
    }
  }

  #beginNext(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const isSmall =
        this.#count < atOnce.countMax && this.#byteCount + next.byteLength <= atOnce.smallBytesMax
      if (this.#count >= atOnce.countMin && !isSmall) return
      this.#waiting.shift()
      this.#count += 1
      this.#byteCount += next.byteLength
      next.begin()
    }
  }
}
