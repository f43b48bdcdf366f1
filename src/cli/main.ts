#!/usr/bin/env node
/**
 * Entry of the command line.
 *
 * Owns:        the process: its exit code, what it says when something fails.
 * Threads:     the main thread.
 */
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { CommanderError } from 'commander';
import { describeFailure, EXIT_USAGE, failureOf, Interrupted, OutputClosed } from './failure.ts';
import { Interrupt } from './interrupt.ts';
import { Output } from './output.ts';
import { makeProgram } from './program.ts';
import { type Session, tell } from './session.ts';

// Node.js (https://github.com/nodejs/node/issues/54918) may wait at its exit for a compilation in the
// background that waits for a collection of garbage, for ever: one in twenty runs on a busy machine.
setFlagsFromString('--no-concurrent-recompilation');

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

const isWatched = process.stderr.isTTY === true;
const wantsJson = process.argv.includes('--json');

/** Streams have an error of their own for it. */
function isInterruption(error: unknown): boolean {
  return error instanceof Interrupted || (error as Error).name === 'AbortError';
}

function failWith(error: unknown, interrupt: Interrupt): number {
  if (interrupt.signal.aborted && isInterruption(error)) {
    tell(`weirpool: interrupted. ${interrupt.advice}`);
    return interrupt.exitCode;
  }
  if (error instanceof OutputClosed) return 0;
  const failure = failureOf(error);
  process.stderr.write(describeFailure(failure, wantsJson));
  return failure.exitCode;
}

async function run(command: (session: Session) => Promise<number>): Promise<void> {
  const interrupt = new Interrupt(() => {
    if (isWatched) process.stderr.write('\nClosing the store; once more ends it at once.\n');
  });
  const session: Session = { out: new Output(process.stdout), interrupt, isWatched };
  try {
    process.exitCode = await command(session);
  } catch (error) {
    process.exitCode = failWith(error, interrupt);
  }
  interrupt.end();
}

// Whoever reads what is said may go: whether that matters is seen where it is written.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);
try {
  await makeProgram(version, run).parseAsync();
} catch (error) {
  // It has said what was wrong already, or printed what it was asked for.
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
}
