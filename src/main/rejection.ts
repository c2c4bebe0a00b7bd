/**
 * A rejection whose error shows who awaits it. V8 adds the functions that wait to the stack of an error that is made in a
 * reaction of the promise that they wait for, and to no other: an error that is made where a message or a timer comes in
 * knows nothing of them. Waiting promises cost nothing for it; only the one that fails takes some turns more.
 *
 * @example resolve(rejection(() => new MylibsqlError('ERR_TIMEOUT', ...)))
 */
export async function rejection(makeError: () => unknown): Promise<never> {
  // Whoever is resolved with this promise listens to it a turn later.
  await undefined
  await undefined
  throw makeError()
}
