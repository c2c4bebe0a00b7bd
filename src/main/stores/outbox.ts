/**
 * Memory in which bytes are put for another thread to see: the same again and again, for memory that is new comes from the
 * system page by page, which takes longer than to fill it, and a structured clone has it so twice.
 */
export class Outbox {
  readonly #keptBytesMax: number
  /** Undefined while somebody looks at it. */
  #kept: SharedArrayBuffer | undefined

  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax
  }

  /** All pieces, one behind the other. */
  filled(pieces: readonly Uint8Array[]): Uint8Array {
    const byteLength = pieces.reduce((sum, piece) => sum + piece.length, 0)
    const kept = this.#kept
    this.#kept = undefined
    const isLarge = kept !== undefined && kept.byteLength >= byteLength
    const bytes = new Uint8Array(isLarge ? kept : new SharedArrayBuffer(byteLength), 0, byteLength)
    let at = 0
    for (const piece of pieces) {
      bytes.set(piece, at)
      at += piece.length
    }
    return bytes
  }

  /** Once nobody looks at them any more. */
  giveBack(bytes: Uint8Array): void {
    if (bytes.buffer.byteLength <= this.#keptBytesMax) this.#kept = bytes.buffer as SharedArrayBuffer
  }
}
