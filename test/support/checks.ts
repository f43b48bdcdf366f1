/**
 * Checks for scenario programs (test/scenarios): a violation ends the whole process at once, from
 * any thread, and says on standard error what was violated.
 *
 * Importing this module on the main thread also starts the watchdog that `runScenario` asks for.
 */
import { writeSync } from 'node:fs';
import { isMainThread, threadId, Worker } from 'node:worker_threads';
import { VIOLATION, WATCHDOG_ENV } from './protocol.ts';

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Error) {
    const { code } = value as { code?: unknown };
    return `${code === undefined ? '' : `[${String(code)}] `}${value.stack ?? String(value)}`;
  }
  return String(value);
}

/** Ends the process with `message`: exit code 1, or SIGKILL when a worker says it. */
export function violation(message: string): never {
  const where = isMainThread ? 'main thread' : `worker ${threadId}`;
  const stack = new Error('here').stack?.split('\n').slice(2, 8).join('\n') ?? '';
  writeSync(2, `${VIOLATION}${message} (${where})\n${stack}\n`);
  if (isMainThread) process.exit(1);
  // A worker's exit ends the worker alone, and the main thread may be parked.
  process.kill(process.pid, 'SIGKILL');
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

export function check(condition: unknown, message: string): asserts condition {
  if (!condition) violation(message);
}

/** Compares with `Object.is`. */
export function checkEqual<T>(actual: T, expected: T, message: string): void {
  if (!Object.is(actual, expected)) {
    violation(`${message}: ${describe(actual)} instead of ${describe(expected)}`);
  }
}

/** Runs `body`, which must throw an error with this `code` (or of this name); returns the error. */
export function checkThrows(body: () => unknown, code: string, message: string): Error {
  try {
    body();
  } catch (error) {
    if (
      error instanceof Error &&
      (error.name === code || (error as { code?: unknown }).code === code)
    ) {
      return error;
    }
    violation(`${message}: ${describe(error)} instead of ${code}`);
  }
  violation(`${message}: nothing was thrown instead of ${code}`);
}

/** Parks this thread; for scenarios that widen a race. */
export function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** A meeting point of `parties` threads over four bytes of shared memory; can be used repeatedly. */
export class Barrier {
  readonly #words: Int32Array;
  readonly #parties: number;

  constructor(shared: SharedArrayBuffer, parties: number) {
    this.#words = new Int32Array(shared);
    this.#parties = parties;
  }

  static shared(): SharedArrayBuffer {
    return new SharedArrayBuffer(8);
  }

  /** Waits for the others. */
  meet(): void {
    const round = Atomics.load(this.#words, 1);
    if (Atomics.add(this.#words, 0, 1) === this.#parties - 1) {
      Atomics.store(this.#words, 0, 0);
      Atomics.add(this.#words, 1, 1);
      Atomics.notify(this.#words, 1);
      return;
    }
    while (Atomics.load(this.#words, 1) === round) Atomics.wait(this.#words, 1, round, 100);
  }
}

/**
 * Starts a worker that runs this same program, and reports how it ended.
 *
 * @param self  `import.meta.url` of the scenario; in the bundle, the bundle itself.
 * @returns     The worker, and a promise that settles with its exit code, or with its error.
 */
export function startWorker(
  self: string,
  data: unknown,
): { readonly worker: Worker; readonly done: Promise<number> } {
  const worker = new Worker(new URL(self), { workerData: data });
  const done = new Promise<number>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', resolve);
  });
  // Whoever does not wait for the end still sees the error as an unhandled one of the process.
  return { worker, done };
}

/** Starts one worker for each item of data and waits until all of them ended with 0. */
export async function runWorkers(self: string, data: readonly unknown[]): Promise<void> {
  const codes = await Promise.all(data.map((item) => startWorker(self, item).done));
  codes.forEach((code, n) => {
    checkEqual(code, 0, `exit code of worker ${n}`);
  });
}

const watchdog = process.env[WATCHDOG_ENV];
if (isMainThread && watchdog !== undefined) {
  new Worker(watchdog, { name: 'watchdog' }).unref();
}
