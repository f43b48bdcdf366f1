/**
 * What a process under test is told, and what it says on file descriptor 3: one line each, a word
 * and what belongs to it. Short lines are written at once, so those of several threads never mix.
 *
 *   opening <pid>              open <facts>            it is open, and holds this
 *   running <shift>            all threads of the shift have begun
 *   begin <thread> <sum>       its next operation is under way, and may have been done from now on
 *   done <thread> <seq>        it was done               idle <thread>   there was nothing to change
 *   not <thread> <code>        it was not done           unsure <thread> <code>
 *   written <thread> <seq>     synced <thread> <seq>     acknowledged, up to this seq
 *   round   rounded            die <whom>   died
 *   quiet <facts>              no thread runs, a round has ended, and this is what it holds
 *   poisoned <cause>           refused <code> <text>     left <thread> <code>
 *   figures <figures>          what the process has of memory, descriptors, threads
 *   unseen <code> <text>       unclosed <code> <text>   it cannot be looked at, closed
 *   closing   closed           leaving                   wrong <text>
 */
import { writeSync } from 'node:fs';
import type { Facts } from './subject.ts';

/** The descriptor of the reports. */
export const REPORTS = 3;

/** How a process under test ends that nobody kills. */
export type LifeEnding = 'close' | 'exit' | 'throw';

export interface LiveTask {
  /** Name of the subject. */
  readonly subject: string;
  readonly directory: string;
  readonly seed: number;
  /** Threads that change it, the main thread among them; 0: it is looked at, and closed. */
  readonly threads: number;
  /** When it ends by itself, in ms after its threads have begun; 0: never. */
  readonly endAfterMs: number;
  readonly ending: LifeEnding;
  /**
   * Threads, also those of the pool, that are terminated, one in a shift; it ends by itself after
   * the last one, too. Default 0.
   */
  readonly deaths?: number;
  /** Of a shift: that a thread is terminated in it. Default 1. */
  readonly deathChance?: number;
  /** Codes of errors that are to be expected, because faults are injected. Default: none. */
  readonly tolerated?: readonly string[];
  /** Longest shift, in ms; figures are told after each. Default: a shift ends with the life. */
  readonly shiftMs?: number;
}

/** What must stay flat in a process that lives long. */
export interface Figures {
  readonly rss: number;
  readonly heap: number;
  /** Array buffers and other memory outside of the heap. */
  readonly external: number;
  readonly descriptors: number;
  readonly threads: number;
  /** Bytes of the files in the directory. */
  readonly files: number;
}

/** The whole line, whatever room the pipe has. Nobody listens any more: the process ends. */
export function say(what: string, ...values: readonly (string | number)[]): void {
  const bytes = new TextEncoder().encode(`${[what, ...values].join(' ')}\n`);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(REPORTS, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') process.kill(process.pid, 'SIGKILL');
    }
  }
}

export function sayFacts(what: 'open' | 'quiet', facts: Facts): void {
  say(what, JSON.stringify([...facts]));
}

export function factsFrom(text: string): Map<string, string> {
  return new Map(JSON.parse(text) as [string, string][]);
}

/** One line of text out of anything. */
export function lineOf(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : undefined;
  const whole = cause === undefined ? text : `${text} because of ${String(cause)}`;
  return whole.replaceAll(/\s*\n\s*/g, ' | ').slice(0, 2000);
}
