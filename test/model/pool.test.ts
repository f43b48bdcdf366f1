/**
 * The pool of one thread against a map: random histories, checked after each step, shrunk when they
 * fail. What the policy keeps is not predicted, only what it must keep and what it may not.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Pin } from '../../src/pool/guards.ts';
import { BufferPool } from '../../src/pool/pool.ts';
import { RESTART } from '../../src/pool/read.ts';
import type { BackendContext } from '../../src/store/contract.ts';
import {
  createMemoryStore,
  MemoryBackend,
  type MemoryStoreData,
} from '../../src/store/memory-backend.ts';
import { testSeed } from '../support/seed.ts';

const BLOB_BYTES = 4096;
const BLOBS_MAX = 12;
const RUNS = 250;
const SWEEP_MS = 1000;

/** `at` chooses a blob, `value` what is written. */
interface Step {
  readonly kind: Kind;
  readonly at: number;
  readonly value: number;
}

const KINDS = [
  'allocate',
  'writeBlob',
  'writeUnknown',
  'deleteBlob',
  'pin',
  'pinSilent',
  'unpin',
  'read',
  'readInto',
  'write',
  'upgrade',
  'optimistic',
  'tryOptimistic',
  'evict',
  'copyCached',
  'prefetch',
  'tick',
  'reopen',
] as const;
type Kind = (typeof KINDS)[number];

interface Pinned {
  readonly id: number;
  readonly pin: Pin;
  /** The deletion that took its blob: 0 while it is there. A blob may be written and deleted again. */
  gone: number;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    const { code, name } = error as { readonly code?: string; readonly name: string };
    return code ?? name;
  }
  return 'OK';
}

/** A pool and what it must look like. */
class Subject {
  readonly #frames: number;
  readonly #data: MemoryStoreData;
  #pool: BufferPool;
  readonly #ids: number[] = [];
  readonly #store = new Map<number, number>();
  readonly #dirty = new Map<number, number>();
  #pins: Pinned[] = [];
  #deletions = 0;
  readonly #bytes = new Uint8Array(BLOB_BYTES);

  private constructor(frames: number, data: MemoryStoreData, pool: BufferPool) {
    this.#frames = frames;
    this.#data = data;
    this.#pool = pool;
  }

  static async make(frames: number): Promise<Subject> {
    const data = createMemoryStore(BLOB_BYTES, { capacityBytes: 64 * BLOB_BYTES });
    return new Subject(frames, data, await Subject.#open(frames, data));
  }

  static #open(frames: number, data: MemoryStoreData): Promise<BufferPool> {
    return BufferPool.open('unused', {
      frames,
      blobBytes: BLOB_BYTES,
      blobsMax: 64,
      frameWaitMs: 0,
      threads: 'inline',
      sweep: { intervalMs: SWEEP_MS, idleTicks: 1, framesFree: 2 },
      store: (context: BackendContext) => new MemoryBackend(context, data),
    });
  }

  // --- what must be --------------------------------------------------------------------------

  #value(id: number): number | undefined {
    return this.#dirty.get(id) ?? this.#store.get(id);
  }

  /** A name for each frame that is pinned: its blob, or the deletion that its blob went with. */
  #pinnedFrames(): Set<number> {
    return new Set(this.#pins.map(({ id, gone }) => (gone === 0 ? id : -gone)));
  }

  /** Frames that nobody may take: pinned (also by pins of deleted blobs) or dirty. */
  #kept(): number {
    return new Set([...this.#pinnedFrames(), ...this.#dirty.keys()]).size;
  }

  #isCached(id: number): boolean {
    const cached = this.#pool.copyCached(id, this.#bytes);
    if (cached) this.#expectBytes(this.#bytes, this.#value(id));
    return cached;
  }

  #expectBytes(bytes: Uint8Array, value: number | undefined): void {
    expect([bytes[0], bytes[BLOB_BYTES - 1]]).toEqual([value, value]);
    expect(bytes.every((byte) => byte === value)).toBe(true);
  }

  /** How a look-up of the blob has to end. */
  #outcome(id: number): string {
    if (this.#value(id) === undefined) return 'BLOB_NOT_FOUND';
    return this.#isCached(id) || this.#kept() < this.#frames ? 'OK' : 'POOL_EXHAUSTED';
  }

  check(): void {
    const { pinned, dirty, latched, loading, cached, free, frames } = this.#pool.stats();
    const held = this.#pinnedFrames();
    expect({ pinned, dirty, latched, loading }).toEqual({
      pinned: held.size,
      dirty: this.#dirty.size,
      latched: 0,
      loading: 0,
    });
    expect(cached + free).toBeLessThanOrEqual(frames);
    expect(this.#ids.filter((id) => this.#isCached(id)).length).toBe(cached);
    expect(this.#pool.list()).toEqual([...this.#store.keys()].sort((a, b) => a - b));
    for (const id of this.#ids) {
      expect(this.#pool.has(id)).toBe(this.#store.has(id));
      if (held.has(id) || this.#dirty.has(id)) expect(this.#isCached(id)).toBe(true);
    }
    for (const { id, pin, gone } of this.#pins) {
      if (gone > 0) expect(codeOf(() => pin.read())).toBe('BLOB_GONE');
      else this.#expectBytes(pin.optimistic().bytes, this.#value(id));
    }
  }

  // --- what is done --------------------------------------------------------------------------

  async run({ kind, at, value }: Step): Promise<void> {
    if (kind === 'allocate' || this.#ids.length === 0) return this.#allocate();
    const id = this.#ids[at % this.#ids.length] as number;
    switch (kind as string) {
      case 'reopen':
        return this.reopen();
      case 'prefetch':
        return this.#pool.prefetch([id, id, 10_000]);
      case 'unpin':
        return this.#unpin(at);
      case 'tick':
        return this.#tick();
      case 'writeUnknown':
        expect(codeOf(() => this.#pool.writeBlob(10_000, this.#bytes))).toBe('RangeError');
        return;
      case 'writeBlob':
        return this.#writeBlob(id, value);
      case 'deleteBlob':
        return this.#deleteBlob(id);
      case 'evict':
        return this.#evict(id);
      case 'copyCached':
        this.#isCached(id);
        return;
      case 'tryOptimistic':
        return this.#tryOptimistic(id);
      default:
        this.#look(kind, id, value);
    }
  }

  #allocate(): void {
    if (this.#ids.length >= BLOBS_MAX) return;
    const id = this.#pool.allocate();
    expect(id).toBeGreaterThan(this.#ids.at(-1) ?? 0);
    this.#ids.push(id);
  }

  #writeBlob(id: number, value: number): void {
    const { cached } = this.#pool.stats();
    this.#pool.writeBlob(id, new Uint8Array(BLOB_BYTES).fill(value));
    this.#store.set(id, value);
    this.#dirty.delete(id);
    expect(this.#pool.stats().cached).toBe(cached);
  }

  #deleteBlob(id: number): void {
    expect(this.#pool.deleteBlob(id)).toBe(this.#store.delete(id));
    this.#dirty.delete(id);
    this.#deletions++;
    for (const each of this.#pins)
      if (each.id === id && each.gone === 0) each.gone = this.#deletions;
  }

  #unpin(at: number): void {
    if (this.#pins.length === 0) return;
    const [pinned] = this.#pins.splice(at % this.#pins.length, 1);
    pinned?.pin.release();
    pinned?.pin.release();
  }

  #evict(id: number): void {
    const held =
      this.#dirty.has(id) || this.#pins.some((each) => each.id === id && each.gone === 0);
    const expected = this.#isCached(id) && !held;
    expect(this.#pool.evict(id)).toBe(expected);
    if (expected) expect(this.#isCached(id)).toBe(false);
  }

  #tryOptimistic(id: number): void {
    const cached = this.#isCached(id);
    const seen = this.#pool.tryOptimistic(id, ({ bytes }) => bytes[7]);
    expect(seen).toBe(cached ? this.#value(id) : RESTART);
  }

  #tick(): void {
    const before = this.#pool.stats().free;
    vi.advanceTimersByTime(SWEEP_MS);
    const { free } = this.#pool.stats();
    expect(free).toBeGreaterThanOrEqual(before);
    expect(free).toBeLessThanOrEqual(Math.max(before, 2));
  }

  /** The ways in that may have to load the blob. */
  #look(kind: Kind, id: number, value: number): void {
    const expected = this.#outcome(id);
    const { hits, misses, loads } = this.#pool.stats();
    expect(codeOf(() => this.#enter(kind, id, value))).toBe(expected);
    if (expected !== 'OK') return;
    const after = this.#pool.stats();
    expect(after.loads - loads).toBeLessThanOrEqual(1);
    const counted = kind === 'pinSilent' ? 0 : 1;
    expect(after.hits - hits + (after.misses - misses)).toBe(counted);
    expect(this.#isCached(id)).toBe(true);
  }

  #enter(kind: Kind, id: number, value: number): void {
    const pool = this.#pool;
    switch (kind as string) {
      case 'pin':
        this.#pins.push({ id, pin: pool.pin(id), gone: 0 });
        break;
      case 'pinSilent':
        this.#pins.push({ id, pin: pool.pinSilent(id), gone: 0 });
        break;
      case 'read': {
        using guard = pool.read(id);
        this.#expectBytes(guard.bytes, this.#value(id));
        break;
      }
      case 'readInto':
        pool.readInto(id, this.#bytes);
        this.#expectBytes(this.#bytes, this.#value(id));
        break;
      case 'optimistic':
        expect(pool.optimistic(id, ({ bytes }) => bytes[3])).toBe(this.#value(id));
        break;
      case 'write': {
        using guard = pool.write(id);
        guard.bytes.fill(value);
        this.#dirty.set(id, value);
        break;
      }
      default: {
        using pin = pool.pin(id);
        const look = pin.optimistic();
        using guard = look.upgrade();
        expect([guard === undefined, look.validate()]).toEqual([false, false]);
        guard?.bytes.fill(value);
        this.#dirty.set(id, value);
      }
    }
  }

  async reopen(): Promise<void> {
    await this.close();
    for (const [id, value] of this.#dirty) this.#store.set(id, value);
    this.#dirty.clear();
    for (const { pin } of this.#pins) {
      expect(codeOf(() => pin.read())).toBe('POOL_CLOSED');
      pin.release();
    }
    this.#pins = [];
    this.#pool = await Subject.#open(this.#frames, this.#data);
    expect(this.#pool.verify()).toEqual([]);
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterAll(() => {
  vi.useRealTimers();
});

const STEPS = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom(...KINDS),
    at: fc.nat(BLOBS_MAX - 1),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 10, maxLength: 70 },
);

it('I1 a blob that is deleted, written and deleted again leaves each pin its own frame', async () => {
  const subject = await Subject.make(4);
  try {
    const kinds = ['allocate', 'writeBlob', 'pin', 'deleteBlob', 'writeBlob', 'pin', 'deleteBlob'];
    for (const kind of [...kinds, 'unpin', 'unpin'] as Kind[]) {
      await subject.run({ kind, at: 0, value: 1 });
      subject.check();
    }
  } finally {
    await subject.close();
  }
});

it('I1 I4 G1 a pool of four to six frames behaves like a map, whatever is done to it', async () => {
  const frames = fc.integer({ min: 4, max: 6 });
  const property = fc.asyncProperty(frames, STEPS, async (count, steps) => {
    const subject = await Subject.make(count);
    try {
      // Something to work with; the steps are then about as likely to hit as to miss.
      for (let at = 0; at < BLOBS_MAX / 2; at++) {
        await subject.run({ kind: 'allocate', at, value: 0 });
        await subject.run({ kind: 'writeBlob', at, value: at + 1 });
      }
      for (const step of steps) {
        await subject.run(step);
        subject.check();
      }
      await subject.reopen();
      subject.check();
    } finally {
      await subject.close();
    }
  });
  await fc.assert(property, { seed: testSeed() | 0, numRuns: RUNS });
});
