/** Waiting for names in a folder, on whichever thread: who waits brings Node's `watch`. */
import type { FSWatcher, watch } from 'node:fs'

/** Between two looks while fs.watch works, or there is no folder yet, ... */
const heardPollMs = 100
/** ... and where it does not (network and virtual file systems, too many watches). */
const deafPollMs = 20
/** So many finds in a row that no event told of: it does not work here. */
const deafAfterFinds = 3

/** Wakes its caller when the names in a folder change, and now and then, for the changes that nothing tells of. */
export class FolderWatch {
  #watcher: FSWatcher | undefined
  #wake: () => void = () => {}
  /** Greatest number of a name that an event told of and `takeHeard` did not. */
  #heard = -1
  #hasEvent = false
  #untoldFinds = 0
  #isFolderMissing = false
  #isEnded = false
  readonly #startWatch: typeof watch
  readonly #path: string
  readonly #ownName: string | undefined
  readonly #numberOf: (name: string) => number | undefined

  constructor(startWatch: typeof watch, path: string, numberOf: (name: string) => number | undefined) {
    this.#startWatch = startWatch
    this.#path = path
    this.#ownName = path.split(/[\\/]/).at(-1)
    this.#numberOf = numberOf
    this.#startWatching()
  }

  get isDeaf(): boolean {
    return this.#watcher === undefined || this.#untoldFinds >= deafAfterFinds
  }

  /** The greatest number that was heard of since the last call; -1: none. */
  takeHeard(): number {
    const heard = this.#heard
    this.#heard = -1
    return heard
  }

  /** An event has told of this number, or one behind it, since. */
  hasHeard(number: number): boolean {
    return this.#heard >= number
  }

  /** False: an event would have told of this number, or one behind it, if it were there. */
  mayKnow(number: number | undefined): boolean {
    return this.isDeaf || this.#heard >= (number ?? 0)
  }

  /** Waits for an event since the last wait, or until it is time to look anyway. True: there was one. */
  async wait(): Promise<boolean> {
    if (!this.#hasEvent && !this.#isEnded) {
      if (this.#watcher === undefined) this.#startWatching()
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, this.isDeaf && !this.#isFolderMissing ? deafPollMs : heardPollMs)
      })
      clearTimeout(timer)
      this.#wake = () => {}
    }
    const hadEvent = this.#hasEvent
    this.#hasEvent = false
    if (hadEvent) this.#untoldFinds = 0
    return hadEvent
  }

  /** Something was found that no event told of. */
  foundUntold(): void {
    this.#untoldFinds += 1
  }

  /** Releases the watcher; a wait ends at once. */
  end(): void {
    this.#isEnded = true
    this.#stopWatching()
    this.#wake()
  }

  #onEvent(name: string | null): void {
    // That of the folder itself: it was removed, or moved, and with it what is watched. (A file of that name costs a look.)
    if (name === this.#ownName) this.#stopWatching()
    // Without a name it could be any.
    const number = name === null ? Number.POSITIVE_INFINITY : this.#numberOf(name)
    if (number === undefined) return
    this.#heard = Math.max(this.#heard, number)
    this.#hasEvent = true
    this.#wake()
  }

  #startWatching(): void {
    try {
      this.#watcher = this.#startWatch(this.#path, (_, name) => this.#onEvent(name))
      this.#watcher.on('error', () => this.#stopWatching())
      // What came before the watch did.
      this.#heard = Number.POSITIVE_INFINITY
      this.#isFolderMissing = false
    } catch (error) {
      // There are too many watches, or there is no such folder yet: polling does.
      this.#isFolderMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    }
  }

  #stopWatching(): void {
    this.#watcher?.close()
    this.#watcher = undefined
  }
}
