/** Bytes that come as chunks, taken in amounts that somebody names. */

export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

export class ChunkReader {
  readonly #source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>
  /** Of the last chunk, what was not taken. */
  #rest: Uint8Array = new Uint8Array()

  constructor(chunks: Chunks) {
    this.#source = Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
  }

  /** A copy of the next so many bytes; fewer at the end. */
  async take(byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = []
    let missing = byteLength
    while (missing > 0) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#source.next()
        if (done === true) break
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, missing)
      pieces.push(piece)
      missing -= piece.length
      this.#rest = this.#rest.subarray(piece.length)
    }
    const bytes = new Uint8Array(byteLength - missing)
    let at = 0
    for (const piece of pieces) {
      bytes.set(piece, at)
      at += piece.length
    }
    return bytes
  }

  /** At least the next so many bytes, fewer at the end; they are still to be taken. */
  async peek(byteLength: number): Promise<Uint8Array> {
    while (this.#rest.length < byteLength) {
      const { done, value } = await this.#source.next()
      if (done === true) break
      this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value])
    }
    return this.#rest
  }

  /** What nobody has taken, as it comes. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = this.#rest
      this.#rest = new Uint8Array()
      if (chunk.length > 0) yield chunk
      const { done, value } = await this.#source.next()
      if (done === true) return
      this.#rest = value
    }
  }

  /** Nobody takes anything any more. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }
}
