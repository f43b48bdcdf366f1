/**
 * What every command has at hand.
 *
 * Owns:        nothing.
 * Threads:     the main thread.
 */
import type { Interrupt } from './interrupt.ts';
import type { Output } from './output.ts';
import { Progress, type ProgressLook, type ProgressState } from './progress.ts';
import { visible } from './text.ts';

export interface Session {
  readonly out: Output;
  readonly interrupt: Interrupt;
  /** Whether standard error is a terminal. */
  readonly isWatched: boolean;
}

/** A line for people, on standard error. */
export function tell(text: string): void {
  process.stderr.write(`${visible(text)}\n`);
}

/** @param streams  Whether the command prints while it works: then a terminal shows that instead. */
export function showProgress(
  { out, isWatched }: Session,
  look: ProgressLook,
  read: () => ProgressState,
  { streams = false }: { readonly streams?: boolean } = {},
): Progress {
  return new Progress(isWatched && !(streams && out.isTerminal), look, read);
}
