/**
 * Work that waits only where the inner store does: one text for stores that answer at once and for
 * those that answer later.
 *
 * Owns:        nothing.
 * Invariants:  a step yields promises and nothing else, so over a store that answers at once it runs
 *              to its end without yielding.
 * Threads:     any.
 */

/** Yields what is to be awaited. */
export type Steps<T> = Generator<PromiseLike<unknown>, T, unknown>;

/**
 * Runs to the end at once.
 *
 * @throws {TypeError} an inner store that says it answers at once has given a promise.
 */
export function runAtOnce<T>(steps: Steps<T>): T {
  const { done, value } = steps.next();
  if (done === true) return value;
  steps.return(undefined as T);
  // Nobody will look at it.
  (value as PromiseLike<unknown>).then(undefined, () => undefined);
  throw new TypeError("The inner store has mode 'sync' and gives promises");
}

/** Begins at once, and goes on as what it waits for is settled. */
export async function runLater<T>(steps: Steps<T>): Promise<T> {
  let result = steps.next();
  while (result.done !== true) {
    let value: unknown;
    try {
      value = await result.value;
    } catch (error) {
      result = steps.throw(error);
      continue;
    }
    result = steps.next(value);
  }
  return result.value;
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}

/** The value, awaited if it is promised. */
export function* settled<T>(value: T | PromiseLike<T>): Steps<T> {
  return (isPromise(value) ? yield value : value) as T;
}
