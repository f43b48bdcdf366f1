/**
 * Nodes of trees, by their kernels alone: every entry where it belongs, whatever the keys have in
 * common, over inserts, replacements, removals, rebuilds and splits; and crafted bytes.
 */
import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { KERNELS_WASM } from '../../../src/generated/assets.ts';
import { NODE_CORRUPT, NODE_FULL } from '../../../src/generated/layout.ts';
import { instantiateKernels } from '../../../src/memory/wasm.ts';
import { wasm } from '../../../src/memory/webassembly.ts';
import { Random, testSeed } from '../../support/seed.ts';

const MIB = 1024 * 1024;
const NODE = 0;
const BUILD = MIB;
const UPPER = 2 * MIB;
const KEY = 3 * MIB;
const VALUE = KEY + 8192;
const PAD = VALUE + 65_536;
const OUT = PAD + 256;
const SEPARATOR = OUT + 256;
const TEMPORARY = SEPARATOR + 8192;
const TREE = 7;

const memory = new wasm.Memory({ initial: 64, maximum: 64, shared: true });
const kernels = instantiateKernels(new wasm.Module(Buffer.from(KERNELS_WASM, 'base64')), memory);
const u8 = new Uint8Array(memory.buffer);
const u32 = new Uint32Array(memory.buffer);

function text(from: number, bytes: number): string {
  return Buffer.from(u8.slice(from, from + bytes)).toString('latin1');
}

/** A node beside a map: what every call must leave. Keys are latin1, a character for each byte. */
class Checked {
  readonly model = new Map<string, string>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
    kernels.nodeInit(NODE, size, 0, TREE);
  }

  #key(key: string): number {
    u8.set(Buffer.from(key, 'latin1'), KEY);
    kernels.padKey(KEY, key.length, PAD);
    return key.length;
  }

  /** False when the node is full. */
  put(key: string, value: string): boolean {
    u8.set(Buffer.from(value, 'latin1'), VALUE);
    let placed = kernels.nodePut(NODE, this.#size, KEY, this.#key(key), PAD, VALUE, value.length);
    if (placed === NODE_FULL) {
      expect(kernels.nodeCompact(NODE, this.#size, BUILD, TEMPORARY)).toBe(0);
      placed = kernels.nodePut(NODE, this.#size, KEY, key.length, PAD, VALUE, value.length);
    }
    if (placed === NODE_FULL) {
      expect(kernels.nodeRoom(NODE, this.#size)).toBeLessThan(key.length + value.length + 18);
      return false;
    }
    expect(placed).toBeGreaterThan(0);
    this.model.set(key, value);
    return true;
  }

  remove(key: string): void {
    const found = kernels.find(NODE, this.#size, KEY, this.#key(key), PAD);
    expect((found & 1) === 1).toBe(this.model.has(key));
    if ((found & 1) === 0) return;
    expect(kernels.nodeRemove(NODE, this.#size, found >> 1)).toBe(0);
    this.model.delete(key);
  }

  get(key: string): string | undefined {
    const found = kernels.leafGet(NODE, this.#size, KEY, this.#key(key), PAD, OUT);
    expect(found).toBeGreaterThanOrEqual(0);
    if (found === 0) return undefined;
    return text(NODE + (u32[OUT / 4] as number), u32[OUT / 4 + 1] as number);
  }

  keysOf(node: number): string[] {
    return Array.from({ length: kernels.countOf(node, this.#size) }, (_, slot) => {
      expect(kernels.keyAt(node, this.#size, slot, OUT)).toBe(1);
      return text(node + (u32[OUT / 4] as number), u32[OUT / 4 + 1] as number);
    });
  }

  get sorted(): string[] {
    // Latin1 characters are in the order of their bytes.
    return [...this.model.keys()].sort((a, b) => (a < b ? -1 : 1));
  }

  split(): { readonly separator: string; readonly lower: string[]; readonly upper: string[] } {
    const slot = kernels.nodeMiddle(NODE, this.#size);
    const bytes = kernels.nodeSeparator(NODE, this.#size, slot, SEPARATOR);
    const size = this.#size;
    const done = kernels.nodeSplit(NODE, size, slot, SEPARATOR, bytes, BUILD, UPPER, TEMPORARY);
    expect(done).toBe(0);
    const separator = text(SEPARATOR, bytes);
    return { separator, lower: this.keysOf(NODE), upper: this.keysOf(UPPER) };
  }

  merge(): void {
    expect(kernels.nodeMerge(NODE, this.#size, UPPER, BUILD, TEMPORARY)).toBe(0);
  }
}

/** Kinds of keys that nodes meet, each drawn at random. */
const KINDS: Readonly<Record<string, (random: Random) => string>> = {
  paths: (random) => {
    const digits = (n: number, width: number): string => String(random.int(n)).padStart(width, '0');
    return `bucket-${digits(40, 3)}/dir-0${random.int(9)}/file-${digits(2000, 6)}.jpg`;
  },
  'short ones of few bytes': (random) =>
    Array.from({ length: random.int(5) }, () => random.pick(['\0', '\xff', 'a', '\x01'])).join(''),
  'long equal beginnings': (random) => `${'x'.repeat(random.int(300))}${random.int(10)}`,
  'a difference far behind': (random) => `${'p'.repeat(200)}${random.int(500)}`,
  'endings of zeros': (random) => `k${'\0'.repeat(random.int(140))}${random.pick(['', 'z'])}`,
};

describe.each(Object.entries(KINDS))('a node with keys: %s', (_name, draw) => {
  it.each([4096, 65_536])('I5 finds what was put, in order, in %i bytes', (size) => {
    const random = Random.fork(testSeed(), size);
    const node = new Checked(size);
    for (let step = 0; step < 1500; step++) {
      const key = draw(random);
      if (random.chance(0.7)) node.put(key, 'v'.repeat(random.int(40)) + step);
      else node.remove(key);
      const other = draw(random);
      expect(node.get(other)).toBe(node.model.get(other));
    }
    expect(node.keysOf(NODE)).toEqual(node.sorted);
    for (const key of node.sorted) expect(node.get(key)).toBe(node.model.get(key));
  });

  it('splits by a separator, and is whole again when merged', () => {
    const random = Random.fork(testSeed(), 1);
    const node = new Checked(4096);
    for (let step = 0; step < 200; step++) node.put(draw(random), String(step));
    const before = node.sorted;
    const { separator, lower, upper } = node.split();
    expect([...lower, ...upper]).toEqual(before);
    expect(lower.every((key) => key < separator)).toBe(true);
    expect(upper.every((key) => key >= separator)).toBe(true);
    node.merge();
    expect(node.keysOf(NODE)).toEqual(before);
    for (const key of before) expect(node.get(key)).toBe(node.model.get(key));
  });
});

describe('crafted nodes', () => {
  it('are told, and no call traps, hangs or writes beyond the node', () => {
    const random = Random.fork(testSeed(), 2);
    const size = 4096;
    const draw = KINDS['paths'] as (random: Random) => string;
    let told = 0;
    for (let round = 0; round < 600; round++) {
      const node = new Checked(size);
      for (let step = 0; step < 30; step++) node.put(draw(random), 'value');
      for (let n = 0; n < 1 + random.int(4); n++) {
        const at = random.chance(0.7) ? random.int(340 + 30 * 12) : random.int(size);
        u8[NODE + at] = random.int(256);
      }
      u8.fill(0xaa, size, size + 64);
      const key = Buffer.from(draw(random), 'latin1');
      u8.set(key, KEY);
      kernels.padKey(KEY, key.length, PAD);
      const results = [
        kernels.find(NODE, size, KEY, key.length, PAD),
        kernels.leafGet(NODE, size, KEY, key.length, PAD, OUT),
        kernels.nodePut(NODE, size, KEY, key.length, PAD, VALUE, 5),
        kernels.nodeCompact(NODE, size, BUILD, TEMPORARY),
        kernels.nodeMiddle(NODE, size),
        kernels.nodeRemove(NODE, size, random.int(40)),
        kernels.nodeCovers(NODE, size, KEY, key.length),
        kernels.nodeCollect(NODE, size, 0, 40, 1, 3, BUILD, size, OUT),
      ];
      if (results.includes(NODE_CORRUPT)) told++;
      expect(u8.subarray(size, size + 64).every((byte) => byte === 0xaa)).toBe(true);
    }
    expect(told).toBeGreaterThan(50);
  });
});
