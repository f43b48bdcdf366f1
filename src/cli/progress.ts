/**
 * How far a long command is: on a terminal only, on standard error, and gone when it is done.
 *
 * Owns:        the bar on the terminal.
 * Threads:     the main thread.
 */
import { type Options, type Params, SingleBar } from 'cli-progress';
import { durationText, grouped, sizeText } from './text.ts';

/** Short work shows no bar. */
const DELAY_MS = 300;
const INTERVAL_MS = 100;
const BAR_WIDTH = 24;

export interface ProgressState {
  /** How much is done, in the unit of `total`. */
  readonly done: number;
  /** Undefined: nobody knows. */
  readonly total: number | undefined;
  /** What the rate is of; `done` unless it is given. */
  readonly counted?: number;
  /** Whether there may be more than `total`: the time left is the least. */
  readonly isOpen?: boolean;
  /** What else there is to say; '' for nothing. */
  readonly detail?: string;
}

export interface ProgressLook {
  readonly label: string;
  /** Of what is counted, such as `entries`; `bytes` are shown as sizes. */
  readonly unit: string;
}

type Payload = ProgressState & ProgressLook & { readonly seconds: number };

function amount(value: number, unit: string): string {
  return unit === 'bytes' ? sizeText(value) : `${grouped(value)} ${unit}`;
}

/** One line: bar, count, rate, time left. */
function format(options: Options, { progress }: Params, payload: Payload): string {
  const { label, unit, done, total, counted = done, detail = '', isOpen, seconds } = payload;
  const rate = seconds > 0 ? counted / seconds : 0;
  const parts = [amount(counted, unit), `${amount(Math.round(rate), unit)}/s`];
  if (detail !== '') parts.push(detail);
  if (total === undefined || total <= 0) return `${label}  ${parts.join('  ')}`;
  const { barCompleteString = '', barIncompleteString = '' } = options;
  const filled = Math.round(Math.min(progress, 1) * BAR_WIDTH);
  const bar = barCompleteString.slice(0, filled) + barIncompleteString.slice(0, BAR_WIDTH - filled);
  const left = done > 0 ? (seconds / done) * Math.max(total - done, 0) : undefined;
  if (left !== undefined) {
    const time = durationText(Math.ceil(left)).replace('.00', '');
    parts.push(`${isOpen === true ? 'at least ' : ''}${time} left`);
  }
  const percent = `${Math.floor(Math.min(progress, 1) * 100)}%`;
  return `${label} [${bar}] ${percent.padStart(4)}  ${parts.join('  ')}`;
}

export class Progress {
  readonly #look: ProgressLook;
  readonly #read: () => ProgressState;
  readonly #startedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #bar: SingleBar | undefined;

  /**
   * @param isShown  Whether standard error is a terminal that nothing else is written to.
   * @param read     Asked ten times a second.
   */
  constructor(isShown: boolean, look: ProgressLook, read: () => ProgressState) {
    this.#look = look;
    this.#read = read;
    if (isShown) this.#timer = setInterval(() => this.#draw(), INTERVAL_MS).unref();
  }

  #draw(): void {
    const milliseconds = performance.now() - this.#startedAt;
    if (milliseconds < DELAY_MS) return;
    const state = this.#read();
    const payload = { ...state, ...this.#look, seconds: milliseconds / 1000 };
    const total = state.total ?? 0;
    if (this.#bar === undefined) {
      this.#bar = makeBar();
      this.#bar.start(total, state.done, payload);
    } else {
      this.#bar.setTotal(total);
      this.#bar.update(state.done, payload);
    }
  }

  /** Takes the bar away. Idempotent. */
  stop(): void {
    clearInterval(this.#timer);
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

function makeBar(): SingleBar {
  return new SingleBar({
    format: (options, params, payload) => format(options, params, payload as Payload),
    stream: process.stderr,
    clearOnComplete: true,
    // Whoever ends the process at once would leave it hidden.
    hideCursor: null,
    // Signals are heard in one place, interrupt.ts.
    gracefulExit: false,
    barsize: BAR_WIDTH,
    barCompleteChar: '#',
    barIncompleteChar: '.',
    linewrap: true,
    fps: 1000 / INTERVAL_MS,
  });
}
