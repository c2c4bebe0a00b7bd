/**
 * Numbers the frames of the WAL. SQLite counts frames from 1 and starts over when it resets the WAL, which the
 * salts of the wal-index header tell; frame numbers go on. The header also counts transactions, which tells when
 * another program has written some that were reset before they were seen here.
 */
import { MylibsqlError } from '../protocol/errors.js'
import type { FrameNo } from '../protocol/frame.js'
import type { WalConnection } from './native.js'

export class Capture {
  readonly #wal: WalConnection
  readonly #words: Uint32Array
  /** Frame number of the WAL's frame 1. */
  #originFrameNo: FrameNo
  #nextFrameNo: FrameNo
  #salt1: number
  #salt2: number
  #frameCount: number
  #changeCount: number

  constructor(wal: WalConnection, nextFrameNo: FrameNo) {
    this.#wal = wal
    this.#words = wal.positionWords
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

  /** Of the generation of the WAL that was seen last. */
  get salt1(): number {
    return this.#salt1
  }

  /**
   * Takes note of what was committed since the last call. All frames before `copiedFrameNo` are kept elsewhere:
   * SQLite may have dropped those. Throws ERR_WAL_RESET when it dropped others.
   */
  advance(copiedFrameNo: FrameNo): FrameNo {
    this.#wal.readPosition()
    const words = this.#words
    const frameCount = words[0]!
    const salt1 = words[2]!
    const salt2 = words[3]!
    const changeCount = words[4]!
    if (salt1 !== this.#salt1 || salt2 !== this.#salt2) {
      if (copiedFrameNo < this.#nextFrameNo) throw walReset(copiedFrameNo, this.#nextFrameNo)
      this.#checkAllSeen(changeCount)
      this.#originFrameNo = this.#nextFrameNo
      this.#salt1 = salt1
      this.#salt2 = salt2
    }
    this.#frameCount = frameCount
    this.#changeCount = changeCount
    this.#nextFrameNo = this.#originFrameNo + frameCount
    return this.#nextFrameNo
  }

  /** Index in the WAL, counted from 1. */
  walIndex(frameNo: FrameNo): number {
    return frameNo - this.#originFrameNo + 1
  }

  /** Since the last look, nothing but what is in the new generation of the WAL may have been committed. */
  #checkAllSeen(changeCount: number): void {
    const commitCount = (changeCount - this.#changeCount) >>> 0
    if (commitCount === this.#wal.countCommits()) return
    const message = `Something else has written to the working file and has reset its WAL: these frames are lost. ${advice}`
    throw new MylibsqlError('ERR_WAL_RESET', message, { frameNo: this.#nextFrameNo })
  }
}

function walReset(fromFrameNo: FrameNo, nextFrameNo: FrameNo): MylibsqlError {
  const message =
    `Frames ${fromFrameNo} to ${nextFrameNo - 1} are lost: the WAL of the working file was reset by something else. ` +
    advice
  return new MylibsqlError('ERR_WAL_RESET', message, { frameNo: fromFrameNo })
}

const advice =
  'It can do that when this process has opened and closed a file of the database by other means than its SQLite, and ' +
  'has lost its locks by that: leave them alone. Open the primary again from its snapshot and logs'
