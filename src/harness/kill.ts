/**
 * The mode `kill`: processes that change a store from several threads are killed at random moments.
 *
 * A run is one store and several lives. After each one the store's files are verified; the next
 * process opens what was left, says what it holds, which the history judges, and goes on.
 */
import { verify } from '../tree/verify.ts';
import { History } from './history.ts';
import { Life, type LifeEnd } from './life.ts';
import type { LifeEnding, LiveTask } from './live-protocol.ts';
import type { Mode, Run } from './mode.ts';
import type { PartContext } from './parts.ts';
import type { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { removeDirectory, temporaryDirectory } from './temporary.ts';

const RUNS = 13;
const LIVES = 8;

/** Moments of a life: the line that one begins with, and how long it lasts, in ms. */
const MOMENTS = {
  opening: { line: 'opening', ms: 60 },
  running: { line: 'running', ms: 150 },
  round: { line: 'round', ms: 8 },
  closing: { line: 'closing', ms: 20 },
} as const;

type Moment = keyof typeof MOMENTS;

const ALL: readonly Moment[] = ['opening', 'running', 'running', 'round', 'round', 'closing'];
/** How lives end that nobody kills: now and then, instead of a kill. */
const UNKILLED: readonly LifeEnding[] = ['close', 'exit', 'throw'];
const UNKILLED_SHARE = 0.1;

/** What happens to a life. */
interface Plan {
  readonly task: LiveTask;
  readonly moment: Moment | undefined;
  /** The how manieth such line of its life. */
  readonly nth: number;
  readonly delayMs: number;
}

function draw(random: Random, subject: AnySubject, directory: string): Plan {
  const common = { subject: subject.name, directory, seed: random.uint32() };
  const threads = 2 + random.int(3);
  const endAfterMs = 1 + random.int(150);
  if (random.chance(UNKILLED_SHARE)) {
    const ending = random.pick(UNKILLED);
    return {
      task: { ...common, threads, endAfterMs, ending },
      moment: undefined,
      nth: 0,
      delayMs: 0,
    };
  }
  const moment = random.pick(ALL);
  const ends = moment === 'closing' ? endAfterMs : 0;
  return {
    task: { ...common, threads, endAfterMs: ends, ending: 'close' },
    moment,
    nth: moment === 'round' ? 1 + random.int(8) : 1,
    delayMs: random.float() * MOMENTS[moment].ms,
  };
}

/** Lives until it is killed as planned, or ends. */
function liveOnce(self: string, plan: Plan, history: History): Promise<LifeEnd> {
  const { task, moment, nth, delayMs } = plan;
  const begins = moment === undefined ? undefined : MOMENTS[moment].line;
  let left = nth;
  history.begin(task);
  const life = new Life({
    self,
    task,
    onLine(line) {
      history.hear(line);
      if (line.split(' ', 1)[0] === begins && --left === 0) setTimeout(() => life.kill(), delayMs);
    },
  });
  return life.ended;
}

/** What is wrong with the way in which a process has ended, if anything. */
export function wrongEnd(end: LifeEnd, { ending }: LiveTask): string | undefined {
  const { code, signal, last, stderr, wasSilent } = end;
  if (wasSilent) return `the process has said nothing for too long after: ${last}`;
  if (signal === 'SIGKILL' || (code === 0 && last === 'closed')) return undefined;
  if (ending !== 'close' && code !== 0 && last.startsWith('leaving')) return undefined;
  return `the process has ended by itself, code ${code}, signal ${signal}, after ${last}: ${stderr}`;
}

/** A store, and everything that has ever been said about it. */
export class Trial {
  readonly directory: string = temporaryDirectory('kill');
  readonly subject: AnySubject;
  readonly history: History;
  readonly #self: string;

  constructor(subject: AnySubject, self: string) {
    this.subject = subject;
    this.history = new History(subject);
    this.#self = self;
  }

  /** One life, and the files after it: what is wrong. */
  async live(plan: Plan): Promise<{ readonly end: LifeEnd; readonly wrong: readonly string[] }> {
    const end = await liveOnce(this.#self, plan, this.history);
    const ended = wrongEnd(end, plan.task);
    const wrong = [...this.history.violations, ...(ended === undefined ? [] : [ended])];
    if (wrong.length === 0) wrong.push(...(await this.#verify()));
    return { end, wrong };
  }

  /** Before it was open for the first time there may be no store. */
  async #verify(): Promise<string[]> {
    if (this.history.facts === undefined) return [];
    const { findings } = await verify(this.directory);
    return findings.map((finding) => `verify: ${JSON.stringify(finding)}`);
  }

  /** Opens it, and closes it. */
  look(seed: number): ReturnType<Trial['live']> {
    const common = { subject: this.subject.name, directory: this.directory, seed };
    const task: LiveTask = { ...common, threads: 0, endAfterMs: 0, ending: 'close' };
    return this.live({ task, moment: undefined, nth: 0, delayMs: 0 });
  }

  end(): void {
    removeDirectory(this.directory);
  }
}

export function killMode({ subjects, self }: PartContext): Mode {
  return {
    name: 'kill',
    summary: 'kills processes at random moments, and looks at what they leave',
    runs: RUNS,
    async run({ number, random, tally, signal }: Run): Promise<readonly string[]> {
      const trial = new Trial(subjects[number % subjects.length] as AnySubject, self);
      try {
        for (let n = 0; n < LIVES && !signal.aborted; n++) {
          const plan = draw(random, trial.subject, trial.directory);
          const { end, wrong } = await trial.live(plan);
          if (end.signal === 'SIGKILL') tally.kills++;
          if (wrong.length > 0) return wrong.map((text) => `life ${n}, ${describe(plan)}: ${text}`);
        }
        return (await trial.look(random.uint32())).wrong;
      } finally {
        trial.end();
      }
    },
  };
}

function describe({ task, moment, nth, delayMs }: Plan): string {
  const { threads, ending } = task;
  const when = moment === undefined ? ending : `killed ${moment} ${nth} +${delayMs.toFixed(1)} ms`;
  return `${threads} threads, ${when}`;
}
