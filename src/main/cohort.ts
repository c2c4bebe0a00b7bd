/**
 * Requests that wait on one promise, each with a handler that takes the next answer: handlers run in the order in which
 * they were added. A million requests may be waiting, so none has a function of its own.
 */
export const cohortRequestsMin = 16

export class Cohort {
  readonly #requestsMax: number
  #requestCount = 0
  #answeredCount = 0
  #takenCount = 0
  readonly #answers: unknown[] = []
  /** Made when they are taken: there V8 knows who awaits the answer, and puts that into the stack. */
  #errors: Map<number, () => unknown> | undefined
  #resolve: () => void = () => {}
  readonly #answered = new Promise<void>((resolve) => {
    this.#resolve = resolve
  })

  constructor(requestsMax: number) {
    this.#requestsMax = requestsMax
  }

  get requestCount(): number {
    return this.#requestCount
  }

  get isFull(): boolean {
    return this.#requestCount === this.#requestsMax
  }

  get isAnswered(): boolean {
    return this.#answeredCount === this.#requestCount
  }

  /** The answer to one more request. */
  join<T>(): Promise<T> {
    this.#requestCount += 1
    return this.#answered.then(this.#takeAnswer) as Promise<T>
  }

  /** Answers come in the order of the requests. */
  answer(value: unknown): void {
    this.#answers[this.#answeredCount] = value
    this.#countAnswer()
  }

  fail(makeError: () => unknown): void {
    this.#errors ??= new Map()
    this.#errors.set(this.#answeredCount, makeError)
    this.#countAnswer()
  }

  /** Fails what has no answer yet; returns how many that were. */
  failRest(error: unknown): number {
    const count = this.#requestCount - this.#answeredCount
    while (!this.isAnswered) this.fail(() => error)
    return count
  }

  #countAnswer(): void {
    this.#answeredCount += 1
    if (this.isAnswered) this.#resolve()
  }

  readonly #takeAnswer = (): unknown => {
    const index = this.#takenCount
    this.#takenCount += 1
    const makeError = this.#errors?.get(index)
    if (makeError !== undefined) throw makeError()
    const answer = this.#answers[index]
    this.#answers[index] = undefined
    return answer
  }
}
