/** What every BlobStore must do, whatever is below it. */
import { describe, expect, it } from 'vitest';
import type { BlobStore } from '../../src/store/contract.ts';
import { Random, testSeed } from '../support/seed.ts';

export const STORE_BLOB_BYTES = 4096;

export interface StoreSubject {
  /** Opens the same store; only one at a time is open. */
  open(): Promise<BlobStore>;
  /** Whether what was written is there after closing and opening again. */
  readonly durable: boolean;
}

function filled(value: number): Uint8Array {
  return new Uint8Array(STORE_BLOB_BYTES).fill(value);
}

function read(store: BlobStore, id: number): Uint8Array {
  const bytes = new Uint8Array(STORE_BLOB_BYTES);
  store.readInto(id, bytes);
  return bytes;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    const { code, name } = error as { readonly code?: string; readonly name: string };
    return code ?? name;
  }
  return undefined;
}

async function using_<T>(subject: StoreSubject, body: (store: BlobStore) => T): Promise<T> {
  const store = await subject.open();
  try {
    return body(store);
  } finally {
    await store.close();
  }
}

export function describeBlobStore(name: string, make: () => StoreSubject): void {
  describe(`a ${name}`, () => {
    it('begins empty, with the size that it was given', async () => {
      await using_(make(), (store) => {
        expect([store.blobBytes, store.list(), store.has(1)]).toEqual([
          STORE_BLOB_BYTES,
          [],
          false,
        ]);
      });
    });

    it('hands out ids that go up, and an id alone is no blob', async () => {
      await using_(make(), (store) => {
        const ids = Array.from({ length: 5 }, () => store.allocate());
        expect(ids.every((id, n) => id > (ids[n - 1] ?? 0))).toBe(true);
        expect([store.list(), store.has(ids[0] as number)]).toEqual([[], false]);
      });
    });

    it('reads back what was written, whole, and each write replaces all of it', async () => {
      await using_(make(), (store) => {
        const random = new Random(testSeed());
        const id = store.allocate();
        for (let n = 0; n < 5; n++) {
          const bytes = random.fill(filled(0));
          store.writeBlob(id, bytes);
          expect(same(read(store, id), bytes)).toBe(true);
        }
        expect([store.list(), store.has(id)]).toEqual([[id], true]);
      });
    });

    it('takes and fills shared memory and parts of larger arrays', async () => {
      await using_(make(), (store) => {
        const id = store.allocate();
        const large = new Uint8Array(new SharedArrayBuffer(3 * STORE_BLOB_BYTES));
        const part = large.subarray(STORE_BLOB_BYTES, 2 * STORE_BLOB_BYTES).fill(9);
        store.writeBlob(id, part);
        const target = large.subarray(2 * STORE_BLOB_BYTES);
        store.readInto(id, target);
        expect(same(target.slice(), filled(9))).toBe(true);
        expect(large[0]).toBe(0);
      });
    });

    it('keeps no hold of the bytes that it was given', async () => {
      await using_(make(), (store) => {
        const id = store.allocate();
        const bytes = filled(4);
        store.writeBlob(id, bytes);
        bytes.fill(5);
        expect(read(store, id)[0]).toBe(4);
      });
    });

    it('lists in ascending order, whatever the order of writing', async () => {
      await using_(make(), (store) => {
        const ids = Array.from({ length: 40 }, () => store.allocate());
        for (const id of new Random(testSeed()).shuffled(ids)) store.writeBlob(id, filled(id));
        expect(store.list()).toEqual(ids);
        for (const id of ids) expect(read(store, id)[1]).toBe(id & 255);
      });
    });

    it('deletes once; what is deleted is not found', async () => {
      await using_(make(), (store) => {
        const [id, other] = [store.allocate(), store.allocate()];
        store.writeBlob(id, filled(1));
        store.writeBlob(other, filled(2));
        expect([store.deleteBlob(id), store.deleteBlob(id), store.deleteBlob(999)]).toEqual([
          true,
          false,
          false,
        ]);
        expect([store.has(id), store.list()]).toEqual([false, [other]]);
        expect(codeOf(() => read(store, id))).toBe('BLOB_NOT_FOUND');
        expect(store.allocate()).toBeGreaterThan(other);
      });
    });

    it('refuses bad ids and sizes before anything changes', async () => {
      await using_(make(), (store) => {
        const id = store.allocate();
        store.writeBlob(id, filled(7));
        for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
          expect(codeOf(() => store.has(bad))).toBe('RangeError');
          expect(codeOf(() => read(store, bad))).toBe('RangeError');
          expect(codeOf(() => store.writeBlob(bad, filled(1)))).toBe('RangeError');
          expect(codeOf(() => store.deleteBlob(bad))).toBe('RangeError');
        }
        for (const bad of ['1', undefined, null, {}] as never[]) {
          expect(codeOf(() => store.has(bad))).toBe('TypeError');
          expect(codeOf(() => read(store, bad))).toBe('TypeError');
          expect(codeOf(() => store.writeBlob(bad, filled(1)))).toBe('TypeError');
          expect(codeOf(() => store.deleteBlob(bad))).toBe('TypeError');
        }
        for (const size of [0, 1, STORE_BLOB_BYTES - 1, STORE_BLOB_BYTES + 1]) {
          expect(codeOf(() => store.writeBlob(id, new Uint8Array(size)))).toBe('RangeError');
          expect(codeOf(() => store.readInto(id, new Uint8Array(size)))).toBe('RangeError');
        }
        expect(codeOf(() => store.writeBlob(id + 1, filled(1)))).toBe('RangeError');
        expect(codeOf(() => store.writeBlob(id, new Array(STORE_BLOB_BYTES) as never))).toBe(
          'TypeError',
        );
        expect([store.list(), same(read(store, id), filled(7))]).toEqual([[id], true]);
      });
    });

    it('agrees with a map over random writes, deletes, reads and reopenings', async () => {
      const subject = make();
      const random = new Random(testSeed());
      const model = new Map<number, Uint8Array>();
      const known: number[] = [];
      let store = await subject.open();
      for (let step = 0; step < 120; step++) {
        const id = known.length === 0 || random.chance(0.3) ? store.allocate() : random.pick(known);
        if (!known.includes(id)) {
          expect(id).toBeGreaterThan(known.at(-1) ?? 0);
          known.push(id);
        }
        if (random.chance(0.25)) {
          expect(store.deleteBlob(id)).toBe(model.delete(id));
        } else {
          const bytes = random.fill(filled(0));
          store.writeBlob(id, bytes);
          model.set(id, bytes);
        }
        if (subject.durable && random.chance(0.05)) {
          await store.close();
          store = await subject.open();
        }
        const some = random.pick(known);
        const expected = model.get(some);
        expect(store.has(some)).toBe(expected !== undefined);
        if (expected !== undefined) expect(same(read(store, some), expected)).toBe(true);
        else expect(codeOf(() => read(store, some))).toBe('BLOB_NOT_FOUND');
      }
      expect(store.list()).toEqual([...model.keys()].sort((a, b) => a - b));
      await store.close();
    });

    it('closes twice without harm, and refuses everything afterwards', async () => {
      const store = await make().open();
      const id = store.allocate();
      store.writeBlob(id, filled(1));
      await store.close();
      await store.close();
      const uses = [
        () => store.has(id),
        () => store.list(),
        () => store.allocate(),
        () => read(store, id),
        () => store.writeBlob(id, filled(2)),
        () => store.deleteBlob(id),
      ];
      for (const use of uses) expect(codeOf(use)).toBe('POOL_CLOSED');
    });

    it('is there after closing and opening again, and goes on with new ids', async () => {
      const subject = make();
      const ids = await using_(subject, (store) => {
        const made = [store.allocate(), store.allocate(), store.allocate()];
        for (const id of made) store.writeBlob(id, filled(id + 10));
        store.deleteBlob(made[1] as number);
        return made;
      });
      await using_(subject, (store) => {
        expect(store.list()).toEqual(subject.durable ? [ids[0], ids[2]] : []);
        for (const id of store.list()) expect(same(read(store, id), filled(id + 10))).toBe(true);
        if (subject.durable) expect(store.allocate()).toBeGreaterThan(ids[2] as number);
      });
    });
  });
}
