/**
 * A round, phase by phase, with changes between the phases: what one thread does here in turn, a
 * writer and the checkpointer do at the same time.
 */
import { describe, expect, it } from 'vitest';
import {
  H_CHECKPOINT_SEQ,
  H_CREATED,
  H_LOG_DISK_BYTES,
  H_LOG_DURABLE,
  H_LOG_TAIL,
  H_ROUND,
  H_ROUND_PHASE,
  H_ROUNDS_SUCCEEDED,
  H_SLOTS_USED,
  H_TRIM_SEQ,
  NONE,
} from '../../../src/generated/layout.ts';
import type { FilePlan } from '../../../src/harness/faulty-file-system.ts';
import type { LogServices } from '../../../src/memory/services.ts';
import * as unflushed from '../../../src/pool/unflushed.ts';
import { errorOf, rejectionOf } from '../pool/support.ts';
import {
  change,
  create,
  finishRound,
  LOGGED,
  type OpenedParts,
  openParts,
  powerLost,
  RING_BYTES,
  remove,
  set,
  storedIn,
  valueIn,
} from '../txn/support.ts';

const works: FilePlan = () => undefined;

/** Fails the n-th write of a blob, or from it on all of them. */
function failBlobs(n: number, errno = 'EIO', forEver = false): FilePlan {
  let count = 0;
  return ({ operation, file }) => {
    if (!operation.startsWith('write') || file?.endsWith('blobs.dat') !== true) return undefined;
    count++;
    return (forEver ? count >= n : count === n) ? errno : undefined;
  };
}

function frameOf({ core }: OpenedParts, id: number): number {
  return core.residency.frameOf(id);
}

function valueNow(parts: OpenedParts, id: number): number {
  return valueIn(parts.memory.frame(frameOf(parts, id)).bytes);
}

/** A pool with a store that has one blob, 1, full of 10. */
async function begun(): Promise<OpenedParts> {
  const parts = await openParts();
  expect(create(parts.log.transactions, 10)).toBe(1);
  await parts.log.rounds.run();
  expect(storedIn(parts.core)).toEqual([[1, 10]]);
  return parts;
}

describe('the capture', () => {
  it('I3 takes frames, deletes and roots of one instant; what comes later waits', async () => {
    const parts = await begun();
    const { core, log, newRound } = parts;
    const [two = 0, three = 0] = change(log.transactions, { create: [20, 30] }).ids;
    remove(log.transactions, two);
    const { seq } = change(log.transactions, { root: [7, three] });
    const round = newRound();
    const capture = round.capture();
    expect(capture).toMatchObject({ frames: 1, seq, roots: new Map([[7, three]]) });
    expect(core.memory.load(H_ROUND_PHASE)).toBe(1);
    // Racing changes of every kind.
    remove(log.transactions, 1);
    const four = create(log.transactions, 40);
    change(log.transactions, { root: [8, four] });
    finishRound(round, capture);
    expect(storedIn(core)).toEqual([[three, 30]]);
    expect(core.store.lookup(1)).toBeDefined(); // its deletion is the next round's
    expect(unflushed.pendingDeletes(core)).toEqual([1]);
    const next = newRound().capture();
    expect(next.roots).toEqual(new Map([[8, four]]));
    expect(next.round).toBe(capture.round + 1);
  });

  it('is numbered, also when there is nothing to do', async () => {
    const parts = await begun();
    const first = parts.newRound().capture();
    expect(first).toMatchObject({ frames: 0, roots: new Map() });
    expect(parts.newRound().capture().round).toBe(first.round + 1);
    expect(parts.newRound().run()).toMatchObject({ frames: 0, deletes: 0, bytes: 0 });
  });
});

describe('log first', () => {
  it('W2D no blob is written before the log is durable up to S', async () => {
    const { log, fs, memory, newRound } = await openParts();
    const { seq } = change(log.transactions, { create: [1, 2] });
    const round = newRound();
    const capture = round.capture();
    expect(memory.loadU64(H_LOG_DURABLE)).toBeLessThan(seq);
    const durableAt: number[] = [];
    fs.plan = ({ operation, file }) => {
      if (operation === 'write' && file?.endsWith('blobs.dat') === true) {
        durableAt.push(memory.loadU64(H_LOG_DURABLE));
      }
      return undefined;
    };
    finishRound(round, capture);
    expect(durableAt).toEqual([seq, seq]);
  });

  it('does not wait for what was appended after the capture', async () => {
    const { log, memory, newRound } = await openParts();
    const id = create(log.transactions, 1);
    const round = newRound();
    const capture = round.capture();
    const later = set(log.transactions, id, 2);
    round.logFirst(capture);
    expect(memory.loadU64(H_LOG_DURABLE)).toBeGreaterThanOrEqual(capture.seq);
    expect(capture.seq).toBeLessThan(later);
  });
});

describe('the image of a captured frame', () => {
  it('race 9 is the one at the capture, whatever a writer does meanwhile', async () => {
    const parts = await begun();
    const { core, log, newRound } = parts;
    set(log.transactions, 1, 11);
    const round = newRound();
    const capture = round.capture();
    const later = set(log.transactions, 1, 12);
    set(log.transactions, 1, 13);
    finishRound(round, capture);
    expect([storedIn(core), valueNow(parts, 1)]).toEqual([[[1, 11]], 13]);
    expect(unflushed.dirtyBlobs(core)).toEqual([{ id: 1, seq: later }]);
    expect(unflushed.minUnflushedSeq(core)).toBe(later);
    newRound().run();
    expect([storedIn(core), unflushed.minUnflushedSeq(core)]).toEqual([[[1, 13]], undefined]);
  });

  it('that a writer has preserved is taken from there, once', async () => {
    const { log, memory, newRound } = await openParts();
    const [a = 0] = change(log.transactions, { create: [1, 2, 3] }).ids;
    const round = newRound();
    const capture = round.capture();
    set(log.transactions, a, 9);
    const { control } = memory;
    const images: number[] = [];
    const first = memory.shared.frames;
    for (let at = round.nextImage(capture); at !== NONE; at = round.nextImage(capture)) {
      images.push(valueIn(memory.frame(first + at).bytes));
      control.stagingGive(at);
    }
    // The others are copied by the round when it writes; here it has not begun to.
    expect(images).toEqual([1]);
    round.restore(capture);
  });

  it('of a blob that was deleted since is written, and the delete waits', async () => {
    const parts = await begun();
    const { core, log, newRound } = parts;
    set(log.transactions, 1, 11);
    const round = newRound();
    const capture = round.capture();
    remove(log.transactions, 1);
    expect(unflushed.hasBlob(core, 1)).toBe(false);
    finishRound(round, capture);
    expect([unflushed.listBlobs(core), unflushed.pendingDeletes(core)]).toEqual([[], [1]]);
    expect(core.store.lookup(1)).toBeDefined();
    newRound().run();
    expect([core.store.lookup(1), unflushed.pendingDeletes(core)]).toEqual([undefined, []]);
  });

  it('of a round that has failed is not taken by the next one', async () => {
    const parts = await begun();
    const { core, log, memory, newRound } = parts;
    set(log.transactions, 1, 11);
    const failed = newRound();
    const capture = failed.capture();
    set(log.transactions, 1, 12); // preserves 11
    expect(memory.control.stagingNext(0)).not.toBe(NONE);
    memory.control.stagingReady(0, frameOf(parts, 1), capture.round);
    failed.restore(capture);
    expect(memory.control.stagingNext(0)).toBe(NONE);
    newRound().run();
    expect(storedIn(core)).toEqual([[1, 12]]);
  });

  it('of a round that nobody has put back is thrown away at the next capture', async () => {
    const parts = await begun();
    const { core, log, memory, newRound } = parts;
    const free = memory.control.stagingFree();
    set(log.transactions, 1, 11);
    const lost = newRound().capture();
    set(log.transactions, 1, 12);
    expect(memory.control.stagingFree()).toBe(free - 1);
    expect(newRound().run().frames).toBe(1);
    expect([storedIn(core), memory.control.stagingFree()]).toEqual([[[1, 12]], free]);
    expect(lost.round).toBeGreaterThan(0);
  });

  it('is the one at the capture also while several writes are in flight', async () => {
    const parts = await openParts();
    const { core, log, fs, newRound } = parts;
    const { ids } = change(log.transactions, { create: [1, 2, 3, 4, 5, 6] });
    change(log.transactions, { create: [7, 8, 9, 10] });
    let changed = 0;
    fs.plan = ({ operation }) => {
      if (operation !== 'writeAsync' || changed >= ids.length) return undefined;
      set(log.transactions, ids[changed] as number, 100 + changed);
      changed++;
      return undefined;
    };
    const outcome = await newRound().runAsync();
    fs.plan = works;
    expect([outcome.frames, changed]).toEqual([10, ids.length]);
    expect(storedIn(core).map(([, value]) => value)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(unflushed.dirtyBlobs(core).map(({ id }) => id)).toEqual(ids);
    newRound().run();
    expect(storedIn(core).map(([, value]) => value)).toEqual([
      100, 101, 102, 103, 104, 105, 7, 8, 9, 10,
    ]);
  });
});

describe('I1 while a round runs', () => {
  it('race 1 a frame that it writes is not evicted and is what every reader gets', async () => {
    const parts = await begun();
    const { core, log, newRound } = parts;
    set(log.transactions, 1, 11);
    const round = newRound();
    const capture = round.capture();
    expect(core.residency.evict(1)).toBe(false);
    round.logFirst(capture);
    expect(core.residency.evict(1)).toBe(false);
    round.writeThrough(capture);
    expect([core.residency.evict(1), valueNow(parts, 1)]).toEqual([false, 11]);
    expect(unflushed.minUnflushedSeq(core)).toBeDefined();
    round.commit(capture);
    expect([unflushed.minUnflushedSeq(core), core.residency.evict(1)]).toEqual([undefined, true]);
  });

  it('race 6 a deleted blob is not read back from the store, in whatever phase', async () => {
    const parts = await begun();
    const { core, log, newRound } = parts;
    const gone = () => errorOf(() => core.residency.pin(1, true)).code;
    expect(core.residency.evict(1)).toBe(true);
    const pin = core.residency.pin(1, true);
    remove(log.transactions, 1);
    expect(gone()).toBe('BLOB_NOT_FOUND');
    core.control.unpin(pin, core.me);
    expect(gone()).toBe('BLOB_NOT_FOUND');
    const round = newRound();
    const capture = round.capture();
    expect(gone()).toBe('BLOB_NOT_FOUND');
    round.logFirst(capture);
    round.writeThrough(capture);
    expect([gone(), core.store.lookup(1)?.id]).toEqual(['BLOB_NOT_FOUND', 1]);
    round.commit(capture);
    expect([gone(), core.store.lookup(1)]).toEqual(['BLOB_NOT_FOUND', undefined]);
  });

  it('race 12 one round at a time: what is asked for within one waits for the next', async () => {
    const { log, fs, memory } = await openParts();
    const id = create(log.transactions, 1);
    const services = log.transactions.thread.services as LogServices;
    const rounds: number[] = [];
    fs.plan = ({ operation, file }) => {
      if (operation !== 'write' || file?.endsWith('blobs.dat') !== true) return undefined;
      rounds.push(memory.loadU64(H_ROUND));
      if (rounds.length === 1) {
        set(log.transactions, id, 2);
        services.round();
        expect(memory.loadU64(H_ROUND)).toBe(rounds[0]);
      }
      return undefined;
    };
    await log.rounds.run();
    expect(memory.control.lowestUnflushed()).toBeGreaterThan(0);
    services.settle();
    expect(rounds.length).toBe(2);
    expect(rounds[1]).toBe((rounds[0] as number) + 1);
    expect(memory.control.lowestUnflushed()).toBe(0);
  });

  it('created and deleted blobs are listed as they are, before it, in it and after it', async () => {
    const { core, log, newRound } = await openParts();
    const [a = 0, b = 0, c = 0] = change(log.transactions, { create: [1, 2, 3] }).ids;
    const seen = () => {
      const listed = unflushed.listBlobs(core);
      expect([a, b, c].filter((id) => unflushed.hasBlob(core, id))).toEqual(listed);
      return listed;
    };
    expect([core.store.list(), seen()]).toEqual([[], [a, b, c]]);
    remove(log.transactions, b);
    expect(seen()).toEqual([a, c]);
    const round = newRound();
    const capture = round.capture();
    expect(seen()).toEqual([a, c]);
    remove(log.transactions, c);
    expect(seen()).toEqual([a]);
    round.logFirst(capture);
    round.writeThrough(capture);
    expect([core.store.list(), seen()]).toEqual([[], [a]]);
    round.commit(capture);
    expect(seen()).toEqual([a]);
    round.trim(capture);
    newRound().run();
    expect([core.store.list(), seen()]).toEqual([[a], [a]]);
  });

  it('I2 race 13 the log is trimmed by the S of a committed round, and by no other', async () => {
    const { log, memory, newRound } = await openParts();
    const id = create(log.transactions, 1);
    const round = newRound();
    const capture = round.capture();
    const later = set(log.transactions, id, 2);
    const services = log.transactions.thread.services as LogServices;
    round.logFirst(capture);
    round.writeThrough(capture);
    services.journal();
    expect(memory.loadU64(H_TRIM_SEQ)).toBe(0);
    round.commit(capture);
    round.trim(capture);
    expect(memory.loadU64(H_TRIM_SEQ)).toBe(capture.seq);
    expect(memory.loadU64(H_CHECKPOINT_SEQ)).toBe(capture.seq);
    expect(capture.seq).toBeLessThan(later);
    expect(memory.control.lowestUnflushed()).toBeGreaterThan(capture.seq);
  });
});

describe('a round that fails', () => {
  it('I1 puts everything back with the lowest seq, and the next one writes it', async () => {
    const parts = await begun();
    const { core, log, fs, memory, newRound } = parts;
    const first = set(log.transactions, 1, 11);
    const two = create(log.transactions, 20);
    const before = unflushed.dirtyBlobs(core);
    for (const n of [1, 2]) {
      fs.plan = failBlobs(n);
      expect(errorOf(() => newRound().run()).code).toBe('STORE_IO');
      expect(unflushed.dirtyBlobs(core)).toEqual(before);
      expect(unflushed.minUnflushedSeq(core)).toBe(first);
      expect([storedIn(core), memory.load(H_ROUND_PHASE)]).toEqual([[[1, 10]], 0]);
    }
    set(log.transactions, 1, 12);
    expect(unflushed.minUnflushedSeq(core)).toBe(first);
    fs.plan = works;
    expect(newRound().run().frames).toBe(2);
    expect(storedIn(core)).toEqual([
      [1, 12],
      [two, 20],
    ]);
    expect(unflushed.minUnflushedSeq(core)).toBeUndefined();
  });

  it('merges what was changed while it ran', async () => {
    const parts = await begun();
    const { core, log, fs, newRound } = parts;
    const first = set(log.transactions, 1, 11);
    const round = newRound();
    const capture = round.capture();
    set(log.transactions, 1, 12);
    fs.plan = failBlobs(1);
    round.logFirst(capture);
    expect(errorOf(() => round.writeThrough(capture)).code).toBe('STORE_IO');
    round.restore(capture);
    expect(unflushed.dirtyBlobs(core)).toEqual([{ id: 1, seq: first }]);
    fs.plan = works;
    newRound().run();
    expect(storedIn(core)).toEqual([[1, 12]]);
  });

  it('keeps a slot whose write failed out of use, and gives the others back', async () => {
    const parts = await begun();
    const { log, fs, memory, disk, newRound, close } = parts;
    change(log.transactions, { create: [2, 3, 4] });
    const used = memory.load(H_SLOTS_USED);
    fs.plan = failBlobs(2);
    expect(errorOf(() => newRound().run()).code).toBe('STORE_IO');
    expect(memory.load(H_SLOTS_USED)).toBe(used + 1);
    fs.plan = failBlobs(1);
    expect((await rejectionOf(newRound().runAsync())).code).toBe('STORE_IO');
    expect(memory.load(H_SLOTS_USED)).toBe(used + 2);
    fs.plan = works;
    for (let value = 30; value < 40; value++) {
      set(log.transactions, 1, value);
      newRound().run();
    }
    expect(memory.load(H_SLOTS_USED)).toBe(4 + 2);
    await close();
    const again = await openParts({ disk });
    expect(again.memory.load(H_SLOTS_USED)).toBe(4);
  });

  it('skips a tombstone: a captured blob that was deleted does not come back', async () => {
    const parts = await begun();
    const { core, log, fs, memory, newRound } = parts;
    set(log.transactions, 1, 11);
    const two = create(log.transactions, 20);
    const names = memory.load(H_CREATED);
    const round = newRound();
    const capture = round.capture();
    change(log.transactions, { delete: [1, two] });
    fs.plan = failBlobs(1);
    round.logFirst(capture);
    expect(errorOf(() => round.writeThrough(capture)).code).toBe('STORE_IO');
    round.restore(capture);
    expect([unflushed.dirtyBlobs(core), unflushed.listBlobs(core)]).toEqual([[], []]);
    expect(unflushed.pendingDeletes(core)).toEqual([1, two]);
    expect(errorOf(() => core.residency.pin(1, true)).code).toBe('BLOB_NOT_FOUND');
    fs.plan = works;
    expect(newRound().run()).toMatchObject({ frames: 0, deletes: 2 });
    expect([core.store.list(), core.store.lookup(1), core.store.lookup(two)]).toEqual([
      [],
      undefined,
      undefined,
    ]);
    expect(memory.load(H_CREATED)).toBe(names - 1);
  });

  it('race 10 race 11 leaves parent, child and deletes as they were, at whatever write', async () => {
    const parts = await openParts();
    const { core, log, fs, newRound } = parts;
    const [parent = 0, child = 0] = change(log.transactions, { create: [1, 2] }).ids;
    newRound().run();
    const before = storedIn(core);
    // The parent loses one child and gets another.
    const { ids } = change(log.transactions, { set: [[parent, 9]], create: [3], delete: [child] });
    for (const n of [1, 2]) {
      fs.plan = failBlobs(n, 'ENOSPC', true);
      expect(errorOf(() => newRound().run()).code).toBe('STORE_IO');
      expect((await rejectionOf(newRound().runAsync())).code).toBe('STORE_IO');
      fs.plan = works;
      expect(before.map(([id]) => core.store.lookup(id)?.id)).toEqual([parent, child]);
      expect(before.map(([id]) => valueIn(core.store.readScratch(id)))).toEqual([1, 2]);
      // The log has it: what is open after a power loss is the whole change.
      const image = await openParts({ disk: powerLost(parts.disk) });
      expect(unflushed.listBlobs(image.core)).toEqual([parent, ids[0]]);
      await image.close();
    }
    newRound().run();
    expect(storedIn(core)).toEqual([
      [parent, 9],
      [ids[0], 3],
    ]);
    expect(core.store.lookup(child)).toBeUndefined();
  });

  it('the full disk does not stop the round that would free space', async () => {
    const segmentBytes = 4 * RING_BYTES;
    const options = { log: { ...LOGGED.log, segmentBytes, bytesMax: 2 ** 24 } };
    const { core, log, fs } = await openParts({ options });
    const [id = 0] = change(log.transactions, { create: [1] }).ids;
    // Segments that are there can be used again, and no new one can be made.
    fs.plan = ({ operation, path }) =>
      operation === 'open' && path?.endsWith('.tmp') === true ? 'ENOSPC' : undefined;
    const record = new Uint8Array(RING_BYTES / 4);
    for (let n = 0; n < 200; n++) {
      log.transactions.change((op) => {
        const blob = op.write(id);
        op.seal(record.length);
        blob.bytes.fill(n);
        return op.commit(record);
      });
    }
    expect(core.memory.loadU64(H_ROUNDS_SUCCEEDED)).toBeGreaterThan(2);
    expect(core.memory.loadU64(H_LOG_DISK_BYTES)).toBeLessThanOrEqual(4 * segmentBytes);
    log.durability.durableSync(undefined, 'synced');
  });

  it('I6 a full disk uses up no slots, however often a round fails', async () => {
    const { core, log, fs, newRound } = await openParts();
    change(log.transactions, { create: [1, 2, 3] });
    newRound().run();
    const used = core.store.stats().slotsUsed;
    change(log.transactions, { set: [[1, 9]] });
    fs.plan = failBlobs(1, 'ENOSPC', true);
    for (let n = 0; n < 50; n++) {
      expect(errorOf(() => newRound().run()).code).toBe('STORE_IO');
      expect((await rejectionOf(newRound().runAsync())).code).toBe('STORE_IO');
    }
    expect(core.store.stats().slotsUsed).toBe(used);
    fs.plan = works;
    newRound().run();
    expect(core.store.stats().slotsUsed).toBe(used);
  });

  it('at the commit is not applied when the manifest surely is as before', async () => {
    const parts = await begun();
    const { core, log, fs, newRound } = parts;
    set(log.transactions, 1, 11);
    const used = core.memory.load(H_SLOTS_USED);
    fs.plan = ({ operation, file }) =>
      operation === 'write' && file?.includes('manifest') === true ? 'ENOSPC' : undefined;
    const { code, error } = errorOf(() => newRound().run());
    expect([code, (error as { outcome?: string }).outcome]).toEqual(['STORE_IO', 'not_applied']);
    expect([core.memory.load(H_SLOTS_USED), unflushed.dirtyBlobs(core).length]).toEqual([used, 1]);
    fs.plan = works;
    newRound().run();
    expect(storedIn(core)).toEqual([[1, 11]]);
  });

  it.each([
    ['the sync of blobs', 'blobs.dat'],
    ['the sync of the manifest', 'manifest'],
  ])('in %s poisons, and reopening has every change', async (_, name) => {
    const parts = await begun();
    const { log, fs, disk, newRound, close } = parts;
    set(log.transactions, 1, 11);
    log.durability.durableSync(undefined, 'synced');
    fs.plan = ({ operation, file }) =>
      operation.startsWith('sync') && file?.includes(name) === true ? 'EIO' : undefined;
    const { error } = errorOf(() => newRound().run());
    expect((error as { outcome?: string }).outcome).toBe('unknown');
    fs.plan = works;
    expect(errorOf(() => log.transactions.begin()).code).toBe('POISONED');
    await close();
    const again = await openParts({ disk });
    again.newRound().run();
    expect(storedIn(again.core)).toEqual([[1, 11]]);
  });
});

describe('a round with nothing dirty', () => {
  it('race 14 commits its S and trims the log', async () => {
    const { log, memory, disk, newRound } = await openParts();
    const payload = new Uint8Array(4000);
    for (let n = 0; n < 20; n++) {
      log.transactions.change((op) => op.commit(payload));
      log.durability.durableSync(undefined, 'synced');
    }
    const segments = () => disk.list('/sim').filter((name) => name.startsWith('wal-')).length;
    const many = segments();
    expect(many).toBeGreaterThan(3);
    expect(newRound().run()).toMatchObject({ frames: 0, deletes: 0 });
    expect(memory.loadU64(H_CHECKPOINT_SEQ)).toBe(memory.loadU64(H_LOG_TAIL));
    expect(segments()).toBeLessThan(many);
    expect(memory.control.backlog()).toBe(0);
  });
});

describe('a full disk', () => {
  it('refuses a round, loses nothing, and goes on when space is back', async () => {
    const parts = await begun();
    const { core, log, fs, newRound } = parts;
    fs.plan = ({ operation, file }) =>
      operation.startsWith('write') && file?.includes('wal-') !== true ? 'ENOSPC' : undefined;
    for (let value = 11; value < 14; value++) {
      set(log.transactions, 1, value);
      expect(errorOf(() => newRound().run()).code).toBe('STORE_IO');
      expect([storedIn(core), valueNow(parts, 1)]).toEqual([[[1, 10]], value]);
    }
    fs.plan = works;
    newRound().run();
    expect(storedIn(core)).toEqual([[1, 13]]);
  });
});
