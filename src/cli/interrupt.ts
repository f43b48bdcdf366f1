/**
 * Ctrl-C and its like: the first one asks the command to close in order, the second one ends it.
 *
 * Owns:        the process's handlers for SIGINT, SIGTERM and SIGHUP.
 * Threads:     the main thread.
 */
import { constants } from 'node:os';
import { setImmediate as turn } from 'node:timers/promises';
import { Interrupted } from './failure.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How many steps of a loop pass between two looks. */
const STEPS = 1024;

export class Interrupt {
  readonly #controller = new AbortController();
  readonly #told: () => void;
  #exitCode = 0;
  /** What to say to whoever has interrupted the command. */
  advice = 'Nothing is left half done.';
  #steps = 0;

  /** @param told  Called once, when the first signal has come. */
  constructor(told: () => void) {
    this.#told = told;
    for (const name of SIGNALS) process.once(name, this.#onSignal);
  }

  /** The command has ended: nothing is left to be closed. */
  end(): void {
    for (const name of SIGNALS) process.removeListener(name, this.#onSignal);
  }

  readonly #onSignal = (name: NodeJS.Signals): void => {
    // From here on the system's own answer holds: the next one ends the process at once.
    this.end();
    this.#exitCode = 128 + constants.signals[name];
    this.#told();
    this.#controller.abort(new Interrupted());
  };

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** As a shell has it: 128 and the number of the signal. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** @throws {Interrupted} the command was asked to end. */
  check(): void {
    this.signal.throwIfAborted();
  }

  /** Whether a long loop should now `await look()`. */
  get isDue(): boolean {
    return ++this.#steps % STEPS === 0;
  }

  /** Hears what has come meanwhile. */
  async look(): Promise<void> {
    await turn();
    this.check();
  }
}
