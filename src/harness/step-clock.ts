/**
 * A clock that goes on by a step whenever somebody looks at it. Waits that end at a deadline end
 * after so many looks, and a wait that would never end is stopped by a budget of looks, whatever
 * the machine is busy with.
 */
const STEP_MS = 50;
/** Looks between two steps of a session; a step whose waits end takes far fewer. */
const LOOKS_MAX = 1500;
/** Looks of what must not wait. */
const PATIENCE = 150;

const real = performance.now.bind(performance);
let installed = 0;
let now = real();
let looks = 0;
let hangs = 0;
let patience = Number.POSITIVE_INFINITY;

/** A wait that only ends when others go on, which they cannot: see `impatiently`. */
export class WaitedEnough extends Error {}

function look(): number {
  now += STEP_MS;
  if (--patience < 0) throw new WaitedEnough();
  if (++looks > LOOKS_MAX) {
    looks = 0;
    hangs++;
    throw new Error(`hangs: the clock was looked at ${LOOKS_MAX} times within one step`);
  }
  return now;
}

/** Something has ended: the budget begins anew. */
export function noteProgress(): void {
  looks = 0;
}

/** So much time is over at once. */
export function passTime(ms: number): void {
  now += ms;
}

/** Runs what another thread would do: it must not wait for what this thread is in the middle of. */
export function impatiently(action: () => void): void {
  const before = looks;
  patience = PATIENCE;
  try {
    action();
  } finally {
    looks = before;
    patience = Number.POSITIVE_INFINITY;
  }
}

/** Runs an action under this clock. */
export async function underStepClock<T>(action: () => Promise<T>): Promise<T> {
  installed++;
  performance.now = look;
  try {
    return await action();
  } finally {
    if (--installed === 0) performance.now = real;
  }
}

/** Waits that had to be stopped since the last call; their error may have been wrapped. */
export function takeHangs(): string[] {
  const found = Array.from({ length: hangs }, () => 'a wait does not end');
  hangs = 0;
  return found;
}
