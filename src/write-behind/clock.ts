/**
 * Time, as a cache sees it: replaced in tests.
 *
 * Owns:        nothing.
 * Threads:     any.
 */

export interface Clock {
  /** Milliseconds since 1970: ages are told by it, also after reopening. */
  now(): number;
  /** Calls back once after so many ms, unless the returned function is called; keeps no process alive. */
  after(ms: number, call: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms).unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
