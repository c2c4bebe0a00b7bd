/**
 * Numbers for what immutable values hold, equal when that is equal. The states of a model share most of their parts: a part
 * that is known is not looked into again, and a state that differs from another one in a single part takes little more than
 * that part.
 */
export class Contents {
  /** Of the first value with each content, which stands for all of them. */
  readonly #numbers = new Map<object, number>()
  readonly #firsts: object[] = []
  /** By what they hold. */
  readonly #byText = new Map<string, number>()

  numberOf(value: object): number {
    const known = this.#numbers.get(value)
    if (known !== undefined) return known
    const text = this.textOf(value)
    const same = this.#byText.get(text)
    if (same !== undefined) return same
    const number = this.#firsts.push(value) - 1
    this.#byText.set(text, number)
    this.#numbers.set(value, number)
    return number
  }

  /** What it holds as text, with numbers for the objects in it. What is undefined is not there. */
  textOf(value: object): string {
    let text = ''
    if (Array.isArray(value)) for (const item of value) text += `${this.#partOf(item)},`
    else {
      for (const name in value) {
        const part = value[name as keyof typeof value] as unknown
        if (part !== undefined) text += `${name}:${this.#partOf(part)},`
      }
    }
    return text
  }

  /** The same value, made of parts that are known. */
  ofFirsts<T extends object>(value: T): T {
    const known = (part: unknown) => (isObject(part) ? this.#firsts[this.numberOf(part)] : part)
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, known(part)])) as T
  }

  #partOf(part: unknown): string {
    return isObject(part) ? `#${this.numberOf(part)}` : typeof part === 'string' ? `"${part}"` : String(part)
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
