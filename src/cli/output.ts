/**
 * Standard output, in large pieces.
 *
 * Owns:        what was pushed and is not written yet.
 * Invariants:  a reader that has gone ends the command quietly (OutputClosed); any other failure of
 *              the output, such as a full disk, is an error.
 * Threads:     the main thread; `drain` gives the event loop a turn, so that signals are heard.
 */
import { Buffer } from 'node:buffer';
import type { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { CommandError, OutputClosed } from './failure.ts';

const PIECE_BYTES = 64 * 1024;

export class Output {
  readonly #stream: Writable;
  readonly isTerminal: boolean;
  #pieces: (Buffer | string)[] = [];
  #pending = 0;
  #failure: Error | undefined;

  constructor(stream: Writable & { readonly isTTY?: boolean }) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true;
    // Without a listener a closed pipe would be an uncaught exception.
    stream.on('error', (error) => {
      this.#failure ??= error;
    });
  }

  /** Takes it; write it out with `drain` when `isFull` says so. */
  push(piece: Buffer | string): void {
    this.#pieces.push(piece);
    this.#pending += piece.length;
  }

  line(text: string): void {
    this.push(`${text}\n`);
  }

  get isFull(): boolean {
    return this.#pending >= PIECE_BYTES;
  }

  /**
   * Writes out what was pushed.
   *
   * @throws {OutputClosed} nobody reads it any more; {CommandError} it cannot be written.
   */
  async drain(): Promise<void> {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#pending = 0;
    if (pieces.length > 0) await this.#write(joined(pieces));
    await turn();
    if (this.#failure !== undefined) throw outputError(this.#failure);
  }

  #write(bytes: Buffer | string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (error) reject(outputError(error));
        else resolve();
      });
    });
  }
}

function joined(pieces: readonly (Buffer | string)[]): Buffer | string {
  if (pieces.every((piece) => typeof piece === 'string')) return pieces.join('');
  return Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)),
  );
}

function outputError(error: Error): Error {
  const { code = 'ERROR' } = error as NodeJS.ErrnoException;
  if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') return new OutputClosed();
  return new CommandError(code, `The output could not be written: ${error.message}.`, {
    hint: 'The store is as it was. Write to a place that has room, and run the command again.',
  });
}
