/** Builds that are broken under several threads: what the mode `concurrent` must find, and how soon. */
import type { Broken } from './catching.ts';

const CURSOR = 'src/tree/cursor.ts';
const STORE = 'src/tree/store.ts';
const TREE = 'src/tree/tree.ts';

export const BROKEN_CONCURRENT: readonly Broken[] = [
  {
    title: 'a value that was read without a latch is not validated',
    mode: 'concurrent',
    runs: 40,
    patches: [
      {
        file: STORE,
        find: 'if (control.validate(frame, descent.version) !== 0) return value;',
        replace: 'if (frame >= 0) return value;',
      },
    ],
  },
  {
    title: 'compare-and-swap compares before it has the latch',
    mode: 'concurrent',
    runs: 20,
    patches: [
      {
        file: STORE,
        find:
          '    const seq = this.log.transactions.change((op) => {\n' +
          '      this.nodes.setKey(key);\n' +
          '      const frame = this.latchLeaf(op, tree);\n' +
          '      const current = this.#copyValue(tree, frame, this.descent.id);\n' +
          '      const value = decide(current);\n',
        replace:
          '    const current = this.get(tree, key);\n' +
          '    const value = decide(current);\n' +
          '    const seq = this.log.transactions.change((op) => {\n' +
          '      this.nodes.setKey(key);\n' +
          '      this.latchLeaf(op, tree);\n',
      },
    ],
  },
  {
    title: 'a scan goes on behind a leaf that has changed while it was read',
    mode: 'concurrent',
    runs: 40,
    patches: [
      {
        file: CURSOR,
        find: 'if (core.control.validate(frame, version) !== 0) {',
        replace: 'if (version >= 0) {',
      },
    ],
  },
  {
    title: 'a consistent scan is consistent per node alone',
    mode: 'concurrent',
    runs: 10,
    patches: [
      {
        file: TREE,
        find: 'return consistent && snapshot === undefined ? this.#snapshots.take() : undefined;',
        replace: 'void consistent; void snapshot;\n    return undefined;',
      },
    ],
  },
  {
    title: 'the changes of a batch are made one by one',
    mode: 'concurrent',
    runs: 40,
    patches: [
      {
        file: TREE,
        find: '    return entries.length === 0 ? 0 : changeAndMerge(this.#store, entries, options);',
        replace:
          '    let seq = 0;\n' +
          '    for (const entry of entries) seq = changeAndMerge(this.#store, [entry], options);\n' +
          '    return seq;',
      },
    ],
  },
];
