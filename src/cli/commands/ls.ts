/**
 * `weirpool ls`: what lies directly below a prefix, and how much below that.
 *
 * Owns:        the roll-up: keys that go on beyond a delimiter count for what stands before it.
 * Threads:     the main thread.
 */
import { Buffer } from 'node:buffer';
import type { Tree } from '../../index.ts';
import { fileBytes } from '../indexing/entry.ts';
import { openReader, treeToRead, using } from '../open.ts';
import { keyOf } from '../range.ts';
import { indexedRoots } from '../roots.ts';
import { type Session, showProgress } from '../session.ts';
import { tableText } from '../table.ts';
import { bytesOf, escapeBytes, grouped, sizeText } from '../text.ts';

export interface ListOptions {
  readonly tree?: string;
  readonly frames?: number;
  readonly delimiter: string;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly escapes?: boolean;
  readonly json?: boolean;
}

/** One line: a key, what is below it, or both. */
interface Item {
  /** Behind the prefix, without the delimiter; a byte string. */
  readonly name: string;
  isGroup: boolean;
  /** Keys below it, and its own. */
  entries: number;
  bytes: number;
}

interface Listing {
  readonly items: Item[];
  readonly prefix: Buffer;
}

/** `src` means what is below `src/`, if there is something. */
function prefixOf(tree: Tree, text: string, delimiter: Buffer, options: ListOptions): Buffer {
  const prefix = keyOf(text, options);
  if (prefix.length === 0 || prefix.subarray(-delimiter.length).equals(delimiter)) return prefix;
  const directory = Buffer.concat([prefix, delimiter]);
  for (const _ of tree.prefix(directory, { limit: 1 })) return directory;
  return prefix;
}

async function list(
  { interrupt }: Session,
  tree: Tree,
  prefix: Buffer,
  { delimiter, sizeOf, seen }: { delimiter: Buffer; sizeOf: SizeOf; seen: () => void },
): Promise<Item[]> {
  const items = new Map<string, Item>();
  for (const [key, value] of tree.prefix(prefix) as Iterable<[Buffer, Buffer]>) {
    const at = key.indexOf(delimiter, prefix.length);
    const isBelow = at >= 0;
    const name = key.toString('latin1', prefix.length, isBelow ? at : key.length);
    let item = items.get(name);
    if (item === undefined) {
      item = { name, isGroup: false, entries: 0, bytes: 0 };
      items.set(name, item);
    }
    item.isGroup ||= isBelow;
    item.entries++;
    item.bytes += sizeOf(value);
    seen();
    if (interrupt.isDue) await interrupt.look();
  }
  return [...items.values()];
}

type SizeOf = (value: Buffer) => number;

const valueBytes: SizeOf = (value) => value.length;

async function collect(
  session: Session,
  store: string,
  text: string,
  options: ListOptions,
): Promise<Listing> {
  const delimiter = keyOf(options.delimiter, options);
  return await using(await openReader(store, options), async (db) => {
    const name = treeToRead(db, options.tree);
    const tree = db.tree(name);
    const prefix = prefixOf(tree, text, delimiter, options);
    // In an index the size is that of the files; elsewhere it is that of the values.
    const sizeOf = indexedRoots(db).has(name) ? fileBytes : valueBytes;
    let done = 0;
    const seen = (): void => {
      done++;
    };
    const look = { label: 'Adding up', unit: 'entries' };
    const progress = showProgress(session, look, () => ({ done, total: undefined }));
    try {
      const items = await list(session, tree, prefix, { delimiter, sizeOf, seen });
      items.sort((a, b) => (a.name < b.name ? -1 : 1));
      return { items, prefix };
    } finally {
      progress.stop();
    }
  });
}

function jsonOf(
  { name, isGroup, entries, bytes }: Item,
  prefix: Buffer,
  delimiter: string,
): string {
  const key = Buffer.concat([prefix, bytesOf(name)]);
  const shown = `${escapeBytes(key)}${isGroup ? delimiter : ''}`;
  return JSON.stringify({ [isGroup ? 'prefix' : 'key']: shown, entries, bytes });
}

export async function lsCommand(
  session: Session,
  store: string,
  text: string,
  options: ListOptions,
): Promise<number> {
  const { out } = session;
  const { items, prefix } = await collect(session, store, text, options);
  const ordered = options.reverse === true ? items.reverse() : items;
  const shown = ordered.slice(0, options.limit ?? ordered.length);
  if (options.json === true) {
    for (const item of shown) {
      out.line(jsonOf(item, prefix, options.delimiter));
      if (out.isFull) await out.drain();
    }
    await out.drain();
    return 0;
  }
  const rows = shown.map(({ name, isGroup, entries, bytes }) => [
    grouped(entries),
    sizeText(bytes),
    `${escapeBytes(bytesOf(name))}${isGroup ? options.delimiter : ''}`,
  ]);
  const sum = (field: 'entries' | 'bytes'): number =>
    ordered.reduce((total, item) => total + item[field], 0);
  rows.push([grouped(sum('entries')), sizeText(sum('bytes')), 'in all']);
  const right = { align: 'right' } as const;
  const columns = [{ title: 'entries', ...right }, { title: 'size', ...right }, { title: 'name' }];
  out.line(tableText(columns, rows));
  await out.drain();
  return 0;
}
