/**
 * Stores that are each broken at one invariant, with valid checksums: made the same way each time
 * from one small healthy store, and named by the code that `verify` must give.
 */
import {
  E_KEY,
  E_KEY_BYTES,
  E_VALUE,
  N_COUNT,
  N_GARBAGE,
  N_HIGH,
  N_HINT_COUNT,
  N_HINTS,
  N_LEVEL,
  N_LOW,
  N_MAGIC,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TEMPLATE,
  N_TREE,
} from '../../../src/generated/layout.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import type { VerifyCode } from '../../../src/recovery/finding.ts';
import type { BlobId } from '../../../src/store/contract.ts';
import { isOverflow, readReference } from '../../../src/tree/overflow.ts';
import { TREE_OWNER } from '../../../src/tree/store.ts';
import { Weirpool } from '../../../src/tree/weirpool.ts';
import { putInto, StoreEditor, withKernels } from './store-editor.ts';
import { DIRECTORY, newDisk, SMALL } from './support.ts';

const FILES = 1200;
const TAGS = 40;
/** Enough short keys for a node with hints. */
const SHORT = 60;
const LONG = [9000, 5000, 4080];

/** Three levels of `files`, `tags` with three long values, a leaf of short keys, all in the checkpoint. */
export async function healthyStore(): Promise<SimFileSystem> {
  const disk = newDisk();
  const db = await Weirpool.open(DIRECTORY, { ...SMALL, fileSystem: disk });
  const files = db.tree('files', { key: 'utf8' });
  const tags = db.tree('tags', { key: 'utf8', value: 'utf8' });
  for (let n = 0; n < FILES; n++) files.put(fileName(n), Buffer.alloc(60, n));
  for (let n = 0; n < TAGS; n++) tags.put(`tag ${n}`, 't'.repeat(n));
  for (const [n, bytes] of LONG.entries()) {
    tags.put(`tag with much to say ${n}`, 'l'.repeat(bytes));
  }
  const short = db.tree('z', { key: 'utf8' });
  for (let n = 0; n < SHORT; n++) short.put(String(n), Buffer.alloc(0));
  await db.close();
  return disk;
}

export function fileName(n: number): string {
  return `bucket-0${n % 4}/directory-with-a-longer-name-0${n % 7}/file-${String(n).padStart(6, '0')}`;
}

/** What the cases work on. */
export class Broken {
  readonly store: StoreEditor;
  readonly catalog: BlobId;

  constructor(disk: SimFileSystem) {
    this.store = new StoreEditor(disk, DIRECTORY);
    this.catalog = this.store.state.roots.get(TREE_OWNER) as BlobId;
  }

  /** Root of the tree in a slot of the catalog: `files`, `tags`, `z`. */
  root(slot: 0 | 1 | 2): BlobId {
    const entry = this.store.node(this.catalog).entryAt(slot);
    const value = Buffer.from(entry?.value ?? []);
    return value.readDoubleLE(0);
  }

  /** A leaf of `files` in the middle: it has both bounds. */
  get leaf(): BlobId {
    const leaves = this.store.nodesAt(this.root(0), 0);
    return leaves[leaves.length >> 1] as BlobId;
  }

  /** The inner node above it. */
  get inner(): BlobId {
    const { leaf, store } = this;
    const above = store.nodesAt(this.root(0), 1);
    return above.find((id) => store.childrenOf(id).includes(leaf)) as BlobId;
  }

  /** The first long value: its leaf, slot, where its reference lies, and its blobs. */
  get long() {
    const { store } = this;
    for (const leaf of store.nodesAt(this.root(1), 0)) {
      const image = store.node(leaf);
      for (let slot = 0; slot < (image.count ?? 0); slot++) {
        const entry = image.entryAt(slot);
        if (entry === undefined || !isOverflow(entry.word)) continue;
        const { first, bytes } = readReference(entry.value, 0);
        if (bytes !== LONG[0]) continue;
        const blobs = [first];
        for (let id = nextOf(store.read(first)); id !== 0; id = nextOf(store.read(id)))
          blobs.push(id);
        return { leaf, slot, at: entry.value.byteOffset, blobs };
      }
    }
    throw new Error('no long value');
  }

  /** Where the slot, and where its entry begins. */
  slotAt(slot: number): number {
    return N_SLOTS + slot * N_SLOT_BYTES;
  }

  entryOf(id: BlobId, slot: number): number {
    return this.store.node(id).entryAt(slot)?.extent.offset ?? 0;
  }
}

function nextOf(bytes: Uint8Array): number {
  return Number(new DataView(bytes.buffer).getBigUint64(0, true));
}

/** The node anew, with another lower bound. */
function withLow(bytes: Uint8Array, low: string): void {
  withKernels(bytes, (k, at, area) => {
    const size = bytes.length;
    // A split off the first slot leaves all entries in the upper part, above the separator given.
    const key = Buffer.from(low);
    area.set(key, at.key);
    const right = at.other + size;
    const done = k.nodeSplit(at.node, size, 0, at.key, key.length, at.other, right, at.pad);
    area.copyWithin(at.node, right, right + size);
    return done;
  });
}

/** A name of the case, the one code that it gives, how the store is broken. */
export type BrokenStore = readonly [name: string, code: VerifyCode, harm: (broken: Broken) => void];

export const BROKEN_STORES: readonly BrokenStore[] = [
  [
    'the catalog has a state that there is not',
    'CATALOG_INVALID',
    (b) =>
      b.store.edit(b.catalog, (bytes) => {
        const entry = b.entryOf(b.catalog, 0);
        bytes[entry + E_KEY + 'files'.length + 8] = 7;
      }),
  ],
  [
    'the catalog has a name that is no text',
    'CATALOG_INVALID',
    (b) =>
      b.store.edit(b.catalog, (bytes) => {
        putInto(bytes, Uint8Array.of(0xff, 0xfe), entryFor(b.root(0)));
      }),
  ],
  [
    'the catalog names a root that is not there',
    'TREE_ROOT_MISSING',
    (b) => b.store.unmap(b.root(1)),
  ],
  ['the catalog itself is not there', 'ROOT_MISSING', (b) => b.store.unmap(b.catalog)],
  [
    'two names have one tree',
    'BLOB_SHARED',
    (b) => b.store.edit(b.catalog, (bytes) => putInto(bytes, 'also', entryFor(b.root(0)))),
  ],
  [
    'a leaf is no node',
    'NODE_KIND',
    (b) => b.store.edit(b.leaf, (_, view) => view.setUint32(N_MAGIC, 0)),
  ],
  [
    'the catalog is no node',
    'NODE_KIND',
    (b) => b.store.edit(b.catalog, (_, view) => view.setUint32(N_MAGIC, 0)),
  ],
  [
    'a leaf says that it belongs to another tree',
    'NODE_TREE',
    (b) => b.store.edit(b.leaf, (_, view) => view.setBigUint64(N_TREE, BigInt(b.root(1)), true)),
  ],
  [
    'levels do not fall by one',
    'NODE_LEVEL',
    (b) => b.store.edit(b.root(0), (_, view) => view.setUint8(N_LEVEL, view.getUint8(N_LEVEL) + 1)),
  ],
  [
    'slots reach into the entries',
    'NODE_COUNT',
    (b) => b.store.edit(b.leaf, (_, view) => view.setUint32(N_COUNT, 300, true)),
  ],
  [
    'a slot names a place behind the node',
    'NODE_ENTRY',
    (b) => b.store.edit(b.leaf, (_, view) => view.setUint32(b.slotAt(1) + 8, 2 ** 31, true)),
  ],
  [
    'a slot names a place among the slots',
    'NODE_ENTRY',
    (b) => b.store.edit(b.leaf, (_, view) => view.setUint32(b.slotAt(1) + 8, N_SLOTS, true)),
  ],
  [
    'a value is longer than the node',
    'NODE_ENTRY',
    (b) =>
      b.store.edit(b.leaf, (_, view) => view.setUint32(b.entryOf(b.leaf, 1) + E_VALUE, 4096, true)),
  ],
  [
    'a key is longer than keys are',
    'NODE_LENGTH',
    (b) => {
      const key = `${fileName(FILES - 1)}${'x'.repeat(600)}`;
      b.store.edit(b.store.nodesAt(b.root(1), 0).at(-1) as BlobId, (bytes) =>
        putInto(bytes, `z${key}`, NOTHING),
      );
    },
  ],
  [
    'a value is longer than values in nodes are',
    'NODE_LENGTH',
    (b) =>
      b.store.edit(b.store.nodesAt(b.root(1), 0).at(-1) as BlobId, (bytes) =>
        putInto(bytes, 'z', Buffer.alloc(700)),
      ),
  ],
  [
    'an entry reaches into the next one',
    'NODE_OVERLAP',
    (b) =>
      b.store.edit(b.leaf, (_, view) => {
        const lowest = [0, 1, 2]
          .map((slot) => b.entryOf(b.leaf, slot))
          .sort((x, y) => x - y)[0] as number;
        view.setUint32(lowest + E_VALUE, view.getUint32(lowest + E_VALUE, true) + 1, true);
      }),
  ],
  [
    'the garbage is counted wrong',
    'NODE_HEAP',
    (b) =>
      b.store.edit(b.leaf, (_, view) =>
        view.setUint32(N_GARBAGE, view.getUint32(N_GARBAGE, true) + 1, true),
      ),
  ],
  [
    'two slots have changed places',
    'NODE_ORDER',
    (b) =>
      b.store.edit(b.leaf, (bytes) => {
        const first = bytes.slice(b.slotAt(1), b.slotAt(2));
        bytes.copyWithin(b.slotAt(1), b.slotAt(2), b.slotAt(3));
        bytes.set(first, b.slotAt(2));
      }),
  ],
  [
    'a bound lies outside of the node',
    'NODE_BOUND',
    (b) => b.store.edit(b.leaf, (_, view) => view.setUint32(N_HIGH, 4090, true)),
  ],
  [
    'the lower bound is above the upper one',
    'NODE_BOUND',
    (b) =>
      b.store.edit(b.leaf, (_, view) => {
        const [low, high] = [view.getUint32(N_LOW, true), view.getUint32(N_HIGH, true)];
        view.setUint32(N_LOW, high, true);
        view.setUint32(N_HIGH, low, true);
        const lengths = view.getUint32(N_HIGH + 4, true);
        view.setUint32(N_HIGH + 4, (lengths >>> 16) + lengths * 2 ** 16, true);
      }),
  ],
  [
    'a key lies above its node',
    'NODE_RANGE',
    (b) => b.store.edit(b.leaf, (bytes) => putInto(bytes, 'z', NOTHING)),
  ],
  [
    'a node begins before its separator',
    'NODE_LINK',
    (b) => b.store.edit(b.leaf, (bytes) => withLow(bytes, 'a')),
  ],
  [
    'a root has a bound',
    'NODE_LINK',
    (b) => b.store.edit(b.catalog, (bytes) => withLow(bytes, 'a')),
  ],
  [
    'keys leave the template',
    'NODE_TEMPLATE',
    (b) =>
      b.store.edit(b.leaf, (bytes) => {
        bytes[N_TEMPLATE] = (bytes[N_TEMPLATE] as number) ^ 1;
      }),
  ],
  [
    'a head is not that of its key',
    'NODE_HEAD',
    (b) =>
      b.store.edit(b.leaf, (bytes) => {
        const at = b.slotAt(1);
        bytes[at] = (bytes[at] as number) ^ 1;
      }),
  ],
  [
    'a hint leads elsewhere',
    'NODE_HINT',
    (b) =>
      b.store.edit(b.root(2), (_, view) => {
        if (view.getUint8(N_HINT_COUNT) === 0) throw new Error('no hints');
        view.setUint32(N_HINTS + 8, view.getUint32(N_HINTS + 8, true) + 2, true);
      }),
  ],
  [
    'a child is no id',
    'NODE_VALUE',
    (b) =>
      b.store.edit(b.inner, (_, view) => {
        const entry = b.entryOf(b.inner, 1);
        const key = view.getUint16(entry + E_KEY_BYTES, true);
        view.setBigUint64(entry + E_KEY + key, 2n ** 60n, true);
      }),
  ],
  [
    'a reference says that the value is short',
    'NODE_VALUE',
    (b) => {
      const { leaf, at } = b.long;
      b.store.edit(leaf, (_, view) => view.setUint32(at + 8, 3, true));
    },
  ],
  [
    'an inner node has no child',
    'NODE_EMPTY',
    (b) =>
      b.store.edit(b.inner, (bytes, view) =>
        withKernels(bytes, (k, at) =>
          k.nodeRemoveRange(at.node, bytes.length, 0, view.getUint32(N_COUNT, true)),
        ),
      ),
  ],
  ['a child is not there', 'CHILD_MISSING', (b) => b.store.unmap(b.leaf)],
  [
    'two separators have one child',
    'BLOB_SHARED',
    (b) => nameChild(b, 1, b.store.childrenOf(b.inner)[0] as BlobId),
  ],
  [
    'two trees have one node',
    'BLOB_SHARED',
    (b) => {
      const other = b.store.nodesAt(b.root(1), 0)[0] as BlobId;
      nameChild(b, 1, other);
    },
  ],
  ['a child is the root', 'BLOB_SHARED', (b) => nameChild(b, 1, b.root(0))],
  [
    'a part of a value is not there',
    'OVERFLOW_MISSING',
    (b) => b.store.unmap(b.long.blobs[1] as BlobId),
  ],
  [
    'a part of a value is something else',
    'OVERFLOW_KIND',
    (b) => b.store.edit(b.long.blobs[1] as BlobId, (_, view) => view.setUint32(12, 0)),
  ],
  [
    'a part of a value is shorter than it must be',
    'OVERFLOW_LENGTH',
    (b) => b.store.edit(b.long.blobs[0] as BlobId, (_, view) => view.setUint32(8, 100, true)),
  ],
  [
    'a value ends early',
    'OVERFLOW_LENGTH',
    (b) => b.store.edit(b.long.blobs[0] as BlobId, (_, view) => view.setBigUint64(0, 0n, true)),
  ],
  [
    'a value goes on behind its end',
    'OVERFLOW_LENGTH',
    (b) => b.store.edit(b.long.blobs.at(-1) as BlobId, (_, view) => view.setBigUint64(0, 1n, true)),
  ],
  [
    'the blobs of a value go round in a circle',
    'BLOB_SHARED',
    (b) =>
      b.store.edit(b.long.blobs[1] as BlobId, (_, view) =>
        view.setBigUint64(0, BigInt(b.long.blobs[0] as BlobId), true),
      ),
  ],
  ['a node is there twice', 'BLOB_ORPHAN', (b) => void b.store.add(b.store.read(b.leaf))],
  [
    'a value is left behind',
    'BLOB_ORPHAN',
    (b) => {
      const { leaf, slot } = b.long;
      b.store.edit(leaf, (bytes) =>
        withKernels(bytes, (k, at) => k.nodeRemove(at.node, bytes.length, slot)),
      );
    },
  ],
  [
    'a blob holds nothing',
    'BLOB_ORPHAN',
    (b) => void b.store.add(new Uint8Array(b.store.blobBytes)),
  ],
];

const NOTHING = new Uint8Array(0);

function entryFor(root: BlobId): Buffer {
  const value = Buffer.alloc(9);
  value.writeDoubleLE(root);
  return value;
}

function nameChild(b: Broken, slot: number, child: BlobId): void {
  const { inner } = b;
  b.store.edit(inner, (_, view) => {
    const entry = b.entryOf(inner, slot);
    view.setBigUint64(
      entry + E_KEY + view.getUint16(entry + E_KEY_BYTES, true),
      BigInt(child),
      true,
    );
  });
}
