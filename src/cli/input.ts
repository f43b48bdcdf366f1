/**
 * Standard input and files, cut into records.
 *
 * Owns:        what was read and holds no end of a record yet.
 * Threads:     the main thread.
 */
import { Buffer } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';

const READ_BYTES = 256 * 1024;
/** A record never ends beyond this: a file without line ends is no file of records. */
const RECORD_BYTES_MAX = 256 * 1024 * 1024;

/** Standard input for `-`. The signal ends it, also while it waits for more. */
export function openInput(path: string, signal: AbortSignal): Readable {
  const input =
    path === '-' ? process.stdin : createReadStream(path, { highWaterMark: READ_BYTES });
  return addAbortSignal(signal, input);
}

/** All of it. */
export async function readAll(input: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of input) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/**
 * The records that end with `end`, without it; the last one may do without.
 *
 * @yields  Several at once, as they come.
 */
export async function* recordsOf(input: Readable, end: number): AsyncGenerator<Buffer[], void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const piece of input as AsyncIterable<Buffer>) {
    const records: Buffer[] = [];
    let from = 0;
    for (let to = piece.indexOf(end); to >= 0; to = piece.indexOf(end, from)) {
      const last = piece.subarray(from, to);
      records.push(restBytes === 0 ? last : Buffer.concat([...rest, last]));
      rest = [];
      restBytes = 0;
      from = to + 1;
    }
    if (from < piece.length) {
      rest.push(piece.subarray(from));
      restBytes += piece.length - from;
    }
    if (restBytes > RECORD_BYTES_MAX) throw new RangeError('A record of the input has no end.');
    yield records;
  }
  if (restBytes > 0) yield [Buffer.concat(rest)];
}
