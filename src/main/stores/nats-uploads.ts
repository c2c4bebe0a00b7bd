/** Parts of a log on their way into its stream, several at once. */

const atOnce = 4

export class PartUploads {
  readonly #store: (bytes: Uint8Array) => Promise<number>
  readonly #uploads: Promise<number>[] = []

  /** `store` resolves with the sequence number that a part has got. */
  constructor(store: (bytes: Uint8Array) => Promise<number>) {
    this.#store = store
  }

  get count(): number {
    return this.#uploads.length
  }

  /** Waits until there is room for one more. Rejects with what an earlier one has failed with. */
  async add(bytes: Uint8Array): Promise<void> {
    if (this.count >= atOnce) await this.#uploads.at(-atOnce)
    const upload = this.#store(bytes)
    // Told when it is this one's turn.
    upload.catch(() => {})
    this.#uploads.push(upload)
  }

  /** Sequence numbers of all of them, in order. Rejects with what one has failed with. */
  sequences(): Promise<number[]> {
    return Promise.all(this.#uploads)
  }

  /** Of those that are there for certain, once none is under way. */
  async stored(): Promise<number[]> {
    const ended = await Promise.allSettled(this.#uploads)
    return ended.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }
}
