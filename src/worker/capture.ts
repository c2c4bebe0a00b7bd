/**
 * Numbers the frames of the WAL. SQLite counts frames from 1 and starts over when it resets the WAL, which the
 * salts of the wal-index header tell; frame numbers go on. The header also counts transactions, which tells when
 * another program has written some that were reset before they were seen here.
 */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { WalConnection, WalPosition } from './native.js'

export class Capture {
  readonly #wal: WalConnection
  /** Frame number of the WAL's frame 1. */
  #originFrameNo: FrameNo
  #nextFrameNo: FrameNo
  #salt1: number
  #salt2: number
  #frameCount: number
  #changeCount: number

  constructor(wal: WalConnection, nextFrameNo: FrameNo) {
    this.#wal = wal
    const position = wal.position()
    this.#nextFrameNo = nextFrameNo
    this.#originFrameNo = nextFrameNo - position.frameCount
    this.#frameCount = position.frameCount
    this.#salt1 = position.salt1
    this.#salt2 = position.salt2
    this.#changeCount = position.changeCount
  }

  /** Number that the next committed frame will have. */
  get nextFrameNo(): FrameNo {
    return this.#nextFrameNo
  }

  /** Committed frames in the WAL, folded or not. */
  get walFrameCount(): number {
    return this.#frameCount
  }

  /**
   * Takes note of what was committed since the last call. All frames before `copiedFrameNo` are kept elsewhere:
   * SQLite may have dropped those. Throws ERR_WAL_RESET when it dropped others.
   */
  advance(copiedFrameNo: FrameNo): FrameNo {
    const position = this.#wal.position()
    if (position.salt1 !== this.#salt1 || position.salt2 !== this.#salt2) {
      if (copiedFrameNo < this.#nextFrameNo) throw walReset(copiedFrameNo, this.#nextFrameNo)
      this.#checkAllSeen(position)
      this.#originFrameNo = this.#nextFrameNo
      this.#salt1 = position.salt1
      this.#salt2 = position.salt2
    }
    this.#frameCount = position.frameCount
    this.#changeCount = position.changeCount
    this.#nextFrameNo = this.#originFrameNo + position.frameCount
    return this.#nextFrameNo
  }

  /** Index in the WAL, counted from 1. */
  walIndex(frameNo: FrameNo): number {
    return frameNo - this.#originFrameNo + 1
  }

  /** Since the last look, nothing but what is in the new generation of the WAL may have been committed. */
  #checkAllSeen({ changeCount }: WalPosition): void {
    const commitCount = (changeCount - this.#changeCount) >>> 0
    if (commitCount === this.#wal.countCommits()) return
    const message =
      'Something else has written to the working file and has reset its WAL: these frames are lost. Only mylibsql may ' +
      'write to it. Open the primary again from its snapshot and logs'
    throw new MylibsqlError('ERR_WAL_RESET', message, { frameNo: this.#nextFrameNo })
  }
}

function walReset(fromFrameNo: FrameNo, nextFrameNo: FrameNo): MylibsqlError {
  const message =
    `Frames ${fromFrameNo} to ${nextFrameNo - 1} are lost: the WAL of the working file was reset by something else. ` +
    'Only mylibsql may checkpoint it. Open the primary again from its snapshot and logs'
  return new MylibsqlError('ERR_WAL_RESET', message, { frameNo: fromFrameNo })
}
