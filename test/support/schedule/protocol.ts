/**
 * Words that the scheduler (main thread) and the gated threads (workers) share.
 *
 * Only one thread runs at any time: the scheduler until it grants, then the one that was granted,
 * until it stops. All words but GO and TURN are therefore handed over by these two.
 */

export const THREADS_MAX = 4;
/** Steps after which a schedule counts as a livelock. */
export const STEPS_MAX = 6000;

/** Bumped and notified when a worker has stopped: the scheduler's turn. */
export const TURN = 0;
/** Bit n: worker n can go on. */
export const READY = 1;
/** Steps of this schedule so far. */
export const STEPS = 2;
/** Why the worker stopped: STOP_*. */
export const STOP = 3;
/** 1 once the victim of this schedule is dead. */
export const DEAD = 4;
/** Bytes of the message that came with STOP_VIOLATION. */
export const MESSAGE_BYTES = 5;
export const GO = 8;
export const BUDGET = 16;
/** Address that worker n sleeps on, 0 if it does not. */
export const ASLEEP = 24;
export const CONTROL_WORDS = 32;

export const GO_RUN = 1;
/** The time of the worker's wait is over. */
export const GO_TIMEOUT = 2;
/** The worker dies here. */
export const GO_DIE = 3;
/** The schedule is over. */
export const GO_ABANDON = 4;
/** A message with a new job is waiting. */
export const GO_JOB = 5;

export const STOP_BUDGET = 0;
export const STOP_ASLEEP = 1;
export const STOP_DONE = 2;
export const STOP_YIELD = 3;
export const STOP_VIOLATION = 4;

/** Sites that are not in the wasm code. */
export const SITE_START = 10_000;
export const SITE_RESUME = 10_001;
export const SITE_TIMEOUT = 10_002;
export const SITE_READ = 10_003;
export const SITE_WRITE = 10_004;
export const SITE_YIELD = 10_005;
export const SITE_AWAIT_DEATH = 10_006;

export const SITE_NAMES: Readonly<Record<number, string>> = {
  [SITE_START]: 'starts',
  [SITE_RESUME]: 'wakes up',
  [SITE_TIMEOUT]: 'wakes up by time-out',
  [SITE_READ]: 'reads data word',
  [SITE_WRITE]: 'writes data word',
  [SITE_YIELD]: 'yields',
  [SITE_AWAIT_DEATH]: 'waits for a death',
};

/** Data words have addresses behind all memory. */
export const DATA_ADDRESS = 0x7000_0000;
export const DATA_WORDS = 64;
export const DEATH_ADDRESS = 0x7100_0000;

/** Trace entry: worker and ready mask, site, address. */
export const TRACE_WORDS = 3;
export const READY_SHIFT = 8;
export const MESSAGE_MAX = 2048;

export interface SharedWords {
  readonly words: Int32Array;
  readonly data: Int32Array;
  readonly trace: Int32Array;
  readonly message: Uint8Array;
}

export function createSharedWords(): SharedWords {
  return {
    words: new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4)),
    data: new Int32Array(new SharedArrayBuffer(DATA_WORDS * 4)),
    trace: new Int32Array(new SharedArrayBuffer((STEPS_MAX + 1) * TRACE_WORDS * 4)),
    message: new Uint8Array(new SharedArrayBuffer(MESSAGE_MAX)),
  };
}
