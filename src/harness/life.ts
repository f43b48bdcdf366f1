/**
 * A process under test, as the one sees it that kills it.
 *
 * Owns:        the child process: it never outlives this one. When this one ends in any way, what
 *              the child says has no reader, and it ends as well.
 * Threads:     the main thread.
 */
import type { ChildProcess } from 'node:child_process';
import { type LiveTask, REPORTS } from './live-protocol.ts';
import { startProcess } from './parts.ts';

/** Nothing that a process under test says takes so long. */
const SILENCE_MS = 20_000;
const STDERR_MAX = 16 * 1024;

export interface LifeOptions {
  readonly self: string;
  readonly task: LiveTask;
  /** A program and its arguments before Node, such as a tracer. */
  readonly under?: readonly string[];
  readonly silenceMs?: number;
  /** Every line, in order. */
  onLine(line: string, life: Life): void;
}

export interface LifeEnd {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of what it has said on its standard error. */
  readonly stderr: string;
  /** Its last line. */
  readonly last: string;
  /** It has said that it goes without a close. */
  readonly isLeaving: boolean;
  /** It said nothing for too long, and was killed for that. */
  readonly wasSilent: boolean;
}

const lives = new Set<Life>();

export class Life {
  readonly #child: ChildProcess;
  readonly #silenceMs: number;
  readonly ended: Promise<LifeEnd>;
  /** Of the process under test, once it has said so: what was started may be a tracer. */
  #pid: number | undefined;
  #last = '';
  #stderr = '';
  #isLeaving = false;
  #wasSilent = false;
  #silence: NodeJS.Timeout | undefined;

  constructor({ self, task, under = [], silenceMs = SILENCE_MS, onLine }: LifeOptions) {
    if (lives.size === 0) process.once('exit', killAll);
    this.#silenceMs = silenceMs;
    // Its standard input ends with this process, however that ends.
    const stdio = ['pipe', 'ignore', 'pipe', 'pipe'] as const;
    this.#child = startProcess(self, 'live', task, { under, stdio: [...stdio] });
    lives.add(this);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_MAX);
    });
    this.#splitLines((line) => {
      this.#hear(line);
      onLine(line, this);
    });
    this.#listen();
    this.ended = this.#end();
  }

  /** Whole lines only: the last one may have been cut short. */
  #splitLines(onLine: (line: string) => void): void {
    let rest = '';
    const reports = this.#child.stdio[REPORTS] as NodeJS.ReadableStream;
    reports.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      lines.forEach(onLine);
    });
  }

  #hear(line: string): void {
    this.#last = line;
    this.#isLeaving ||= line === 'leaving';
    if (line.startsWith('opening ')) this.#pid = Number(line.slice('opening '.length));
    this.#listen();
  }

  #listen(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#wasSilent = true;
      this.kill();
    }, this.#silenceMs);
  }

  get isOver(): boolean {
    return !lives.has(this);
  }

  /** Undefined until it has said so. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** `SIGKILL` to the process under test, and to what it was started with. */
  kill(): void {
    if (this.isOver) return;
    try {
      if (this.#pid !== undefined) process.kill(this.#pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
    this.#child.kill('SIGKILL');
  }

  #end(): Promise<LifeEnd> {
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        lives.delete(this);
        if (lives.size === 0) process.off('exit', killAll);
        clearTimeout(this.#silence);
      };
      this.#child.once('error', (error) => {
        forget();
        reject(error);
      });
      // No pid of a process that has ended may be killed: it may be another's by now.
      this.#child.once('exit', forget);
      this.#child.once('close', (code, signal) => {
        const [stderr, last, wasSilent] = [this.#stderr, this.#last, this.#wasSilent];
        resolve({ code, signal, stderr, last, isLeaving: this.#isLeaving, wasSilent });
      });
    });
  }
}

function killAll(): void {
  for (const life of [...lives]) life.kill();
}
