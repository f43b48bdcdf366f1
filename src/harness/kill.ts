/**
 * The mode `kill`: processes that change a store from several threads are killed at random moments.
 *
 * A run is one store and several lives. After each one the store's files are verified; the next
 * process opens what was left, says what it holds, which the history judges, and goes on.
 */
import type { LifeEnding } from './live-protocol.ts';
import type { Mode, Run } from './mode.ts';
import { NO_SUBJECT, type PartContext } from './parts.ts';
import type { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { type Ended, Trial, type TrialTask } from './trial.ts';

const RUNS = 15;
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
  readonly task: TrialTask;
  readonly moment: Moment | undefined;
  /** The how manieth such line of its life. */
  readonly nth: number;
  readonly delayMs: number;
}

function draw(random: Random): Plan {
  const seed = random.uint32();
  const threads = 2 + random.int(3);
  const endAfterMs = 1 + random.int(150);
  if (random.chance(UNKILLED_SHARE)) {
    const ending = random.pick(UNKILLED);
    return {
      task: { seed, threads, endAfterMs, ending },
      moment: undefined,
      nth: 0,
      delayMs: 0,
    };
  }
  const moment = random.pick(ALL);
  const ends = moment === 'closing' ? endAfterMs : 0;
  return {
    task: { seed, threads, endAfterMs: ends, ending: 'close' },
    moment,
    nth: moment === 'round' ? 1 + random.int(8) : 1,
    delayMs: random.float() * MOMENTS[moment].ms,
  };
}

/** A process that is killed at a random moment, or ends in another way. */
export function killOnce(trial: Trial, random: Random): Promise<Ended> {
  return liveOnce(trial, draw(random));
}

/** Lives until it is killed as planned, or ends. */
function liveOnce(trial: Trial, { task, moment, nth, delayMs }: Plan): Promise<Ended> {
  const begins = moment === undefined ? undefined : MOMENTS[moment].line;
  let left = nth;
  return trial.live(task, {
    onLine(line, life) {
      if (line.split(' ', 1)[0] === begins && --left === 0) setTimeout(() => life.kill(), delayMs);
    },
  });
}

export function killMode({ subjects, self }: PartContext): Mode {
  return {
    name: 'kill',
    summary: 'kills processes at random moments, and looks at what they leave',
    runs: RUNS,
    prepare: () => Promise.resolve(subjects.length > 0 ? undefined : NO_SUBJECT),
    async run({ number, random, tally, signal }: Run): Promise<readonly string[]> {
      const trial = new Trial(subjects[number % subjects.length] as AnySubject, self);
      try {
        for (let n = 0; n < LIVES && !signal.aborted; n++) {
          const plan = draw(random);
          const { end, wrong } = await liveOnce(trial, plan);
          if (end.signal === 'SIGKILL') tally.kills++;
          if (wrong.length > 0) return wrong.map((text) => `life ${n}, ${describe(plan)}: ${text}`);
        }
        return await trial.look(random.uint32());
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
