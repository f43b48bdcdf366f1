/**
 * Crafted nodes: whatever the bytes of a node are, no kernel traps, hangs, or writes outside of the
 * areas that it was given. Every entry is called on nodes of which bytes, words and fields were changed.
 *
 * The areas are those of a thread, as long as they are there (node-access.ts), each between guards.
 */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import {
  E_KEY_BYTES,
  E_VALUE,
  KEY_BYTES_MAX,
  N_COUNT,
  N_GARBAGE,
  N_HEAP,
  N_HIGH,
  N_HIGH_BYTES,
  N_HINT_COUNT,
  N_LAST,
  N_LEVEL,
  N_LOW,
  N_LOW_BYTES,
  N_MASK,
  N_POSITION_COUNT,
  N_POSITIONS,
  N_RUN,
  N_SLOT_BYTES,
  N_SLOTS,
  N_TREE,
  NODE_CORRUPT,
  OPERATION_DELETE,
  OPERATION_PUT,
  RE_KEY,
  RE_KEY_BYTES,
  RE_OPERATION,
  RE_VALUE_BYTES,
  TEMPLATE_BYTES,
} from '../../../src/generated/layout.ts';
import { instantiateKernels } from '../../../src/memory/wasm.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { keyBytesMax } from '../../../src/tree/node-access.ts';
import { Random, testSeed } from '../../support/seed.ts';

const PAGE = 64 * 1024;
const SIZES = [4096, 65_536] as const;
const RUNS = 150;
/** What guards hold; no kernel stores it by itself. */
const GUARD = 0xa7;

const memory = new wasm.Memory({ initial: 16, maximum: 16, shared: true });
const kernels = instantiateKernels(new wasm.Module(Buffer.from(KERNELS_WASM, 'base64')), memory);
const u8 = new Uint8Array(memory.buffer);
const view = new DataView(memory.buffer);

/** Room of each area; guards of a page before, between and behind them. */
const NODE = PAGE;
const OTHER = NODE + 2 * PAGE;
const BUILD = OTHER + 2 * PAGE;
const UPPER = BUILD + 3 * PAGE;
const PAD = UPPER + 2 * PAGE;
const OUT = PAD + 256;
const SEPARATOR = OUT + 256;
const TEMPORARY = SEPARATOR + KEY_BYTES_MAX + 256;
const KEY = TEMPORARY + 256;
const VALUE = KEY + KEY_BYTES_MAX + 256;
const RECORD = VALUE + KEY_BYTES_MAX + 256;
const ORDER = RECORD + 4096 + 256;
const SPARE = ORDER + 256;
const FOUND = SPARE + 256;

interface Area {
  readonly at: number;
  readonly bytes: number;
}

function areasOf(size: number): Area[] {
  return [
    { at: NODE, bytes: size },
    { at: OTHER, bytes: size },
    // Collecting takes two blobs there.
    { at: BUILD, bytes: 2 * size },
    { at: UPPER, bytes: size },
    { at: PAD, bytes: 128 },
    { at: OUT, bytes: 128 },
    { at: SEPARATOR, bytes: KEY_BYTES_MAX },
    { at: TEMPORARY, bytes: 128 },
    { at: KEY, bytes: KEY_BYTES_MAX },
    { at: VALUE, bytes: KEY_BYTES_MAX },
    { at: RECORD, bytes: 4096 },
    { at: ORDER, bytes: 128 },
    { at: SPARE, bytes: 128 },
    { at: FOUND, bytes: 128 },
  ];
}

/** Whether everything outside of the areas is as it was. */
function guardsHold(size: number): boolean {
  let from = 0;
  for (const { at, bytes } of areasOf(size)) {
    if (Buffer.compare(GUARDS.subarray(from, at), u8.subarray(from, at)) !== 0) return false;
    from = at + bytes;
  }
  return Buffer.compare(GUARDS.subarray(from), u8.subarray(from)) === 0;
}

const GUARDS = Buffer.alloc(u8.length, GUARD);

// --- nodes to begin with ------------------------------------------------------------------------------

type Build = (random: Random, size: number) => void;

function put(size: number, key: string, value: Uint8Array): number {
  const bytes = Buffer.from(key, 'latin1');
  u8.set(bytes, KEY);
  u8.set(value, VALUE);
  kernels.padKey(KEY, bytes.length, PAD);
  return kernels.nodePut(NODE, size, KEY, bytes.length, PAD, VALUE, value.length);
}

function pathOf(random: Random): string {
  return `bucket-0${random.int(9)}/directory-${random.int(30)}/file-${random.int(100_000)}`;
}

const BUILDS: Readonly<Record<string, Build>> = {
  leaf: (random, size) => {
    kernels.nodeInit(NODE, size, 0, 7);
    for (let n = 0; n < 60; n++) put(size, pathOf(random), Buffer.alloc(random.int(30), n));
    for (let n = 0; n < 5; n++) kernels.nodeRemove(NODE, size, random.int(20));
  },
  'leaf with bounds': (random, size) => {
    for (let n = 0; n < 2; n++) {
      kernels.nodeInit(NODE, size, 0, 7);
      for (let m = 0; m < 60; m++) put(size, pathOf(random), Buffer.alloc(12, m));
      const bytes = kernels.nodeSeparator(NODE, size, 20, SEPARATOR);
      kernels.nodeSplit(NODE, size, 20, SEPARATOR, bytes, BUILD, UPPER, TEMPORARY);
      u8.copyWithin(NODE, UPPER, UPPER + size);
    }
  },
  'inner node': (random, size) => {
    kernels.nodeInit(NODE, size, 1, 7);
    const id = Buffer.alloc(8);
    for (let n = 0; n < 40; n++) {
      id.writeUInt32LE(n + 1);
      put(size, n === 0 ? '' : pathOf(random), id);
    }
  },
  'node of long keys': (random, size) => {
    kernels.nodeInit(NODE, size, 0, 7);
    const longest = keyBytesMax(size);
    for (let n = 0; n < 6; n++)
      put(size, 'k'.repeat(longest - 2) + random.int(90), Buffer.alloc(3));
  },
  'empty node': (_, size) => {
    kernels.nodeInit(NODE, size, 0, 7);
  },
};

// --- harm -----------------------------------------------------------------------------------------------

/** A field of the header, of a slot or of an entry gets another value. */
interface Harm {
  readonly place:
    | 'byte'
    | 'header'
    | 'slot'
    | 'entry'
    | 'fill'
    | 'bounds'
    | 'keys'
    | 'order'
    | 'positions'
    | 'tree';
  /** Chooses the field, the slot, the byte. */
  readonly at: number;
  readonly value: number;
}

const HEADER = [
  [N_LEVEL, 1],
  [N_RUN, 2],
  [N_COUNT, 4],
  [N_HEAP, 4],
  [N_GARBAGE, 4],
  [N_LOW, 4],
  [N_HIGH, 4],
  [N_LOW_BYTES, 2],
  [N_HIGH_BYTES, 2],
  [N_LAST, 4],
  [N_POSITION_COUNT, 2],
  [N_POSITIONS, 2],
  [N_POSITIONS + 14, 2],
  [N_TREE, 4],
  [N_TREE + 4, 4],
] as const;

function store(at: number, bytes: number, value: number): void {
  if (bytes === 1) view.setUint8(at, value & 0xff);
  else if (bytes === 2) view.setUint16(at, value & 0xffff, true);
  else view.setUint32(at, value >>> 0, true);
}

/** Slots in any order: no search finds its way. */
function shuffleSlots(seed: number): void {
  const count = view.getUint32(NODE + N_COUNT, true) & 63;
  const slots = Array.from({ length: count }, (_, slot) => {
    const at = NODE + N_SLOTS + slot * N_SLOT_BYTES;
    return u8.slice(at, at + N_SLOT_BYTES);
  });
  // Hints keep searches near to where they belong.
  if (seed % 2 === 0) view.setUint8(NODE + N_HINT_COUNT, 0);
  for (const [slot, bytes] of new Random(seed).shuffled(slots).entries()) {
    u8.set(bytes, NODE + N_SLOTS + slot * N_SLOT_BYTES);
  }
}

/** Heads are made of other bytes of the keys, in any order: theirs is not that of the keys. */
function shufflePositions(seed: number): void {
  const random = new Random(seed);
  view.setUint16(NODE + N_POSITION_COUNT, 8, true);
  for (let index = 0; index < 8; index++) {
    view.setUint16(NODE + N_POSITIONS + index * 2, random.int(40), true);
  }
  u8.fill(0, NODE + N_MASK, NODE + N_MASK + TEMPLATE_BYTES);
}

function harm(size: number, { place, at, value }: Harm): void {
  if (place === 'order') shuffleSlots(at);
  else if (place === 'positions') shufflePositions(at);
  else if (place === 'byte') u8[NODE + (at % size)] = value & 0xff;
  else if (place === 'fill') u8.fill(value & 0xff, NODE + 4 + (at % (size - 4)), NODE + size);
  else if (place === 'tree') u8.fill(value & 0xff, NODE + N_TREE, NODE + N_TREE + 8);
  else if (place === 'bounds') {
    // Each lies in the node; together they are longer than it.
    for (const [offset, bytes] of [
      [N_LOW, N_LOW_BYTES],
      [N_HIGH, N_HIGH_BYTES],
    ] as const) {
      store(NODE + offset, 4, 1 + (at % 400));
      store(NODE + bytes, 2, size - 500 - (value % 500));
    }
  } else if (place === 'keys') {
    for (let slot = 0; slot < (view.getUint32(NODE + N_COUNT, true) & 63); slot++) {
      const entry = NODE + N_SLOTS + slot * N_SLOT_BYTES + 8;
      store(entry, 4, size - 60_000 > 0 ? 2000 + slot : 700 + slot);
      store(NODE + view.getUint32(entry, true), 2, Math.min(value % 50_000, size - 1100));
      store(NODE + view.getUint32(entry, true) + E_VALUE, 4, 0);
    }
  } else if (place === 'header') {
    const [offset, bytes] = HEADER[at % HEADER.length] as readonly [number, number];
    store(NODE + offset, bytes, value);
  } else {
    const count = Math.min(view.getUint32(NODE + N_COUNT, true), (size - N_SLOTS) / N_SLOT_BYTES);
    const slot = NODE + N_SLOTS + (at % Math.max(1, Math.floor(count))) * N_SLOT_BYTES;
    const offset = view.getUint32(slot + 8, true);
    if (place === 'slot') store(slot + (value % 3) * 4, 4, Math.floor(value / 3));
    else if (offset < size - 8) {
      if (value % 2 === 0) store(NODE + offset + E_KEY_BYTES, 2, Math.floor(value / 2));
      else store(NODE + offset + E_VALUE, 4, Math.floor(value / 2));
    }
  }
}

const numbers = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 0x7f, 0xff, 0xffff, 0x1fffe, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.constantFrom(N_SLOTS, N_SLOTS - 1, 4095, 4096, 4097, 8190, 65_535, 65_536, 131_072),
  fc.nat(70_000),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

const harms: fc.Arbitrary<Harm> = fc.record({
  place: fc.constantFrom(
    'byte',
    'header',
    'header',
    'slot',
    'entry',
    'entry',
    'fill',
    'bounds',
    'keys',
    'order',
    'positions',
    'tree',
  ),
  at: fc.nat(70_000),
  value: numbers,
});

const cases = fc.record({
  size: fc.constantFrom(...SIZES),
  build: fc.constantFrom(...Object.keys(BUILDS)),
  seed: fc.nat(),
  harms: fc.array(harms, { minLength: 1, maxLength: 4 }),
  slot: numbers,
  word: fc.nat(600),
  key: fc.oneof(fc.constantFrom('', 'bucket-', 'zzz', '\xff\xff'), fc.string({ maxLength: 80 })),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

// --- calls ----------------------------------------------------------------------------------------------

type Call = (given: { size: number; bytes: number; slot: number; word: number }) => unknown;

/** Puts and deletes of many keys at once; see src/tree/batch.ts. */
function runBatch(size: number, word: number): number {
  const random = new Random(word);
  const count = 2 + (word % 20);
  let at = RECORD;
  for (let n = 0; n < count; n++) {
    const key = Buffer.from(random.chance(0.2) ? 'same' : pathOf(random), 'latin1');
    const isDelete = random.chance(word % 2 === 0 ? 0 : 0.3);
    const value = isDelete ? 0 : random.int(60);
    view.setFloat64(at, 7, true);
    u8[at + RE_OPERATION] = isDelete ? OPERATION_DELETE : OPERATION_PUT;
    view.setUint16(at + RE_KEY_BYTES, key.length, true);
    view.setUint32(at + RE_VALUE_BYTES, value, true);
    u8.set(key, at + RE_KEY);
    at += RE_KEY + key.length + value;
  }
  kernels.runSort(RECORD, 0, count, ORDER, SPARE);
  const end = kernels.runEnd(NODE, size, RECORD, ORDER, 0, count);
  if (end < 0) return end;
  const done = kernels.runNeed(NODE, size, RECORD, ORDER, FOUND, 0, end, PAD, OUT);
  if (done !== 0) return done;
  const need = view.getUint32(OUT, true);
  return kernels.runApply(NODE, size, RECORD, ORDER, FOUND, 0, end, need, PAD);
}

/** Every entry that takes a node. */
const CALLS: Readonly<Record<string, Call>> = {
  countOf: ({ size }) => kernels.countOf(NODE, size),
  find: ({ size, bytes }) => kernels.find(NODE, size, KEY, bytes, PAD),
  leafGet: ({ size, bytes }) => kernels.leafGet(NODE, size, KEY, bytes, PAD, OUT),
  valueAt: ({ size, slot }) => kernels.valueAt(NODE, size, slot, OUT),
  keyAt: ({ size, slot }) => kernels.keyAt(NODE, size, slot, OUT),
  childSlot: ({ size, bytes }) => kernels.childSlot(NODE, size, KEY, bytes, PAD),
  childOf: ({ size, bytes }) => kernels.childOf(NODE, size, KEY, bytes, PAD),
  childBelow: ({ size, bytes }) => kernels.childBelow(NODE, size, KEY, bytes, PAD),
  childAt: ({ size, slot }) => kernels.childAt(NODE, size, slot),
  nodeCovers: ({ size, bytes }) => kernels.nodeCovers(NODE, size, KEY, bytes),
  nodeRoom: ({ size }) => kernels.nodeRoom(NODE, size),
  nodeKeyMax: ({ size }) => kernels.nodeKeyMax(NODE, size),
  nodeMiddle: ({ size }) => kernels.nodeMiddle(NODE, size),
  nodeSeparator: ({ size, slot }) => kernels.nodeSeparator(NODE, size, slot, SEPARATOR),
  nodeSeparatorOf: ({ size, slot, bytes }) =>
    kernels.nodeSeparatorOf(NODE, size, slot, KEY, bytes, SEPARATOR),
  nodePut: ({ size, bytes, word }) => kernels.nodePut(NODE, size, KEY, bytes, PAD, VALUE, word),
  nodeRemove: ({ size, slot }) => kernels.nodeRemove(NODE, size, slot),
  nodeRemoveRange: ({ size, slot, word }) => kernels.nodeRemoveRange(NODE, size, slot, slot + word),
  nodeCompact: ({ size }) => kernels.nodeCompact(NODE, size, BUILD, TEMPORARY),
  nodeSplit: ({ size, slot, bytes }) =>
    kernels.nodeSplit(NODE, size, slot, KEY, bytes, BUILD, UPPER, TEMPORARY),
  'nodeSplit in the middle': ({ size }) => {
    const slot = kernels.nodeMiddle(NODE, size);
    const bytes = slot < 0 ? slot : kernels.nodeSeparator(NODE, size, slot, SEPARATOR);
    if (bytes < 0) return bytes;
    return kernels.nodeSplit(NODE, size, slot, SEPARATOR, bytes, BUILD, UPPER, TEMPORARY);
  },
  nodeMerge: ({ size }) => kernels.nodeMerge(NODE, size, OTHER, BUILD, TEMPORARY),
  'nodeMerge the other way': ({ size }) => kernels.nodeMerge(OTHER, size, NODE, BUILD, TEMPORARY),
  nodeCollect: ({ size, slot, word }) =>
    kernels.nodeCollect(NODE, size, slot, slot + word, 1, 3, BUILD, 2 * size, OUT),
  'a batch': ({ size, word }) => runBatch(size, word),
  'nodeCollect downwards': ({ size, slot }) =>
    kernels.nodeCollect(NODE, size, slot, -1, -1, 3, BUILD, 2 * size, OUT),
};

/** The node of the case in place, its guards fresh, the search key set: the key's length. */
function prepare({ size, build, seed, harms: list, key }: Case): number {
  u8.fill(GUARD);
  (BUILDS[build] as Build)(new Random(seed), size);
  u8.copyWithin(OTHER, NODE, NODE + size);
  for (const one of list) harm(size, one);
  const bytes = Buffer.from(key, 'latin1');
  u8.set(bytes, KEY);
  kernels.padKey(KEY, bytes.length, PAD);
  return bytes.length;
}

function call(name: string, given: Case, bytes: number): unknown {
  const { size, slot, word } = given;
  const result = (CALLS[name] as Call)({ size, bytes, slot, word });
  expect(guardsHold(size), `${name} has written elsewhere`).toBe(true);
  return result;
}

describe('whatever the bytes of a node are', () => {
  const options = { seed: testSeed(), numRuns: RUNS };

  it.each(Object.keys(CALLS))('%s does not trap, and writes nowhere else', (name) => {
    fc.assert(
      fc.property(cases, (given) => {
        const bytes = prepare(given);
        expect(guardsHold(given.size)).toBe(true);
        call(name, given, bytes);
      }),
      options,
    );
  });

  it('calls that follow each other do not either', () => {
    const names = fc.array(fc.constantFrom(...Object.keys(CALLS)), { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(cases, names, (given, list) => {
        const bytes = prepare(given);
        for (const name of list) call(name, given, bytes);
      }),
      options,
    );
  });

  it('and what cannot be is told', () => {
    let told = 0;
    fc.assert(
      fc.property(cases, (given) => {
        const bytes = prepare(given);
        if (call('nodeCompact', given, bytes) === NODE_CORRUPT) told++;
      }),
      options,
    );
    expect(told).toBeGreaterThan(RUNS / 10);
  });
});
