/**
 * Which trees hold an index of which directory, and which of them was made last.
 *
 * Owns:        the tree `weirpool:index`: name of a tree -> what was indexed into it, as JSON.
 * Threads:     the main thread.
 */
import { isUtf8 } from 'node:buffer';
import type { Tree, Weirpool } from '../index.ts';
import { bytesOf, escapeBytes } from './text.ts';

/** The tree of the trees; lists do not show it. */
export const ROOTS_TREE = 'weirpool:index';

export interface IndexedRoot {
  /** The one indexed last has the highest. */
  readonly order: number;
  /** When it was begun, as a date in ISO 8601. */
  readonly startedAt: string;
  /** Undefined while it is under way, or if it never came to its end. */
  readonly finishedAt?: string;
  /** Directories of the last run that came to its end: how much there is to do again. */
  readonly directories?: number;
}

function treeOf(db: Weirpool): Tree<string, unknown> {
  return db.tree(ROOTS_TREE, { key: 'utf8', value: 'json' });
}

/** All indexed roots by the names of their trees. */
export function indexedRoots(db: Weirpool): ReadonlyMap<string, IndexedRoot> {
  if (!db.hasTree(ROOTS_TREE)) return new Map();
  return new Map(treeOf(db).range() as Iterable<[string, IndexedRoot]>);
}

export function noteRoot(db: Weirpool, name: string, root: IndexedRoot): void {
  treeOf(db).put(name, root);
}

/** The name of the tree that was indexed last and is still there. */
export function lastIndexed(db: Weirpool): string | undefined {
  let last: string | undefined;
  let order = -1;
  for (const [name, root] of indexedRoots(db)) {
    if (root.order <= order || !db.hasTree(name)) continue;
    last = name;
    order = root.order;
  }
  return last;
}

/**
 * The name of the tree for a directory: its absolute path, with bytes that are not UTF-8 escaped, and
 * backslashes doubled so that no two paths have one name.
 *
 * @param root  A byte string.
 */
export function treeNameOf(root: string): string {
  const bytes = bytesOf(root);
  return isUtf8(bytes) ? bytes.toString('utf8').replaceAll('\\', '\\\\') : escapeBytes(bytes);
}
