/**
 * Stops a thread for ever at one chosen step of the shipped control module.
 *
 * A step is an instruction that changes shared memory (or sleeps, or wakes) in the gated module, or
 * a call of `Atomics` on the same memory. Between two such steps a thread does nothing that others
 * can see in the control memory; bytes of frames are written between them, so at each step they are
 * as they are in the middle of a change.
 *
 * Threads:     the victim alone; it is terminated while it is stopped.
 */
import { readFileSync } from 'node:fs';
import type { PoolMemory } from '../../../src/memory/pool-memory.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import type { Site } from '../../support/gated-wasm.ts';

/** Words that the victim shares with the main thread. */
export const STATE = 0;
export const STEPS = 1;
export const NEVER = 2;
export const DEATH_WORDS = 4;
export const GO = 1;
export const REACHED = 2;
export const DONE = 3;
/** Behind the sites of the module. */
export const ATOMICS_SITE = 100_000;
export const TRACE_MAX = 20_000;

const WOKEN = 0;
const NOT_EQUAL = 1;
const TIMED_OUT = 2;
const CHANGING = [
  'add',
  'and',
  'compareExchange',
  'exchange',
  'or',
  'store',
  'sub',
  'notify',
] as const;

export interface GatedPaths {
  readonly gated: string;
  readonly sites: string;
}

export class DeathGate {
  readonly #words: Int32Array;
  readonly #trace: Int32Array;
  readonly #dieAt: number;
  readonly #changes: readonly boolean[];
  readonly #module: object;
  #memory: Int32Array = new Int32Array(0);
  #armed = false;

  constructor(paths: GatedPaths, words: Int32Array, trace: Int32Array, dieAt: number) {
    this.#words = words;
    this.#trace = trace;
    this.#dieAt = dieAt;
    const sites = JSON.parse(readFileSync(paths.sites, 'utf8')) as Site[];
    this.#changes = sites.map(({ kind }) => kind !== 'load');
    this.#module = new wasm.Module(readFileSync(paths.gated));
  }

  /** The memory with the gated module; what is instantiated from now on in this thread stops here. */
  install(memory: PoolMemory): PoolMemory {
    this.#memory = new Int32Array(memory.control.buffer);
    const gate = {
      step: (site: number) => this.#step(site),
      wait: (site: number, at: number, expected: number, ns: number) =>
        this.#wait(site, at, expected, ns),
      notify: (site: number, at: number, count: number) => {
        this.#step(site);
        return Atomics.notify(this.#memory, at / 4, count < 0 ? undefined : count);
      },
    };
    const Plain = wasm.Instance;
    const Gated = class {
      constructor(module: object, imports: Record<string, Record<string, unknown>>) {
        // biome-ignore lint/correctness/noConstructorReturn: an instance of the real class
        return new Plain(module, { ...imports, gate });
      }
    };
    Object.defineProperty(wasm, 'Instance', { value: Gated });
    this.#watchAtomics();
    return { ...memory, modules: { ...memory.modules, control: this.#module } };
  }

  /** Steps count from now on. */
  arm(): void {
    this.#armed = true;
  }

  disarm(): void {
    this.#armed = false;
  }

  #watchAtomics(): void {
    const plain = Atomics as unknown as Record<string, (...given: unknown[]) => unknown>;
    CHANGING.forEach((name, n) => {
      const original = plain[name] as (...given: unknown[]) => unknown;
      plain[name] = (...given) => {
        const isOurs = (given[0] as Int32Array).buffer === this.#memory.buffer;
        if (isOurs) this.#step(ATOMICS_SITE + n);
        return original.apply(Atomics, given);
      };
    });
  }

  #step(site: number): void {
    if (!this.#armed) return;
    if (site < ATOMICS_SITE && this.#changes[site] !== true) return;
    const step = this.#words[STEPS] as number;
    this.#words[STEPS] = step + 1;
    if (step < TRACE_MAX) this.#trace[step] = site;
    if (step !== this.#dieAt) return;
    this.#armed = false;
    Atomics.store(this.#words, STATE, REACHED);
    for (;;) Atomics.wait(this.#words, NEVER, 0);
  }

  #wait(site: number, at: number, expected: number, ns: number): number {
    this.#step(site);
    const ms = ns < 0 ? undefined : ns / 1e6;
    const result = Atomics.wait(this.#memory, at / 4, expected, ms);
    return result === 'ok' ? WOKEN : result === 'not-equal' ? NOT_EQUAL : TIMED_OUT;
  }
}

export function siteName(sites: readonly Site[], site: number): string {
  if (site >= ATOMICS_SITE) return `Atomics.${CHANGING[site - ATOMICS_SITE]}`;
  return sites[site]?.label ?? `site ${site}`;
}
