/**
 * A rejection whose error shows who awaits it. V8 adds the functions that wait to the stack of an error that is made in a
 * reaction of the promise that they wait for, and to no other: an error that is made where a message or a timer comes in
 * knows nothing of them. Waiting promises cost nothing for it; only the one that fails takes some turns more.
 *
 * @example resolve(rejection(() => new MylibsqlError('ERR_TIMEOUT', ...)))
 */
export function rejection(makeError: () => unknown): Promise<never> {
  const rejected = reject()
  return rejected

  async function reject(): Promise<never> {
    // Whoever is resolved with this promise listens to it a turn later.
    await undefined
    await undefined
    const error = makeError()
    // Who was resolved before does not listen, and nothing is amiss. Not sooner: V8 follows the first listener.
    rejected.catch(() => {})
    throw error
  }
}
