/** The ordered tree as a map for several threads. */
import type { ConcurrentMap, ScanRange } from '../../../src/harness/index.ts';
import type { Tree, Weirpool } from '../../../src/index.ts';

class TreeMap implements ConcurrentMap {
  readonly hasConsistentScans = true;
  readonly #tree: Tree<string, string>;

  constructor(store: Weirpool) {
    this.#tree = store.tree('map', { key: 'utf8', value: 'utf8' });
  }

  get(key: string): string | undefined {
    return this.#tree.get(key);
  }

  put(key: string, value: string): number {
    return this.#tree.put(key, value);
  }

  delete(key: string): number | undefined {
    const { seq, existed } = this.#tree.delete(key);
    return existed ? seq : undefined;
  }

  compareAndSwap(key: string, expected?: string, value?: string): number | undefined {
    return this.#tree.compareAndSwap(key, expected, value);
  }

  putAll(entries: ReadonlyMap<string, string>): number {
    return this.#tree.batch([...entries].map(([key, value]) => ({ type: 'put', key, value })));
  }

  scan({ from, to, reverse, consistent }: ScanRange): Iterable<readonly [string, string]> {
    return this.#tree.range({ gte: from, lt: to, reverse, consistent });
  }
}

export function treeMap(store: Weirpool): ConcurrentMap {
  return new TreeMap(store);
}
