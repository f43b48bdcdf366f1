/**
 * The mode `terminate`: threads of a process are terminated at random moments, those that change the
 * store and those that the pool has for itself.
 *
 * Afterwards either the process goes on: what the thread had was given back, a round goes through,
 * and everything that anybody has committed is there. Or the pool has stopped, for that reason: it
 * is closed and opened again in the same process, and nothing that was acknowledged is lost. The
 * process under test says which (live.ts), and the history judges what it holds.
 */
import { addDetails, type Mode, type Run } from './mode.ts';
import type { PartContext } from './parts.ts';
import type { AnySubject } from './subject.ts';
import { Trial } from './trial.ts';

const RUNS = 10;
/** Of one process. */
const DEATHS = 12;

export function terminateMode({ subjects, self }: PartContext): Mode {
  const able = subjects.filter(({ attach }) => attach !== undefined);
  return {
    name: 'terminate',
    summary: 'terminates threads at random moments, and looks at what they leave',
    runs: RUNS,
    prepare: () => Promise.resolve(able.length > 0 ? undefined : 'no subject has threads'),
    async run({ number, random, tally, details }: Run): Promise<readonly string[]> {
      const trial = new Trial(able[number % able.length] as AnySubject, self);
      try {
        const threads = 2 + random.int(3);
        const deaths = DEATHS;
        const { wrong } = await trial.live(
          { seed: random.uint32(), threads, deaths, endAfterMs: 0, ending: 'close' },
          { onLine: (line) => void (line === 'died' && tally.kills++) },
        );
        return wrong.length > 0 ? wrong : await trial.look(random.uint32());
      } finally {
        addDetails(details, trial.history.counts);
        trial.end();
      }
    },
  };
}
