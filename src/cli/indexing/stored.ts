/**
 * What a tree says about one directory: its own entries, without what lies below them.
 *
 * Owns:        nothing; what is below an entry is skipped, not read.
 * Threads:     any; others may change the tree meanwhile, below other directories.
 */
import { Buffer } from 'node:buffer';
import type { Tree } from '../../index.ts';

const SLASH = 0x2f;
/** The byte behind the slash: keys below `a/` are less than `a0`. */
const BEHIND_SLASH = Buffer.from('0');
/** Entries that are read at once: few at first, since what comes may lie below an entry. */
const READ_FIRST = 16;
const READ_MAX = 1024;

export interface StoredEntry {
  readonly key: Buffer;
  /** Undefined: there is something below `key`, which is all that is said here. */
  readonly value: Buffer | undefined;
}

/** First key that is behind all those which begin with a prefix that ends with a slash. */
function behind(path: Buffer): Buffer {
  return Buffer.concat([path, BEHIND_SLASH]);
}

/** Deletes all that lies below an entry: how much that was. */
export function clearBelow(tree: Tree, key: Buffer): number {
  return tree.clear({ gte: Buffer.concat([key, Buffer.from('/')]), lt: behind(key) });
}

/**
 * In the order of their keys. An entry that has others below it comes twice, not necessarily one after
 * the other: by itself, and for what is below it.
 *
 * @param prefix  The directory's key with a slash; empty for the root.
 */
export function* storedEntries(
  tree: Tree,
  prefix: Buffer,
): Generator<StoredEntry, void, undefined> {
  const end = prefix.length === 0 ? {} : { lt: behind(prefix.subarray(0, -1)) };
  let start: { readonly gte: Buffer } | { readonly gt: Buffer } = { gte: prefix };
  let limit = READ_FIRST;
  for (;;) {
    let count = 0;
    let below: Buffer | undefined;
    for (const [key, value] of tree.range({ ...start, ...end, limit })) {
      count++;
      const slash = (key as Buffer).indexOf(SLASH, prefix.length);
      if (slash >= 0) {
        below = (key as Buffer).subarray(0, slash);
        break;
      }
      start = { gt: key as Buffer };
      yield { key: key as Buffer, value: value as Buffer };
    }
    if (below !== undefined) {
      start = { gte: behind(below) };
      limit = READ_FIRST;
      yield { key: below, value: undefined };
    } else if (count < limit) return;
    else limit = Math.min(limit * 4, READ_MAX);
  }
}
