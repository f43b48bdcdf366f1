/**
 * Rounds that other programs have not disturbed: what counts when the threads of the product itself
 * want all processors, so that windows in which one waits cannot be left out.
 *
 * Linux tells what all programs together have used (/proc/stat) and what this one has; the rest,
 * with the time that the hypervisor took, is others'. Rounds are repeated while too few are calm.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ROUNDS } from './measure.ts';

/** Share of all processors that others may use in a calm round. */
const OTHERS_MAX = 0.06;
const ROUNDS_MAX = 4 * ROUNDS;
/** With fewer calm rounds all of them count. */
const CALM_MIN = 3;
const US_PER_TICK = 10_000;

/** Fields of /proc/stat that are work: user, nice, system, irq, softirq, steal. */
const WORK = [1, 2, 3, 6, 7, 8] as const;

function ticksOfAll(): number {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
    const fields = line.split(/\s+/);
    return WORK.reduce((sum, field) => sum + Number(fields[field] ?? 0), 0);
  } catch {
    return 0;
  }
}

function ownMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** What share of the processors others have used since it was made; 0 where nobody knows. */
class Others {
  readonly #at: number = performance.now();
  readonly #all: number = ticksOfAll();
  readonly #own: number = ownMicroseconds();

  share(): number {
    const all = (ticksOfAll() - this.#all) * US_PER_TICK;
    const own = ownMicroseconds() - this.#own;
    const time = (performance.now() - this.#at) * 1000 * availableParallelism();
    return Math.max(0, all - own) / time;
  }
}

export class CalmRounds {
  readonly #figures = new Map<string, { readonly value: number; readonly calm: boolean }[]>();

  /** Runs one part of a round; its figures count only if others left it alone. */
  async take(name: string, measure: () => number | Promise<number>): Promise<void> {
    const others = new Others();
    const value = await measure();
    const list = this.#figures.get(name) ?? [];
    list.push({ value, calm: others.share() <= OTHERS_MAX });
    this.#figures.set(name, list);
  }

  /** Runs `round` ROUNDS times, and on while a figure has too few calm ones. */
  async run(round: () => Promise<void>): Promise<void> {
    for (let done = 0; done < ROUNDS || (done < ROUNDS_MAX && this.#lacking()); done++) {
      await round();
    }
  }

  #lacking(): boolean {
    return [...this.#figures.values()].some(
      (list) => list.filter(({ calm }) => calm).length < CALM_MIN,
    );
  }

  #list(name: string): readonly { readonly value: number; readonly calm: boolean }[] {
    return this.#figures.get(name) ?? [];
  }

  /** The calm figures if there are enough, else all. */
  of(name: string): readonly number[] {
    const list = this.#list(name);
    const calm = list.filter((figure) => figure.calm);
    return (calm.length >= CALM_MIN ? calm : list).map(({ value }) => value);
  }

  /** Figures of one case divided by those of another, of the rounds in which both were calm. */
  ratios(name: string, baseline: string): readonly number[] {
    const base = this.#list(baseline);
    const pairs = this.#list(name).map(({ value, calm }, round) => ({
      ratio: value / (base[round]?.value ?? Number.NaN),
      calm: calm && base[round]?.calm === true,
    }));
    const calm = pairs.filter((pair) => pair.calm);
    return (calm.length >= CALM_MIN ? calm : pairs).map(({ ratio }) => ratio);
  }

  /** Share of the parts that were calm, in percent. */
  get calmPercent(): number {
    const all = [...this.#figures.values()].flat();
    return (100 * all.filter(({ calm }) => calm).length) / Math.max(1, all.length);
  }
}
