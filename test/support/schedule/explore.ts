/**
 * Which schedules are run: all of them up to a number of preemptions, or random ones.
 *
 * A preemption takes the processor from a worker that could go on; a choice among workers when one
 * sleeps, yields or is done is free. Most errors need one or two preemptions (Musuvathi and Qadeer,
 * "Iterative Context Bounding for Systematic Testing of Multithreaded Programs", PLDI 2007).
 *
 * A preemption is tried only before a step on an address that two workers were seen to use and one
 * to change: before any other step it does the same as before the next one. What is seen is learnt
 * from random schedules first, and from every one after them.
 */

import type { SiteKind } from '../gated-wasm.ts';
import { Random } from '../seed.ts';
import {
  SITE_READ,
  SITE_WRITE,
  SITE_YIELD,
  STOP_ASLEEP,
  STOP_BUDGET,
  STOP_YIELD,
} from './protocol.ts';
import {
  ALL_STEPS,
  type Done,
  type Limits,
  nextReady,
  type Outcome,
  type Rule,
  type Scheduler,
  type Segment,
} from './scheduler.ts';

const WARM_UP = 30;
const EARLY_TIMEOUT = 0.05;
/** Prefixes kept for one level. */
const WAITING_MAX = 200_000;

export interface Plan {
  /** Preemptions tried exhaustively; -1 for random schedules alone. */
  readonly preemptions: number;
  /** Bound on the schedules of the exhaustive part. */
  readonly schedulesMax: number;
  /** Random schedules after it. */
  readonly random: number;
  readonly seed: number;
}

export interface Report {
  readonly schedules: number;
  readonly steps: number;
  readonly ms: number;
  /** Every schedule with up to so many preemptions was run; -1 for none. */
  readonly complete: number;
  readonly forced: number;
  readonly deaths: number;
  readonly found:
    | { readonly violation: string; readonly segments: readonly Segment[]; readonly at: number }
    | undefined;
}

interface Node {
  readonly prefix: readonly Segment[];
  /** Position of the last choice that was not the rule's. */
  readonly from: number;
  readonly preemptions: number;
  readonly died: boolean;
}

const ROUND_ROBIN = (threads: number): Rule => ({
  next: ({ ready, last }) => ({
    worker: nextReady(ready, last, threads),
    steps: ALL_STEPS,
    how: 'run',
  }),
});

/** Addresses that more than one worker uses and one changes. */
class Conflicts {
  readonly #users = new Map<number, { users: number; writers: number }>();
  readonly #kinds: readonly SiteKind[];

  constructor(kinds: readonly SiteKind[]) {
    this.#kinds = kinds;
  }

  #writes(site: number): boolean {
    const kind = this.#kinds[site];
    return site === SITE_WRITE || kind === 'store' || kind === 'update' || kind === 'notify';
  }

  learn(scheduler: Scheduler, steps: number): void {
    for (let step = 0; step < steps; step++) {
      const { worker, site, address } = scheduler.traced(step);
      if (site >= this.#kinds.length && site !== SITE_READ && site !== SITE_WRITE) continue;
      const entry = this.#users.get(address) ?? { users: 0, writers: 0 };
      entry.users |= 1 << worker;
      if (this.#writes(site)) entry.writers |= 1 << worker;
      this.#users.set(address, entry);
    }
  }

  has(site: number, address: number): boolean {
    if (site === SITE_YIELD) return false;
    const entry = this.#users.get(address);
    if (entry === undefined || entry.writers === 0) return false;
    return (entry.users & (entry.users - 1)) !== 0;
  }
}

/** Random preemptions at places that were drawn before, random choices otherwise. */
class RandomRule implements Rule {
  readonly #random: Random;
  readonly #places: number[];
  readonly #threads: number;
  readonly #death: { readonly victim: number; readonly at: number } | undefined;
  #died = false;

  constructor(random: Random, length: number, limits: Limits) {
    this.#random = random;
    this.#threads = limits.threads;
    const count = random.int(4);
    this.#places = Array.from({ length: count }, () => random.int(length)).sort((a, b) => a - b);
    this.#death =
      limits.victim === undefined ? undefined : { victim: limits.victim, at: random.int(length) };
  }

  next({ ready, last, position, stop, asleep }: Parameters<Rule['next']>[0]): Segment {
    const death = this.#death;
    if (death !== undefined && !this.#died && position >= death.at) {
      this.#died = true;
      if ((ready & (1 << death.victim)) !== 0) {
        return { worker: death.victim, steps: 0, how: 'die' };
      }
    }
    // Now and then a time-out comes before the wake-up.
    if (asleep.length > 0 && this.#random.chance(EARLY_TIMEOUT)) {
      return { worker: this.#random.pick(asleep), steps: ALL_STEPS, how: 'timeout' };
    }
    const others: number[] = [];
    for (let worker = 0; worker < this.#threads; worker++) {
      if ((ready & (1 << worker)) === 0) continue;
      if (worker !== last || (stop !== STOP_BUDGET && stop !== STOP_YIELD)) others.push(worker);
    }
    const worker = others.length === 0 ? last : this.#random.pick(others);
    while ((this.#places[0] ?? ALL_STEPS) <= position) this.#places.shift();
    let until = this.#places[0] ?? ALL_STEPS;
    if (death !== undefined && !this.#died) until = Math.min(until, death.at);
    return { worker, steps: until - position, how: 'run' };
  }
}

export class Explorer {
  readonly #scheduler: Scheduler;
  readonly #limits: Limits;
  readonly #reset: () => void;
  readonly #after: () => string | undefined;
  readonly #conflicts: Conflicts;
  #schedules = 0;
  #steps = 0;
  #forced = 0;
  #deaths = 0;
  #found: Report['found'];

  constructor(
    scheduler: Scheduler,
    limits: Limits,
    kinds: readonly SiteKind[],
    reset: () => void,
    after: () => string | undefined,
  ) {
    this.#scheduler = scheduler;
    this.#limits = limits;
    this.#reset = reset;
    this.#after = after;
    this.#conflicts = new Conflicts(kinds);
  }

  explore(plan: Plan): Report {
    const start = performance.now();
    let complete = -1;
    const random = new Random(plan.seed);
    if (plan.preemptions >= 0) {
      this.#randomly(Random.fork(plan.seed, 1), WARM_UP);
      complete = this.#exhaustively(plan, random);
    }
    this.#randomly(Random.fork(plan.seed, 2), plan.random);
    return {
      schedules: this.#schedules,
      steps: this.#steps,
      ms: performance.now() - start,
      complete,
      forced: this.#forced,
      deaths: this.#deaths,
      found: this.#found,
    };
  }

  /** One schedule, as it was written down. */
  replay(segments: readonly Segment[]): Outcome {
    return this.#run(segments, ROUND_ROBIN(this.#limits.threads));
  }

  #run(prefix: readonly Segment[], rule: Rule): Outcome {
    this.#reset();
    const outcome = this.#scheduler.run(prefix, rule, this.#limits);
    const violation = outcome.violation ?? this.#after();
    this.#schedules++;
    this.#steps += outcome.steps;
    this.#forced += outcome.forced;
    if (outcome.segments.some(({ how }) => how === 'die')) this.#deaths++;
    this.#conflicts.learn(this.#scheduler, outcome.steps);
    if (violation !== undefined && this.#found === undefined) {
      this.#found = { violation, segments: outcome.segments, at: this.#schedules };
    }
    return { ...outcome, violation };
  }

  #randomly(random: Random, count: number): void {
    let length = 50;
    for (let n = 0; n < count && this.#found === undefined; n++) {
      const { steps } = this.#run([], new RandomRule(random, length, this.#limits));
      length = Math.max(1, Math.round(length * 0.9 + steps * 0.1));
    }
  }

  /** Returns the number of preemptions up to which every schedule was run. */
  #exhaustively(plan: Plan, random: Random): number {
    const rule = ROUND_ROBIN(this.#limits.threads);
    const levels: Node[][] = [[{ prefix: [], from: -1, preemptions: 0, died: false }]];
    const end = this.#schedules + plan.schedulesMax;
    for (let level = 0; level <= plan.preemptions; level++) {
      const waiting = levels[level] ?? [];
      while (waiting.length > 0) {
        if (this.#found !== undefined || this.#schedules >= end) return level - 1;
        // In no order: what is tried first should not all look alike.
        const at = random.int(waiting.length);
        const node = waiting[at] as Node;
        waiting[at] = waiting[waiting.length - 1] as Node;
        waiting.pop();
        const outcome = this.#run(node.prefix, rule);
        for (const child of this.#children(node, outcome.segments)) {
          if (child.preemptions > plan.preemptions) continue;
          levels[child.preemptions] ??= [];
          const list = levels[child.preemptions] as Node[];
          if (list.length < WAITING_MAX) list.push(child);
          else return level - 1;
        }
      }
    }
    return plan.preemptions;
  }

  /** Schedules that differ from this one first at one choice behind the node's own. */
  #children(node: Node, segments: readonly Done[]): Node[] {
    const children: Node[] = [];
    segments.forEach((segment, n) => {
      const before = segments.slice(0, n);
      const previous = segments[n - 1];
      // Others that could have gone first where the choice was free.
      const natural = previous?.stop !== STOP_BUDGET;
      if (natural && segment.start > node.from && segment.how === 'run') {
        const ready = previous?.ready ?? 2 ** this.#limits.threads - 1;
        // Who yields does so to let others go first.
        const yielder = previous?.stop === STOP_YIELD ? 1 << previous.worker : 0;
        const others = ready & ~(1 << segment.worker) & ~yielder;
        this.#push(children, node, before, others, segment.start, 0);
      }
      this.#within(children, node, segment, before);
    });
    return children;
  }

  #within(children: Node[], node: Node, segment: Done, before: readonly Segment[]): void {
    const { worker, start, how } = segment;
    const { victim } = this.#limits;
    for (let step = start; step < start + segment.steps; step++) {
      if (step <= node.from) continue;
      const { ready, site, address } = this.#scheduler.traced(step);
      const head: readonly Segment[] =
        step === start ? before : [...before, { worker, steps: step - start, how }];
      if (worker === victim && !node.died && !(step === start && how === 'timeout')) {
        const death: Segment = { worker, steps: 0, how: 'die' };
        const { preemptions } = node;
        children.push({ prefix: [...head, death], from: step - 1, preemptions, died: true });
      }
      if (step === start || !this.#conflicts.has(site, address)) continue;
      this.#push(children, node, head, ready & ~(1 << worker), step, 1);
    }
    const asleep = worker === victim && segment.stop === STOP_ASLEEP && !node.died;
    const end = start + segment.steps;
    if (asleep && end > node.from) {
      const whole = [...before, { worker, steps: segment.steps, how }];
      const prefix: Segment[] = [...whole, { worker, steps: 0, how: 'die' }];
      children.push({ prefix, from: end - 1, preemptions: node.preemptions, died: true });
    }
  }

  #push(
    children: Node[],
    node: Node,
    head: readonly Segment[],
    others: number,
    from: number,
    cost: number,
  ): void {
    for (let worker = 0; worker < this.#limits.threads; worker++) {
      if ((others & (1 << worker)) === 0) continue;
      children.push({
        prefix: [...head, { worker, steps: ALL_STEPS, how: 'run' }],
        from,
        preemptions: node.preemptions + cost,
        died: node.died,
      });
    }
  }
}
