/** What every store backend must do, whatever it keeps its bytes in. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { attachBackend } from '../../src/store/attach-backend.ts';
import type {
  BackendContext,
  StoreBackend,
  StoreChange,
  StoreImage,
} from '../../src/store/contract.ts';
import { recordOf, StoreState } from '../../src/store/store-state.ts';
import { testSeed } from '../support/seed.ts';
import { bundled } from '../unit/store/bundle.ts';
import {
  BLOB_BYTES,
  comparable,
  errorFrom,
  newContext,
  randomFrom,
  rejectionOf,
} from '../unit/store/support.ts';

/** A store that can be opened again and again. */
export interface Subject {
  /** A backend that is not open yet. */
  backend(context: BackendContext): StoreBackend | Promise<StoreBackend>;
}

export function change(parts: Partial<StoreChange> = {}): StoreChange {
  return { mapped: [], deleted: [], nextBlobId: 1, ...parts };
}

export function blobOf(value: number, blobBytes = BLOB_BYTES): Uint8Array {
  return new Uint8Array(blobBytes).fill(value);
}

async function opened(subject: Subject, context = newContext()) {
  const backend = await subject.backend(context);
  const image = await backend.open();
  return { backend, image, context };
}

function read(backend: StoreBackend, slot: number): Uint8Array {
  const target = new Uint8Array(BLOB_BYTES);
  backend.readSlot(slot, target);
  return target;
}

const BAD_CHANGES: readonly (readonly [string, StoreChange])[] = [
  ['an id of 0', change({ mapped: [{ id: 0, slot: 0, checksum: 0n }] })],
  ['an id that is no number', change({ mapped: [{ id: Number.NaN, slot: 0, checksum: 0n }] })],
  ['an id above 2^53', change({ mapped: [{ id: 2 ** 53, slot: 0, checksum: 0n }] })],
  ['a negative slot', change({ mapped: [{ id: 1, slot: -1, checksum: 0n }] })],
  ['half a slot', change({ mapped: [{ id: 1, slot: 0.5, checksum: 0n }] })],
  ['a checksum of 65 bits', change({ mapped: [{ id: 1, slot: 0, checksum: 2n ** 64n }] })],
  ['a negative checksum', change({ mapped: [{ id: 1, slot: 0, checksum: -1n }] })],
  ['a deleted id of 0', change({ deleted: [0] })],
  ['a next id of 0', change({ nextBlobId: 0 })],
  ['a negative checkpoint seq', change({ checkpointSeq: -1 })],
  ['a root that is no id', change({ roots: new Map([[1, -1]]) })],
  [
    'one slot for two blobs',
    change({
      mapped: [
        { id: 1, slot: 0, checksum: 0n },
        { id: 2, slot: 0, checksum: 0n },
      ],
    }),
  ],
  [
    'a blob both mapped and deleted',
    change({ mapped: [{ id: 1, slot: 0, checksum: 0n }], deleted: [1] }),
  ],
];

export function describeBackend(name: string, make: () => Subject): void {
  describe(`a ${name} backend`, () => {
    it('begins empty, with the first epoch and the first id', async () => {
      const { backend, image } = await opened(make());
      expect(image).toEqual({
        storeId: expect.any(BigInt),
        blobs: [],
        roots: new Map(),
        nextBlobId: 1,
        commitNumber: 0,
        epoch: 1,
        checkpointSeq: 0,
      });
      await backend.close();
    });

    it('has an id of 64 bits of its own, the same at each opening', async () => {
      const subject = make();
      const ids: bigint[] = [];
      for (let round = 0; round < 3; round++) {
        const { backend, image } = await opened(subject);
        ids.push(image.storeId);
        await backend.close();
      }
      const [id = -1n] = ids;
      expect(ids).toEqual([id, id, id]);
      expect(BigInt.asUintN(64, id)).toBe(id);
      const { backend, image } = await opened(make());
      expect(image.storeId).not.toBe(id);
      await backend.close();
    });

    it('reads back what was written, from and into shared memory', async () => {
      const { backend } = await opened(make());
      const source = new Uint8Array(new SharedArrayBuffer(BLOB_BYTES)).fill(7);
      const target = new Uint8Array(new SharedArrayBuffer(BLOB_BYTES));
      backend.writeSlot(3, source);
      backend.readSlot(3, target);
      expect(Buffer.from(target).equals(Buffer.from(source))).toBe(true);
      await backend.close();
    });

    it('writes a batch larger than what is in flight, and reports every slot', async () => {
      const { backend } = await opened(make());
      const writes = Array.from({ length: 40 }, (_, slot) => ({ slot, source: blobOf(slot) }));
      const results = await backend.writeSlots(writes);
      expect(results).toEqual(writes.map(({ slot }) => ({ slot, error: undefined })));
      for (const { slot } of writes) expect(read(backend, slot)[BLOB_BYTES - 1]).toBe(slot);
      expect(await backend.writeSlots([])).toEqual([]);
      await backend.close();
    });

    it('gives the committed state after reopening, under the next epoch', async () => {
      const subject = make();
      const first = await opened(subject);
      first.backend.writeSlot(5, blobOf(9));
      first.backend.sync();
      const blob = { id: 1, slot: 5, checksum: 0xffff_ffff_ffff_fffen };
      first.backend.commit(
        change({ mapped: [blob], nextBlobId: 9, checkpointSeq: 77, roots: new Map([[2, 1]]) }),
      );
      await first.backend.close();
      const second = await opened(subject);
      expect(second.image).toEqual({
        storeId: first.image.storeId,
        blobs: [blob],
        roots: new Map([[2, 1]]),
        nextBlobId: 9,
        commitNumber: 1,
        epoch: 2,
        checkpointSeq: 77,
      });
      expect(read(second.backend, 5)[0]).toBe(9);
      await second.backend.close();
    });

    it('I6 forgets what was written and not committed', async () => {
      const subject = make();
      const first = await opened(subject);
      first.backend.writeSlot(0, blobOf(1));
      first.backend.sync();
      await first.backend.close();
      const second = await opened(subject);
      expect(second.image.blobs).toEqual([]);
      await second.backend.close();
    });

    it('keeps roots and checkpoint seq that a change leaves out, and never lets numbers go back', async () => {
      const subject = make();
      const first = await opened(subject);
      const roots = new Map([
        [1, 10],
        [2, 20],
      ]);
      first.backend.commit(change({ nextBlobId: 50, checkpointSeq: 5, roots }));
      first.backend.commit(change({ nextBlobId: 4, checkpointSeq: 4 }));
      first.backend.commit(change({ nextBlobId: 4, roots: new Map([[1, 0]]) }));
      await first.backend.close();
      const { backend, image } = await opened(subject);
      expect(image).toMatchObject({ nextBlobId: 50, checkpointSeq: 5, commitNumber: 3 });
      expect(image.roots).toEqual(new Map([[2, 20]]));
      await backend.close();
    });

    it('deletes, and does nothing for an id that is not mapped', async () => {
      const subject = make();
      const first = await opened(subject);
      const mapped = [
        { id: 1, slot: 0, checksum: 1n },
        { id: 2, slot: 1, checksum: 2n },
      ];
      for (const { slot } of mapped) first.backend.writeSlot(slot, blobOf(slot));
      first.backend.commit(change({ mapped, nextBlobId: 3 }));
      first.backend.commit(change({ deleted: [1, 99], nextBlobId: 3 }));
      await first.backend.close();
      const { backend, image } = await opened(subject);
      expect(image.blobs).toEqual([mapped[1]]);
      await backend.close();
    });

    it.each(BAD_CHANGES)('refuses %s before anything changes', async (_, bad) => {
      const subject = make();
      const first = await opened(subject);
      expect(errorFrom(() => first.backend.commit(bad))).toBeInstanceOf(RangeError);
      first.backend.commit(change({ nextBlobId: 2 }));
      await first.backend.close();
      const { backend, image } = await opened(subject);
      expect(image).toMatchObject({ blobs: [], nextBlobId: 2, commitNumber: 1 });
      await backend.close();
    });

    it.each([0, BLOB_BYTES - 1, BLOB_BYTES + 1])(
      'refuses %i bytes for a slot, before anything is written',
      async (length) => {
        const { backend } = await opened(make());
        const bytes = new Uint8Array(length).fill(9);
        backend.writeSlot(0, blobOf(1));
        backend.writeSlot(1, blobOf(1));
        expect(errorFrom(() => backend.writeSlot(0, bytes))).toBeInstanceOf(RangeError);
        expect(errorFrom(() => backend.readSlot(0, bytes))).toBeInstanceOf(RangeError);
        const batch = [
          { slot: 1, source: blobOf(2) },
          { slot: 0, source: bytes },
        ];
        expect(await rejectionOf(backend.writeSlots(batch))).toBeInstanceOf(RangeError);
        expect(read(backend, 0)).toEqual(blobOf(1));
        expect(errorFrom(() => backend.writeSlot(-1, blobOf(1)))).toBeInstanceOf(RangeError);
        expect(errorFrom(() => backend.readSlot(0.5, blobOf(1)))).toBeInstanceOf(RangeError);
        await backend.close();
      },
    );

    it('agrees with a model over random commits, many records and reopenings', async () => {
      const random = randomFrom(testSeed());
      const subject = make();
      const model = new StoreState();
      let { backend } = await opened(subject);
      for (let step = 0; step < 120; step++) {
        const next = randomChange(random, model);
        for (const { slot } of next.mapped) backend.writeSlot(slot, blobOf(slot));
        backend.commit(next);
        model.apply(recordOf(next, model));
        if (random(20) !== 0) continue;
        await backend.close();
        const again = await opened(subject);
        expect(comparable(again.image)).toEqual(comparable(model.image(0n)));
        backend = again.backend;
      }
      await backend.close();
    });

    it('shares one history among the backends of several threads', async () => {
      const subject = make();
      const { backend, context } = await opened(subject);
      backend.writeSlot(0, blobOf(3));
      const other = await attachBackend(backend.handle(), newContext(BLOB_BYTES, context.shared));
      expect(read(other, 0)[0]).toBe(3);
      for (let id = 1; id <= 6; id++) {
        const committer = id % 2 === 0 ? backend : other;
        committer.writeSlot(id, blobOf(id));
        committer.sync();
        committer.commit(
          change({ mapped: [{ id, slot: id, checksum: BigInt(id) }], nextBlobId: id + 1 }),
        );
      }
      await other.close();
      await backend.close();
      const { backend: again, image } = await opened(subject);
      expect(image.blobs.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(image.commitNumber).toBe(6);
      await again.close();
    });

    it('is used by a real worker', async () => {
      const subject = make();
      const { backend, context } = await opened(subject);
      backend.writeSlot(0, blobOf(41));
      backend.commit(change({ mapped: [{ id: 1, slot: 0, checksum: 1n }], nextBlobId: 2 }));
      const worker = new Worker(bundled(new URL('./backend-worker.ts', import.meta.url)), {
        workerData: { handle: backend.handle(), shared: context.shared, blobBytes: BLOB_BYTES },
      });
      // Listened for from the start: the exit may come in the same turn as the message.
      const exited = once(worker, 'exit');
      expect(await once(worker, 'message')).toEqual([41]);
      await exited;
      expect(read(backend, 1)[0]).toBe(42);
      backend.commit(change({ deleted: [1], nextBlobId: 3 }));
      await backend.close();
      const { backend: again, image } = await opened(subject);
      expect(image).toMatchObject({ commitNumber: 3, nextBlobId: 3 });
      expect(image.blobs).toEqual([{ id: 2, slot: 1, checksum: 2n }]);
      await again.close();
    });

    it('says how much space it takes', async () => {
      const { backend } = await opened(make());
      backend.writeSlot(1, blobOf(1));
      const { dataBytes, manifestBytes } = backend.usage();
      expect(dataBytes).toBeGreaterThanOrEqual(2 * BLOB_BYTES);
      expect(manifestBytes).toBeGreaterThan(0);
      await backend.close();
    });

    it('closes twice without harm, and refuses to be used afterwards', async () => {
      const { backend } = await opened(make());
      await backend.close();
      await backend.close();
      expect(errorFrom(() => backend.readSlot(0, blobOf(0)))['code']).toBe('POOL_CLOSED');
      expect(errorFrom(() => backend.commit(change()))['code']).toBe('POOL_CLOSED');
      expect(errorFrom(() => backend.sync())['code']).toBe('POOL_CLOSED');
    });
  });
}

/** A change as a pool would make it: fresh slots only, several kinds of change at once. */
function randomChange(random: (end: number) => number, model: StoreState): StoreChange {
  const image: StoreImage = model.image(0n);
  const used = new Set(image.blobs.map(({ slot }) => slot));
  const free = Array.from({ length: 60 }, (_, slot) => slot).filter((slot) => !used.has(slot));
  const ids = [...new Set(Array.from({ length: random(6) }, () => 1 + random(30)))];
  const mapped = ids.map((id, index) => ({
    id,
    slot: free[index] as number,
    checksum: BigInt(random(2 ** 31)),
  }));
  const deleted = [1 + random(40)].filter((id) => !ids.includes(id));
  const roots = new Map([[random(3), random(20)]]);
  const base = { mapped, deleted, nextBlobId: 41 + random(10) };
  return random(2) === 0 ? base : { ...base, roots, checkpointSeq: random(1000) };
}
