/**
 * A third tree beside those of the subject: filled, cleared and dropped, which takes several
 * mini-transactions and so has no facts of its own.
 *
 * Invariants:  it is filled from the first key on, when it is empty: after any end it holds the first
 *              keys of one filling;
 *              whole fillings of odd numbers are cleared, from the first key on: of these it may hold
 *              the last keys;
 *              all others are dropped, which is one step: as much is there as before, or no tree.
 * Threads:     one.
 */
import type { Random } from '../../../src/harness/index.ts';
import type { Tree, Weirpool } from '../../../src/index.ts';

const NAME = 'scratch';
const KEYS = 50;
const AT_ONCE = 7;
const VALUE_MAX = 400;

function keyOf(n: number): string {
  return `scratch-${String(n).padStart(4, '0')}`;
}

function textOf(n: number, filling: number): string {
  const head = `${filling}:${n}:`;
  return head.padEnd(head.length + ((n * 7919) % VALUE_MAX), 's');
}

function treeOf(store: Weirpool): Tree<string, string> {
  return store.tree(NAME, { key: 'utf8', value: 'utf8' });
}

function fill(tree: Tree<string, string>, filling: number): void {
  for (let n = 0; n < KEYS; n += AT_ONCE) {
    const count = Math.min(AT_ONCE, KEYS - n);
    tree.batch(
      Array.from({ length: count }, (_, at) => ({
        type: 'put',
        key: keyOf(n + at),
        value: textOf(n + at, filling),
      })),
    );
  }
}

function isCleared(filling: number): boolean {
  return filling % 2 === 1;
}

/** Number of its filling, and its first key. */
function stateOf(tree: Tree<string, string>): { readonly filling: number; readonly begin: number } {
  const [filling = 0, begin = 0] = (tree.first()?.[1] ?? '').split(':').map(Number);
  return { filling, begin };
}

/** Fills it, or empties it in one of two ways, and looks: what is wrong. */
export function useScratch(store: Weirpool, random: Random): readonly string[] {
  const tree = treeOf(store);
  const count = tree.count();
  if (count === 0) {
    fill(tree, random.int(2 ** 30));
    const filled = tree.count();
    return filled === KEYS ? checkScratch(store) : [`a filling has left ${filled} keys`];
  }
  const { filling, begin } = stateOf(tree);
  if (isCleared(filling) && (count === KEYS || begin > 0)) {
    const cleared = tree.clear();
    return cleared === count && tree.count() === 0 ? [] : [`clear has left some of ${count} keys`];
  }
  store.dropTree(NAME);
  return store.hasTree(NAME) ? ['a tree that was dropped is there'] : [];
}

/** What it must never be, after any end. */
export function checkScratch(store: Weirpool): readonly string[] {
  if (!store.hasTree(NAME)) return [];
  const tree = treeOf(store);
  const { filling, begin } = stateOf(tree);
  let n = begin;
  for (const [key, value] of tree.range()) {
    if (key === keyOf(n) && value === textOf(n, filling)) n++;
    else return [`scratch: ${key} is out of place behind those from ${begin} to ${n - 1}`];
  }
  const isLeft = begin === 0 || (isCleared(filling) && n === KEYS);
  return isLeft ? [] : [`scratch: from ${begin} to ${n - 1} of ${filling}, which nobody has left`];
}
