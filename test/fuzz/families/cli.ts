/**
 * What the command line is given: arguments, keys with escapes, files to load, in all forms.
 *
 * `input` takes the parts by themselves; `load` loads mutated dumps into stores in directories, as the
 * command does, and dumps them again. A failure is one that is understood: with a code and a sentence,
 * never a stack.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { CommanderError } from 'commander';
import fc from 'fast-check';
import { dumpCommand } from '../../../src/cli/commands/dump.ts';
import { loadCommand } from '../../../src/cli/commands/load.ts';
import { CommandError, failureOf } from '../../../src/cli/failure.ts';
import { recordsOf } from '../../../src/cli/input.ts';
import { Interrupt } from '../../../src/cli/interrupt.ts';
import { Output } from '../../../src/cli/output.ts';
import { makeProgram } from '../../../src/cli/program.ts';
import { boundsOf } from '../../../src/cli/range.ts';
import { decodeLine, encodeRecord, FORMS, type Form } from '../../../src/cli/records.ts';
import type { Session } from '../../../src/cli/session.ts';
import { escapeBytes, unescapeBytes } from '../../../src/cli/text.ts';
import { TEMPORARY_ENV } from '../../support/protocol.ts';
import { type Mutation, mutated, mutations } from '../support/bytes.ts';
import { type Context, type Family, must, type Prepared } from '../support/family.ts';

const BYTES_BASE = 256 * 1024;
const BYTES_FACTOR = 64;

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
  fc.stringMatching(/^[a-z\\x{}u0-9\t]{0,20}$/).map((text) => Buffer.from(text)),
);

interface InputCase {
  readonly way: 'escapes' | 'text' | 'line' | 'records' | 'bounds' | 'arguments';
  readonly form: Form;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly text: string;
  readonly list: readonly Mutation[];
  readonly pieces: readonly number[];
  readonly argv: readonly string[];
}

const COMMANDS = ['index', 'load', 'dump', 'get', 'put', 'del', 'scan', 'ls', 'stat', 'verify'];
const OPTIONS = [
  '--tree',
  '--frames',
  '--json',
  '-e',
  '--limit',
  '--format',
  '--gt',
  '-0',
  '--',
  '-',
];
const words = fc.oneof(
  fc.constantFrom(...COMMANDS, ...OPTIONS, 'restore', 'salvage', 'backup', 'checkpoint', 'help'),
  fc.constantFrom('0', '-1', '4', '65537', '1e3', '9007199254740993', 'NaN', '', 'tsv', 'ndjson'),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ maxLength: 12 }),
);

const inputCases: fc.Arbitrary<InputCase> = fc.record({
  way: fc.constantFrom('escapes', 'text', 'line', 'line', 'records', 'bounds', 'arguments'),
  form: fc.constantFrom(...FORMS),
  key: bytes,
  value: bytes,
  text: fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.stringMatching(/^[\\xu{}0-9a-f]{0,16}$/),
  ),
  list: fc.oneof(fc.constant([]), mutations),
  pieces: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 }),
  argv: fc.array(words, { maxLength: 7 }),
});

const syntaxErrors = (error: unknown): string | undefined => {
  if (error instanceof CommanderError) return 'CommanderError';
  return error instanceof SyntaxError || error instanceof CommandError ? error.name : undefined;
};

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}]/u;

function same(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && Buffer.compare(a, b) === 0;
}

function checkLine({ form, key, value, list }: InputCase): void {
  if (form === 'nul') return;
  const line = Buffer.from(encodeRecord(form, Buffer.from(key), Buffer.from(value)));
  must(line.at(-1) === 0x0a && line.indexOf(0x0a) === line.length - 1, 'a record is one line');
  const decoded = decodeLine(form, Buffer.from(mutated(line.subarray(0, -1), list)));
  if (list.length > 0) return;
  must(decoded !== undefined && 'key' in decoded, 'a line that was written is none');
  must(same(key, decoded.key) && same(value, decoded.value), 'a line gives other bytes');
}

/** Cut in pieces anywhere, the records are the same. */
async function checkRecords({ key, value, pieces }: InputCase): Promise<void> {
  const whole = Buffer.concat([key, Buffer.from('\n'), value, Buffer.from('\n\nrest')]);
  const parts: Buffer[] = [];
  for (let at = 0, n = 0; at < whole.length; n++) {
    const end = at + (pieces[n % pieces.length] as number);
    parts.push(whole.subarray(at, end));
    at = end;
  }
  const got: Buffer[] = [];
  for await (const some of recordsOf(Readable.from(parts), 0x0a)) got.push(...some);
  must(
    same(whole, Buffer.from(got.join('\n'), 'utf8')) || !isText(whole),
    'records are cut wrongly',
  );
  must(got.reduce((sum, { length }) => sum + length + 1, -1) === whole.length, 'bytes are missing');
}

function isText(some: Uint8Array): boolean {
  return same(some, Buffer.from(Buffer.from(some).toString('utf8'), 'utf8'));
}

async function checkArguments({ argv }: InputCase): Promise<void> {
  const { stdout, stderr } = process;
  const writes = [stdout.write, stderr.write] as const;
  const quiet = (() => true) as typeof stdout.write;
  stdout.write = quiet;
  stderr.write = quiet;
  try {
    await makeProgram('0', async () => undefined).parseAsync(argv, { from: 'user' });
  } finally {
    [stdout.write, stderr.write] = writes;
  }
}

async function checkInput(given: InputCase): Promise<void> {
  const { way, key, text } = given;
  if (way === 'escapes') {
    const shown = escapeBytes(Buffer.from(key));
    must(!HIDDEN.test(shown), 'something hidden is shown');
    must(same(key, unescapeBytes(shown)), 'escapes do not give the same bytes');
  } else if (way === 'text') unescapeBytes(text);
  else if (way === 'line') checkLine(given);
  else if (way === 'records') await checkRecords(given);
  else if (way === 'bounds')
    boundsOf({ prefix: text, gt: escapeBytes(Buffer.from(key)), escapes: true });
  else await checkArguments(given);
}

export const input: Family<InputCase> = {
  name: 'input',
  prepare(context: Context): Prepared<InputCase> {
    const check = async (given: InputCase): Promise<void> => {
      const size = given.key.length + given.value.length + given.text.length + 64;
      const bytesMax = BYTES_BASE + BYTES_FACTOR * size;
      await context.run(given.way, { bytesMax, documented: syntaxErrors }, () => checkInput(given));
    };
    const wanted = ['line SyntaxError', 'text SyntaxError', 'arguments CommanderError', 'line ok'];
    return { cases: inputCases, check, wanted };
  },
};

// --- load ------------------------------------------------------------------------------------------

interface LoadCase {
  readonly form: Form;
  readonly entries: readonly (readonly [Uint8Array, Uint8Array])[];
  readonly list: readonly Mutation[];
  readonly named: boolean;
}

const loadCases: fc.Arbitrary<LoadCase> = fc.record({
  form: fc.constantFrom(...FORMS),
  entries: fc.array(fc.tuple(bytes, bytes), { minLength: 1, maxLength: 12 }),
  list: fc.oneof({ weight: 1, arbitrary: fc.constant([]) }, { weight: 6, arbitrary: mutations }),
  named: fc.boolean(),
});

const LOAD_RESERVED_MAX = 2048 * 1024 * 1024;
const LOAD_BYTES_BASE = 64 * 1024 * 1024;

class Sink extends Writable {
  readonly pieces: Buffer[] = [];
  override _write(piece: Buffer, _encoding: string, done: () => void): void {
    this.pieces.push(piece);
    done();
  }
}

/** Runs a command as main.ts does: what it printed; its failure is one that is understood. */
async function command(run: (session: Session) => Promise<number>): Promise<Buffer> {
  const sink = new Sink();
  const interrupt = new Interrupt(() => undefined);
  try {
    await run({ out: new Output(sink), interrupt, isWatched: false });
  } catch (error) {
    const { code, message } = failureOf(error);
    must(code !== 'ERROR' && !/\n\s+at /.test(message), `a stack for the user: ${message}`);
    throw error;
  } finally {
    interrupt.end();
  }
  return Buffer.concat(sink.pieces);
}

const EXTENSIONS: Readonly<Record<Form, string>> = { ndjson: '.ndjson', tsv: '.tsv', nul: '' };

/** By an option, or by the name of the file. */
function formOptions(form: Form, named: boolean): { null?: true; format?: Form } {
  if (form === 'nul') return { null: true };
  return named ? {} : { format: form };
}

async function loadAndDump({ form, entries, list, named }: LoadCase, at: string): Promise<void> {
  const usable =
    form === 'nul' ? entries.filter((pair) => !pair.some((one) => one.includes(0))) : entries;
  const lines = usable.map(([key, value]) =>
    Buffer.from(encodeRecord(form, Buffer.from(key), Buffer.from(value))),
  );
  const file = join(at, `dump${named ? EXTENSIONS[form] : ''}`);
  writeFileSync(file, mutated(Buffer.concat(lines), list));
  const store = join(at, 'store');
  const options = { frames: 64, tree: 't', ...formOptions(form, named) };
  await command((session) => loadCommand(session, store, file, options));
  const printed = await command((session) =>
    dumpCommand(session, store, { frames: 64, tree: 't', format: 'ndjson' }),
  ).catch((error: unknown) => {
    if (usable.length === 0 || list.length > 0) return Buffer.alloc(0);
    throw error;
  });
  if (list.length > 0) return;
  const expected = new Map(usable.map(([key, value]) => [Buffer.from(key).toString('hex'), value]));
  for (const line of printed.toString('utf8').split('\n')) {
    const record = decodeLine('ndjson', Buffer.from(line));
    if (record === undefined || !('key' in record)) continue;
    const key = record.key.toString('hex');
    must(same(record.value, expected.get(key)), `${key} was loaded with another value`);
    expected.delete(key);
  }
  must(expected.size === 0, `${expected.size} entries were not loaded`);
}

const understood = (error: unknown): string | undefined =>
  error instanceof Error ? failureOf(error).code : undefined;

export const load: Family<LoadCase> = {
  name: 'load',
  prepare(context: Context): Prepared<LoadCase> {
    const root = process.env[TEMPORARY_ENV] ?? tmpdir();
    let number = 0;
    const check = async (given: LoadCase): Promise<void> => {
      const at = join(root, `weirpool-fuzz-${process.pid}-${number++}`);
      mkdirSync(at);
      const bounds = {
        bytesMax: LOAD_BYTES_BASE,
        reservedMax: LOAD_RESERVED_MAX,
        documented: understood,
      };
      try {
        await context.run('load', bounds, () => loadAndDump(given, at));
      } finally {
        rmSync(at, { recursive: true, force: true });
      }
    };
    return { cases: loadCases, check, wanted: ['load ok', 'load BAD_LINE'] };
  },
};
