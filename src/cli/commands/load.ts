/**
 * `weirpool load`: puts what stands in a file, or comes by standard input.
 *
 * Invariants:  a line that is none ends the load; what stands before it is stored, and its number is
 *              told.
 * Threads:     the main thread.
 */
import type { Buffer } from 'node:buffer';
import { statSync } from 'node:fs';
import { extname } from 'node:path';
import type { Readable } from 'node:stream';
import type { Tree, Weirpool } from '../../index.ts';
import { CommandError } from '../failure.ts';
import { openInput, recordsOf } from '../input.ts';
import { openWriter, treeToWrite, using } from '../open.ts';
import { decodeLine, type Form, type PutRecord, type TreeRecord } from '../records.ts';
import { type Session, showProgress, tell } from '../session.ts';
import { counted, durationText, grouped, sizeText } from '../text.ts';

export interface LoadOptions {
  readonly tree?: string;
  readonly frames?: number;
  readonly format?: Form;
  readonly null?: boolean;
  readonly json?: boolean;
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BRACE = 0x7b;

const FORM_OF_NAME: Readonly<Record<string, Form>> = {
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.tsv': 'tsv',
};

function formOf(path: string, { format, null: nul, json }: LoadOptions): Form | undefined {
  if (nul === true) return 'nul';
  return format ?? FORM_OF_NAME[extname(path)] ?? (json === true ? 'ndjson' : undefined);
}

/** Bytes of a file; undefined if that cannot be told beforehand. */
function bytesOfFile(path: string): number | undefined {
  if (path === '-') return undefined;
  const stats = statSync(path);
  return stats.isFile() ? stats.size : undefined;
}

/** A load under way. */
class Load {
  readonly #db: Weirpool;
  readonly #wanted: string | undefined;
  #form: Form | undefined;
  #tree: Tree | undefined;
  /** With -0: the key whose value comes next. */
  #key: Buffer | undefined;
  #line = 0;
  records = 0;
  bytes = 0;

  constructor(db: Weirpool, wanted: string | undefined, form: Form | undefined) {
    this.#db = db;
    this.#wanted = wanted;
    this.#form = form;
  }

  /** What each record ends with. */
  get separator(): number {
    return this.#form === 'nul' ? 0 : NEWLINE;
  }

  /** @throws {CommandError} `BAD_LINE`. */
  take(records: readonly Buffer[]): void {
    for (const record of records) {
      this.#line++;
      this.bytes += record.length + 1;
      try {
        this.#takeOne(record);
      } catch (error) {
        throw error instanceof SyntaxError || error instanceof RangeError
          ? this.#lineError(error)
          : error;
      }
    }
  }

  #lineError({ message }: Error): CommandError {
    const before = `Stored: ${counted(this.records, 'record')} before it.`;
    return new CommandError('BAD_LINE', `Line ${this.#line}: ${message} ${before}`, {
      hint: 'Correct the line, or say with --format what the input is; then load it again.',
    });
  }

  #takeOne(record: Buffer): void {
    this.#form ??= record[0] === BRACE ? 'ndjson' : 'tsv';
    if (this.#form === 'nul') {
      if (this.#key === undefined) this.#key = record;
      else {
        this.#put({ key: this.#key, value: record });
        this.#key = undefined;
      }
      return;
    }
    const line = record.at(-1) === RETURN ? record.subarray(0, -1) : record;
    const decoded = decodeLine(this.#form, line);
    if (decoded === undefined) return;
    if ('tree' in decoded) this.#use(decoded);
    else this.#put(decoded);
  }

  #use({ tree }: TreeRecord): void {
    if (this.#wanted === undefined) this.#tree = this.#db.tree(tree);
  }

  #put({ key, value }: PutRecord): void {
    this.#tree ??= this.#db.tree(treeToWrite(this.#db, this.#wanted));
    this.#tree.put(key, value);
    this.records++;
  }

  /** @throws {CommandError} a key without its value. */
  assertWhole(): void {
    if (this.#key !== undefined) throw this.#lineError(new SyntaxError('A key has no value.'));
  }
}

async function run(session: Session, load: Load, input: Readable): Promise<void> {
  const { interrupt } = session;
  for await (const records of recordsOf(input, load.separator)) {
    load.take(records);
    await interrupt.look();
  }
  load.assertWhole();
}

export async function loadCommand(
  session: Session,
  store: string,
  path: string,
  options: LoadOptions,
): Promise<number> {
  const { out, interrupt } = session;
  const { frames } = options;
  interrupt.advice = 'What was loaded is stored; loading it again does no harm.';
  const total = bytesOfFile(path);
  if (path === '-' && process.stdin.isTTY) tell('Reading what you type; Ctrl-D ends it.');
  const startedAt = performance.now();
  const form = formOf(path, options);
  const load = await using(await openWriter(store, { frames, create: true }), async (db) => {
    const load = new Load(db, options.tree, form);
    const read = () => ({ done: load.bytes, total, counted: load.records });
    const progress = showProgress(session, { label: 'Loading', unit: 'records' }, read);
    try {
      await run(session, load, openInput(path, interrupt.signal));
    } finally {
      progress.stop();
    }
    return load;
  });
  const seconds = (performance.now() - startedAt) / 1000;
  const { records, bytes } = load;
  const recordsPerSecond = Math.round(records / seconds);
  if (options.json === true) {
    out.line(JSON.stringify({ records, bytes, seconds, recordsPerSecond }));
  } else {
    out.line(
      `${counted(records, 'record')} of ${sizeText(bytes)} loaded in ${durationText(seconds)}, ` +
        `${grouped(recordsPerSecond)}/s`,
    );
  }
  await out.drain();
  return 0;
}
