/**
 * `weirpool get`, `put`, `del`: one key, or a few.
 *
 * Threads:     the main thread.
 */
import { Buffer } from 'node:buffer';
import { CommandError, usageError } from '../failure.ts';
import { openInput, readAll, recordsOf } from '../input.ts';
import { openReader, openWriter, treeToRead, treeToWrite, using } from '../open.ts';
import { boundsOf, isBounded, keyOf, type RangeArguments } from '../range.ts';
import { encodeRecord } from '../records.ts';
import { indexedRoots } from '../roots.ts';
import { type Session, tell } from '../session.ts';
import { counted, escapeBytes } from '../text.ts';

export interface KeyOptions {
  readonly tree?: string;
  readonly frames?: number;
  readonly escapes?: boolean;
  readonly json?: boolean;
}

export async function getCommand(
  { out }: Session,
  store: string,
  text: string,
  options: KeyOptions & { readonly null?: boolean },
): Promise<number> {
  const key = keyOf(text, options);
  await using(await openReader(store, options), async (db) => {
    const name = treeToRead(db, options.tree);
    const value = db.tree(name).get(key) as Buffer | undefined;
    if (value === undefined) {
      throw new CommandError('NO_KEY', `There is no key "${escapeBytes(key)}" in tree "${name}".`, {
        hint: 'See which keys there are with `weirpool scan --keys` or `weirpool ls`.',
      });
    }
    if (options.json === true) out.push(encodeRecord('ndjson', key, value));
    else if (options.null === true) out.push(Buffer.concat([value, Buffer.from([0])]));
    else if (out.isTerminal) out.line(escapeBytes(value));
    else out.push(value);
    await out.drain();
  });
  return 0;
}

/** From the command line, or what comes by standard input. */
async function givenValue(
  value: string | undefined,
  options: KeyOptions,
  signal: AbortSignal,
): Promise<Buffer> {
  if (value !== undefined && value !== '-') return keyOf(value, options);
  if (value === undefined && process.stdin.isTTY) {
    throw usageError('There is no value.', 'Give one behind the key, or - to type one.');
  }
  return await readAll(openInput('-', signal));
}

export async function putCommand(
  { out, interrupt }: Session,
  store: string,
  text: string,
  given: string | undefined,
  options: KeyOptions,
): Promise<number> {
  const key = keyOf(text, options);
  const value = await givenValue(given, options, interrupt.signal);
  const { frames } = options;
  await using(await openWriter(store, { frames, create: true }), async (db) => {
    const name = treeToWrite(db, options.tree);
    db.tree(name).put(key, value);
    if (indexedRoots(db).has(name)) {
      tell(
        `weirpool: "${name}" is the index of a directory; the next run of index drops this key.`,
      );
    }
    await db.flush();
    if (options.json === true) {
      out.line(JSON.stringify({ tree: name, keyBytes: key.length, valueBytes: value.length }));
    }
  });
  await out.drain();
  return 0;
}

async function keysOf(
  texts: readonly string[],
  options: KeyOptions & { readonly null?: boolean },
  signal: AbortSignal,
): Promise<Buffer[]> {
  const keys = texts.map((text) => keyOf(text, options));
  if (options.null !== true) return keys;
  for await (const records of recordsOf(openInput('-', signal), 0)) keys.push(...records);
  return keys;
}

export async function delCommand(
  { out, interrupt }: Session,
  store: string,
  texts: readonly string[],
  options: KeyOptions & RangeArguments & { readonly null?: boolean },
): Promise<number> {
  const isRange = isBounded(options);
  if (texts.length === 0 && !isRange && options.null !== true) {
    throw usageError(
      'Nothing says what to delete.',
      'Give keys, or a range such as --prefix, or -0 for keys from standard input.',
    );
  }
  const keys = await keysOf(texts, options, interrupt.signal);
  const { frames } = options;
  let deleted = 0;
  let missing = 0;
  await using(await openWriter(store, { frames, create: false }), async (db) => {
    const tree = db.tree(treeToRead(db, options.tree));
    for (const key of keys) {
      if (tree.delete(key).existed) deleted++;
      else missing++;
      if (interrupt.isDue) await interrupt.look();
    }
    if (isRange) deleted += tree.clear(boundsOf(options));
    await db.flush();
  });
  if (options.json === true) out.line(JSON.stringify({ deleted, missing }));
  else out.line(`${counted(deleted, 'key')} deleted${missing > 0 ? `, ${missing} not there` : ''}`);
  await out.drain();
  return 0;
}
