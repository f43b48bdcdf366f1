/**
 * The mode `kill`: processes that change a store from several threads are killed at random moments.
 *
 * A run is one store and several lives. After each one the store's files are verified; the next
 * process opens what was left, says what it holds, which the history judges, and goes on.
 */
import type { Life } from './life.ts';
import type { LifeEnding } from './live-protocol.ts';
import { addDetails, type Mode, type Run } from './mode.ts';
import { drawMoment, type Moment, momentText, watchFor } from './moments.ts';
import { NO_SUBJECT, type PartContext } from './parts.ts';
import type { Random } from './random.ts';
import type { AnySubject } from './subject.ts';
import { type Ended, Trial, type TrialTask } from './trial.ts';

const RUNS = 15;
const LIVES = 8;

/** How lives end that nobody kills: now and then, instead of a kill. */
const UNKILLED: readonly LifeEnding[] = ['close', 'exit', 'throw'];
const UNKILLED_SHARE = 0.1;

/** What happens to a life. */
interface Plan {
  readonly task: TrialTask;
  /** Undefined: nobody kills it. */
  readonly moment: Moment | undefined;
}

function draw(random: Random): Plan {
  const seed = random.uint32();
  const threads = 2 + random.int(3);
  const endAfterMs = 1 + random.int(150);
  if (random.chance(UNKILLED_SHARE)) {
    const ending = random.pick(UNKILLED);
    return { task: { seed, threads, endAfterMs, ending }, moment: undefined };
  }
  const moment = drawMoment(random);
  const ends = moment.name === 'closing' ? endAfterMs : 0;
  return { task: { seed, threads, endAfterMs: ends, ending: 'close' }, moment };
}

/** A process that is killed at a random moment, or ends in another way. */
export function killOnce(trial: Trial, random: Random): Promise<Ended> {
  return liveOnce(trial, draw(random));
}

/** Lives until it is killed as planned, or ends. */
function liveOnce(trial: Trial, { task, moment }: Plan): Promise<Ended> {
  if (moment === undefined) return trial.live(task);
  const onLine = watchFor(moment, (life: Life) => setTimeout(() => life.kill(), moment.delayMs));
  return trial.live(task, { onLine });
}

export function killMode({ subjects, self }: PartContext): Mode {
  return {
    name: 'kill',
    summary: 'kills processes at random moments, and looks at what they leave',
    runs: RUNS,
    prepare: () => Promise.resolve(subjects.length > 0 ? undefined : NO_SUBJECT),
    async run({ number, random, tally, details, signal }: Run): Promise<readonly string[]> {
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
        addDetails(details, trial.history.counts);
        trial.end();
      }
    },
  };
}

function describe({ task, moment }: Plan): string {
  const { threads, ending } = task;
  return `${threads} threads, ${moment === undefined ? ending : `killed ${momentText(moment)}`}`;
}
