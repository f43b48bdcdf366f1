/**
 * Procedures that wait only where they must: written once, for stores with and without promises.
 *
 * Owns:        nothing.
 * Invariants:  what yields no promise runs to its end before the call returns.
 * Threads:     private to a thread.
 *
 * A procedure is a generator. It yields what it has to wait for, a promise or a plain value, and gets
 * the value back, or the rejection thrown at the same place.
 */

export type Steps<T> = Generator<unknown, T, unknown>;

export function isPromise<T>(value: unknown): value is PromiseLike<T> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { readonly then?: unknown }).then === 'function'
  );
}

/** Runs a procedure as far as that goes without waiting: its result, or a promise of it. */
export function advance<T>(steps: Steps<T>): T | Promise<T> {
  let result = steps.next();
  while (result.done !== true) {
    if (isPromise(result.value)) return goOn(steps, result.value);
    result = steps.next(result.value);
  }
  return result.value;
}

async function goOn<T>(steps: Steps<T>, first: PromiseLike<unknown>): Promise<T> {
  let result: IteratorResult<unknown, T> = { done: false, value: first };
  while (result.done !== true) {
    const { value } = result;
    if (!isPromise(value)) {
      result = steps.next(value);
      continue;
    }
    let got: unknown;
    try {
      got = await value;
    } catch (error) {
      result = steps.throw(error);
      continue;
    }
    result = steps.next(got);
  }
  return result.value;
}
