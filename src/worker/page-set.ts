/** A set of page numbers. It takes a bit for each, in pieces: a log may name a page far beyond all others. */
export class PageSet {
  readonly #pieces = new Map<number, Uint8Array>()

  /** False when it was in it. */
  add(pageNo: number): boolean {
    const key = Math.floor(pageNo / piecePages)
    let piece = this.#pieces.get(key)
    if (piece === undefined) {
      piece = new Uint8Array(piecePages / 8)
      this.#pieces.set(key, piece)
    }
    const at = (pageNo % piecePages) >> 3
    const bit = 1 << (pageNo & 7)
    if ((piece[at]! & bit) !== 0) return false
    piece[at]! |= bit
    return true
  }
}

const piecePages = 32_768
