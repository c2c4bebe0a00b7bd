import { MylibsqlError } from '../protocol/errors.js'

/** Objects with an operation under way: a task works on the file of one, so it must not be collected now. */
const busy = new Map<object, number>()

/**
 * Order among the asynchronous operations of one object: shared ones (reads) overlap, exclusive ones
 * (changes) run alone, both in the order of the calls. After close() everything is refused with ERR_CLOSED.
 */
export class OperationGate {
  readonly #owner: object
  readonly #name: string
  #isClosed = false
  /** Settled when the last exclusive operation is. */
  #exclusive: Promise<unknown> = Promise.resolve()
  /** Settled when every operation so far is. */
  #all: Promise<unknown> = Promise.resolve()
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(owner: object, name: string) {
    this.#owner = owner
    this.#name = name
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  shared<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(this.closedError())
    const result = this.#track(this.#exclusive.then(operation))
    this.#all = settled([this.#all, result])
    return result
  }

  exclusive<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(this.closedError())
    const result = this.#track(this.#all.then(operation))
    this.#exclusive = this.#all = settled([result])
    return result
  }

  /** Refuses further operations at once and calls `release` after those under way. A second call waits too. */
  close(release: () => Promise<void>): Promise<void> {
    if (this.#isClosed) return this.#all.then(() => {})
    const result = this.exclusive(release)
    this.#isClosed = true
    return result
  }

  /** Resolves when all that is under way now has succeeded, rejects as soon as one of it fails; undefined: nothing is. */
  underWay(): Promise<unknown> | undefined {
    return this.#underWay.size === 0 ? undefined : Promise.all(this.#underWay)
  }

  closedError(): MylibsqlError {
    return new MylibsqlError('ERR_CLOSED', `${this.#name} is closed`)
  }

  #track<T>(result: Promise<T>): Promise<T> {
    busy.set(this.#owner, (busy.get(this.#owner) ?? 0) + 1)
    this.#underWay.add(result)
    const done = () => {
      this.#underWay.delete(result)
      const count = busy.get(this.#owner)! - 1
      if (count === 0) busy.delete(this.#owner)
      else busy.set(this.#owner, count)
    }
    result.then(done, done)
    return result
  }
}

/** Without the values: they would be kept as long as the gate. */
function settled(promises: readonly Promise<unknown>[]): Promise<void> {
  return Promise.allSettled(promises).then(() => {})
}
