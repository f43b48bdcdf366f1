/**
 * A store that is crashed again and again, and everything that has ever been said about it.
 *
 * Owns:        the directory, until `end`.
 * Threads:     the main thread.
 */
import { verify } from '../tree/verify.ts';
import { History } from './history.ts';
import { Life, type LifeEnd, type LifeOptions } from './life.ts';
import type { LiveTask } from './live-protocol.ts';
import type { AnySubject } from './subject.ts';
import { removeDirectory, temporaryDirectory } from './temporary.ts';

export type TrialTask = Omit<LiveTask, 'subject' | 'directory'>;

export interface TrialOptions extends Partial<Omit<LifeOptions, 'self' | 'task'>> {
  /** How the process may end beside the ways that its task names. */
  readonly mayEnd?: (end: LifeEnd) => boolean;
  /** Before the files are looked at. */
  readonly onEnd?: () => Promise<void>;
}

export interface Ended {
  readonly end: LifeEnd;
  /** What is wrong with how it ended, what it has said, or the files that it has left. */
  readonly wrong: readonly string[];
}

/** What is wrong with the way in which a process has ended, if anything. */
function wrongEnd(end: LifeEnd, { ending }: TrialTask): string | undefined {
  const { code, signal, last, stderr, isLeaving, wasSilent } = end;
  if (wasSilent) return `the process has said nothing for too long after: ${last}`;
  if (signal === 'SIGKILL' || (code === 0 && last === 'closed')) return undefined;
  if (ending !== 'close' && code !== 0 && isLeaving) return undefined;
  return `the process has ended by itself, code ${code}, signal ${signal}, after ${last}: ${stderr}`;
}

export class Trial {
  readonly directory: string;
  readonly subject: AnySubject;
  readonly history: History;
  readonly #self: string;
  readonly #isOwn: boolean;

  /** @param directory  Default: a temporary one, which goes with the trial. */
  constructor(subject: AnySubject, self: string, directory?: string) {
    this.directory = directory ?? temporaryDirectory('crash');
    this.#isOwn = directory === undefined;
    this.subject = subject;
    this.history = new History(subject);
    this.#self = self;
  }

  /** One life of a process, until it ends or is killed, and a look at the files after it. */
  async live(given: TrialTask, options: TrialOptions = {}): Promise<Ended> {
    const { onLine, mayEnd, onEnd, ...rest } = options;
    const task: LiveTask = { ...given, subject: this.subject.name, directory: this.directory };
    this.history.begin(task);
    const life = new Life({
      ...rest,
      self: this.#self,
      task,
      onLine: (line, one) => {
        this.history.hear(line);
        onLine?.(line, one);
      },
    });
    const end = await life.ended;
    await onEnd?.();
    const ended = mayEnd?.(end) === true ? undefined : wrongEnd(end, given);
    const wrong = [...this.history.takeViolations(), ...(ended === undefined ? [] : [ended])];
    if (wrong.length === 0) wrong.push(...(await this.verify()));
    return { end, wrong };
  }

  /** Opens it, looks, and closes it: what is wrong. */
  async look(seed: number): Promise<readonly string[]> {
    return (await this.live({ seed, threads: 0, endAfterMs: 0, ending: 'close' })).wrong;
  }

  /** What is wrong with the files. Before it was open for the first time there may be no store. */
  async verify(): Promise<string[]> {
    if (this.history.facts === undefined) return [];
    const own = this.subject.verify;
    if (own !== undefined) return [...(await own(this.directory))];
    const { findings } = await verify(this.directory);
    return findings.map((finding) => `verify: ${JSON.stringify(finding)}`);
  }

  end(): void {
    if (this.#isOwn) removeDirectory(this.directory);
  }
}
