/** Moments of a life at which it is struck down, by a kill or a power cut. */
import type { Random } from './random.ts';

/** The line that a moment begins with, and how long it lasts, in ms. */
export const MOMENTS = {
  opening: { line: 'opening', ms: 60 },
  running: { line: 'running', ms: 150 },
  round: { line: 'round', ms: 10 },
  closing: { line: 'closing', ms: 20 },
} as const;

export type MomentName = keyof typeof MOMENTS;

/** By how often they are drawn. */
const ALL: readonly MomentName[] = ['opening', 'running', 'running', 'round', 'round', 'closing'];
const ROUNDS_MAX = 8;

export interface Moment {
  readonly name: MomentName;
  /** The how manieth such line of its life. */
  readonly nth: number;
  /** After the line. */
  readonly delayMs: number;
}

export function drawMoment(random: Random): Moment {
  const name = random.pick(ALL);
  return {
    name,
    nth: name === 'round' ? 1 + random.int(ROUNDS_MAX) : 1,
    delayMs: random.float() * MOMENTS[name].ms,
  };
}

/** Calls `reached` once, when a life says the line with which its moment begins. */
export function watchFor<T>(
  { name, nth }: Moment,
  reached: (life: T) => void,
): (line: string, life: T) => void {
  let left = nth;
  return (line, life) => {
    if (line.split(' ', 1)[0] === MOMENTS[name].line && --left === 0) reached(life);
  };
}

export function momentText({ name, nth, delayMs }: Moment): string {
  return `${name} ${nth} +${delayMs.toFixed(1)} ms`;
}
