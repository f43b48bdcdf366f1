/**
 * The mode `deaths`: a thread is terminated at each step of taking, waiting for and giving back
 * latches, of misses and evictions, and of a commit from its beginning to its acknowledgement.
 *
 * The victim works on a real pool, beside its real services, with the shipped control module gated
 * (death-gate.ts): first each act is done once to learn its steps, then a run is one death at one of
 * them. Afterwards either everything was given back and the others go on, or the pool has stopped
 * with `WORKER_DIED`; nothing that was acknowledged is lost, nothing is there in part, and `verify`
 * finds nothing.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { addDetails, type Mode, Random, type Run } from '../../../src/harness/index.ts';
import type { Play } from '../../../src/harness/parts.ts';
import { removeDirectory, temporaryDirectory } from '../../../src/harness/temporary.ts';
import { BufferPool, type PoolHandle, Weirpool, type WeirpoolHandle } from '../../../src/index.ts';
import type { Site } from '../../support/gated-wasm.ts';
import { ACTS, type Act } from './death-acts.ts';
import { DeathGate, DONE, type GatedPaths, STATE, siteName } from './death-gate.ts';
import { type Death, die, treeSideOf, type VictimTask } from './death-trial.ts';
import { DeathWatch } from './death-watch.ts';
import { gatedModulesMissing, makeGatedModules } from './gated.ts';

/** Of about 900 steps. */
const RUNS = 120;
/** How often an instruction is a place to die within one act: from there on it is a loop. */
const TIMES_MAX = 3;

/** The victim: does the act once, and dies in the middle of it if it comes that far. */
export const playVictim: Play = async (task: VictimTask) => {
  const gate = new DeathGate(task.modules, task.words, task.trace, task.dieAt);
  const act = ACTS.find(({ name }) => name === task.act) as Act;
  const perform = await attach(act, task, gate);
  parentPort?.postMessage('ready');
  Atomics.wait(task.words, STATE, 0);
  gate.arm();
  perform();
  gate.disarm();
  Atomics.store(task.words, STATE, DONE);
};

async function attach(act: Act, task: VictimTask, gate: DeathGate): Promise<() => void> {
  if (act.kind === 'pool') {
    const handle = task.handle as PoolHandle;
    const pool = await BufferPool.attach({ ...handle, memory: gate.install(handle.memory) });
    return () => act.perform({ pool, ids: task.ids });
  }
  const handle = task.handle as WeirpoolHandle;
  const memory = gate.install(handle.pool.memory);
  const db = await Weirpool.attach({ ...handle, pool: { ...handle.pool, memory } });
  const side = treeSideOf(db);
  // Names are looked up once.
  for (const tree of side.trees) tree.get('');
  return () => act.perform(side);
}

interface Step {
  readonly act: Act;
  readonly at: number;
}

class Deaths {
  readonly #self: string;
  #modules: GatedPaths | undefined;
  #sites: readonly Site[] = [];
  /** Of each act. */
  #steps: readonly (readonly Step[])[] = [];
  #order: readonly Step[] = [];

  constructor(self: string) {
    this.#self = self;
  }

  /** Does each act once, and learns its steps. */
  async learn(): Promise<void> {
    this.#modules = (await makeGatedModules()).plain;
    this.#sites = JSON.parse(readFileSync(this.#modules.sites, 'utf8')) as Site[];
    const all: Step[][] = [];
    for (const act of ACTS) {
      const { trace, wrong } = await this.one({ act, at: -1 });
      if (wrong.length > 0) throw new Error(`${act.name}, without a death: ${wrong.join('; ')}`);
      const steps: Step[] = [];
      const times = new Map<number, number>();
      trace.forEach((site, at) => {
        const time = (times.get(site) ?? 0) + 1;
        times.set(site, time);
        if (time <= TIMES_MAX) steps.push({ act, at });
      });
      all.push(steps);
    }
    this.#steps = all;
  }

  /** All steps, once: one of each act, then another one of each that has more. */
  stepOf(seed: number, number: number): Step {
    if (number === 0 || this.#order.length === 0) {
      const drawn = this.#steps.map((steps, n) => Random.fork(seed, n).shuffled(steps));
      const most = Math.max(...drawn.map(({ length }) => length));
      const turns = Array.from({ length: most }, (_, turn) => drawn.map((steps) => steps[turn]));
      this.#order = turns.flat().filter((step) => step !== undefined);
    }
    return this.#order[number % this.#order.length] as Step;
  }

  async one({ act, at }: Step): Promise<Death> {
    const directory = temporaryDirectory('death');
    try {
      return await die(act, {
        directory: join(directory, 'store'),
        self: this.#self,
        modules: this.#modules as GatedPaths,
        dieAt: at,
      });
    } finally {
      removeDirectory(directory);
    }
  }

  nameOf({ act, at }: Step, trace: readonly number[]): string {
    return `${act.name}, step ${at} (${siteName(this.#sites, trace[at] ?? -1)})`;
  }
}

export function deathsMode(self: string): Mode {
  const deaths = new Deaths(self);
  let watch: DeathWatch | undefined;
  return {
    name: 'deaths',
    summary: 'terminates a thread at each step of latches, misses and commits',
    runs: RUNS,
    ofSubjects: false,
    async prepare() {
      const missing = gatedModulesMissing();
      if (missing !== undefined) return missing;
      await deaths.learn();
      watch = new DeathWatch(self);
      return undefined;
    },
    async run({ number, seed, tally, details }: Run): Promise<readonly string[]> {
      watch?.begin(number);
      const step = deaths.stepOf(seed, number);
      const { reached, trace, wrong, poisoned } = await deaths.one(step);
      // Services and others take part in an act: it may come by another way than when it was learnt.
      if (reached) tally.kills++;
      else addDetails(details, { 'not reached': 1 });
      if (poisoned) addDetails(details, { 'pools stopped': 1 });
      const outcome = poisoned ? 'the pool has stopped' : 'the pool goes on';
      return wrong.map((text) => `${deaths.nameOf(step, trace)}, ${outcome}: ${text}`);
    },
    finish: async () => watch?.end(),
  };
}
