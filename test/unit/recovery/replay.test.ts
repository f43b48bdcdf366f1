/** Opening a store whose log has records above the cut: what is replayed, how often, with which ids. */
import { cpSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { H_CHECKPOINT_SEQ, H_LOG_BASE, H_LOG_TAIL } from '../../../src/generated/layout.ts';
import {
  type FaultyFileSystem,
  type FileOperation,
  faultyFileSystem,
} from '../../../src/harness/faulty-file-system.ts';
import type { SimFileSystem } from '../../../src/harness/sim-file-system.ts';
import { BufferPool } from '../../../src/pool/pool.ts';
import type { Owner } from '../../../src/recovery/replay.ts';
import type { Op } from '../../../src/txn/op.ts';
import type { LogRecord } from '../../../src/wal/format.ts';
import { closeAfterTest, errorOf, rejectionOf, temporaryDirectory } from '../pool/support.ts';
import {
  abandoned,
  BLOB_BYTES,
  change,
  contentOf,
  create,
  DIRECTORY,
  LOGGED,
  type OpenedLogged,
  openLogged,
  openParts,
  PlanOwner,
  perform,
  powerLost,
  remove,
  set,
  valueAt,
} from '../txn/support.ts';
import { imageOf } from '../wal/support.ts';

const EMPTY = new Uint8Array(0);

/** Opens what a crash has left, with an owner that keeps the records. */
async function reopened(disk: SimFileSystem, options = {}) {
  const owner = new PlanOwner();
  const opened = await openLogged({ disk, owner, options });
  return { ...opened, owner };
}

/** The disk of a pool whose process dies now, with everything that was written. */
async function crashed({ pool, disk }: OpenedLogged): Promise<SimFileSystem> {
  const image = abandoned(disk);
  await pool.close();
  return image;
}

function callsOf(fs: FaultyFileSystem, operation: FileOperation): number {
  return fs.calls.filter((call) => call.operation === operation).length;
}

describe('R1 after a crash', () => {
  it('every record above the cut is done again, in order and once, none below it', async () => {
    const opened = await openLogged();
    const { pool } = opened;
    const { ids } = change(pool, { create: [1, 2, 3], root: [0, -1] });
    await pool.checkpoint();
    const [a = 0, b = 0, c = 0] = ids;
    const seqs = [
      set(pool, a, 11),
      change(pool, { create: [4], root: [3, -1] }).seq,
      remove(pool, b),
      set(pool, a, 12),
      change(pool, { set: [[c, 13]], root: [0, c] }).seq,
    ];
    pool.durableSync(undefined, 'written');
    const before = [contentOf(pool), pool.root(0), pool.root(3)];
    const again = await reopened(await crashed(opened));
    expect(again.owner.seqs).toEqual(seqs);
    expect([contentOf(again.pool), again.pool.root(0), again.pool.root(3)]).toEqual(before);
    expect(again.pool.pendingDeletes()).toEqual([b]);
    // Crashing again at once changes nothing.
    const third = await reopened(await crashed(again));
    expect(third.owner.seqs).toEqual(seqs);
    expect(contentOf(third.pool)).toEqual(before[0]);
    await third.pool.checkpoint();
    const fourth = await reopened(await crashed(third));
    expect([fourth.owner.seqs, contentOf(fourth.pool)]).toEqual([[], before[0]]);
  });

  it('a record carries its owner, ids and payload, and its op the same ids and seq', async () => {
    const opened = await openLogged();
    const { pool } = opened;
    const gone = create(pool, 1);
    await pool.checkpoint();
    const payload = Uint8Array.of(5, 6, 7);
    const made: number[] = [];
    const seq = pool.change(
      (op) => {
        made.push(op.create().id, op.create().id);
        op.delete(op.create().id);
        op.delete(gone);
        return op.commit(payload);
      },
      { owner: 77 },
    );
    pool.durableSync(undefined, 'written');
    const seen: unknown[] = [];
    const replay = (record: LogRecord, op: Op): void => {
      const ids = [op.create().id, op.create().id, op.create().id];
      op.delete(ids[2] as number);
      op.delete(gone);
      const { owner, created, deleted } = record;
      seen.push({ owner, created, deleted, payload: [...record.payload], ids, of: op.owner });
      expect(op.commit(EMPTY)).toBe(record.seq);
      expect(record.seq).toBe(seq);
    };
    const { pool: again } = await reopened(await crashed(opened), { owners: { 77: { replay } } });
    const created = [...made, (made[1] as number) + 1];
    expect(seen).toEqual([
      { owner: 77, created, deleted: [gone], payload: [5, 6, 7], ids: created, of: 77 },
    ]);
    expect(again.list()).toEqual(made);
    expect(again.minUnflushedSeq()).toBe(seq);
  });

  it('ids that a record names are never handed out again', async () => {
    const opened = await openLogged();
    const first = create(opened.pool, 1);
    opened.pool.durableSync(undefined, 'written');
    const second = await reopened(await crashed(opened));
    expect(second.pool.list()).toEqual([first]);
    const next = create(second.pool, 2);
    expect(next).toBeGreaterThan(first);
    second.pool.durableSync(undefined, 'written');
    // Also ids of changes that were lost.
    const lost = create(second.pool, 3);
    const third = await reopened(await crashed(second));
    expect(third.pool.list()).toEqual([first, next]);
    expect(create(third.pool, 4)).toBeGreaterThan(lost);
  });

  it('a suffix of changes that were not waited for is missing, and nothing else', async () => {
    const opened = await openLogged();
    const { pool, disk } = opened;
    const id = create(pool, 1);
    pool.durableSync(undefined, 'synced');
    set(pool, id, 2);
    pool.durableSync(undefined, 'written');
    set(pool, id, 3);
    const images = [powerLost(disk), abandoned(disk)];
    await pool.close();
    const values: number[] = [];
    for (const image of images) {
      const again = await reopened(image);
      values.push(valueAt(again.pool, id));
      await again.pool.close();
    }
    expect(values).toEqual([1, 2]);
  });

  it('race 25 a move is done again once, also when crashes follow each other', async () => {
    // Moves a unit from one blob to another: twice is not the same as once.
    const move: Owner = {
      replay(record, op) {
        const [from = 0, to = 0] = record.payload;
        const blobs = [op.write(from), op.write(to)] as const;
        op.seal(2);
        blobs[0].u32[0] = (blobs[0].u32[0] as number) - 1;
        blobs[1].u32[0] = (blobs[1].u32[0] as number) + 1;
        op.commit(record.payload);
      },
    };
    const options = { owners: { 0: new PlanOwner(), 1: move } };
    let opened = await openLogged({ options });
    const [a = 0, b = 0] = change(opened.pool, { create: [0, 0] }).ids;
    await opened.pool.checkpoint();
    for (let moves = 1; moves <= 6; moves++) {
      const payload = Uint8Array.of(a, b);
      const record = { payload } as unknown as LogRecord;
      opened.pool.change((op) => move.replay(record, op), { owner: 1, durability: 'written' });
      if (moves % 3 === 0) await opened.pool.checkpoint();
      opened = await openLogged({ disk: await crashed(opened), options });
      const counts = [a, b]
        .map((id) => opened.pool.read(id))
        .map((guard) => {
          using held = guard;
          return held.view.getInt32(0, true);
        });
      expect(counts).toEqual([-moves, moves]);
    }
  });
});

describe('on real files', () => {
  it('R1 a copy of the directory of an open pool opens with every written change', async () => {
    const [directory, copy] = [temporaryDirectory(), temporaryDirectory()];
    const at = (path: string, owner: PlanOwner) =>
      BufferPool.open(path, { ...LOGGED, owners: { 0: owner } });
    const pool = await at(directory, new PlanOwner());
    closeAfterTest(pool);
    const { ids } = change(pool, { create: [1, 2], root: [0, -1] });
    await pool.checkpoint();
    const [a = 0, b = 0] = ids;
    const seq = set(pool, a, 3);
    remove(pool, b);
    const last = create(pool, 4);
    pool.durableSync(undefined, 'written');
    set(pool, a, 5); // in the ring alone
    cpSync(directory, copy, { recursive: true });
    const owner = new PlanOwner();
    const again = await at(copy, owner);
    closeAfterTest(again);
    expect(contentOf(again)).toEqual([
      [a, 3],
      [last, 4],
    ]);
    expect([owner.seqs[0], owner.seqs.length, again.root(0)]).toEqual([seq, 3, a]);
    await again.close();
    await pool.close();
  });
});

describe('after a clean close', () => {
  it('race 21 nothing is lost, also what nobody waited for, and nothing is replayed', async () => {
    const { pool, disk } = await openLogged();
    const [a = 0, b = 0] = change(pool, { create: [1, 2], root: [4, -1] }).ids;
    set(pool, a, 3);
    remove(pool, b);
    await pool.close();
    const again = await reopened(powerLost(disk));
    expect([contentOf(again.pool), again.pool.root(4)]).toEqual([[[a, 3]], a]);
    expect([again.owner.seqs, again.pool.pendingDeletes()]).toEqual([[], []]);
  });

  it('race 21 the log is whole also when its last round could not write', async () => {
    const { pool, disk, fs } = await openLogged();
    const id = create(pool, 1);
    await pool.checkpoint();
    set(pool, id, 2);
    fs.plan = ({ operation, file }) =>
      operation.startsWith('write') && file?.endsWith('blobs.dat') === true ? 'EIO' : undefined;
    expect((await rejectionOf(pool.close())).code).toBe('STORE_IO');
    const again = await reopened(powerLost(disk));
    expect([contentOf(again.pool), again.owner.seqs.length]).toEqual([[[id, 2]], 1]);
  });
});

describe('seqs', () => {
  it('race 20 go on after trims, clean closes and crashes', async () => {
    let opened = await openLogged();
    let last = 0;
    for (let n = 0; n < 6; n++) {
      for (let k = 0; k < 4; k++) {
        const { seq } = change(opened.pool, { create: [k] });
        expect(seq).toBeGreaterThan(last);
        last = seq;
      }
      if (n % 2 === 0) await opened.pool.checkpoint();
      if (n % 3 === 0) await opened.pool.close();
      else opened.pool.durableSync(undefined, 'written');
      const disk = n % 3 === 0 ? opened.disk : await crashed(opened);
      opened = await reopened(disk);
      expect(opened.pool.list().length).toBe(4 * (n + 1));
    }
  });

  it('race 20 of records that were lost are not used again', async () => {
    const opened = await openLogged();
    create(opened.pool, 1);
    opened.pool.durableSync(undefined, 'synced');
    const lost = create(opened.pool, 2);
    const { seq } = change(opened.pool, { set: [[lost, 3]] });
    const disk = powerLost(opened.disk);
    await opened.pool.close();
    const again = await reopened(disk);
    expect(change(again.pool, { create: [3] }).seq).toBeGreaterThan(seq);
  });
});

describe('an owner that is not there', () => {
  it('is refused before any replay begins, wherever its record is, and nothing is changed', async () => {
    const opened = await openLogged();
    const { pool } = opened;
    const id = create(pool, 1);
    set(pool, id, 2);
    const seq = pool.change((op) => op.commit(Uint8Array.of(1)), { owner: 5 });
    set(pool, id, 3);
    pool.durableSync(undefined, 'synced');
    const disk = await crashed(opened);
    const owner = new PlanOwner();
    const refused = await rejectionOf(openLogged({ disk, owner }));
    expect([refused.code, refused.details]).toEqual(['REPLAY_FAILED', { seq, owner: 5 }]);
    expect(owner.records).toEqual([]);
    const none = await rejectionOf(openLogged({ disk, options: { owners: {} } }));
    expect([none.code, none.details['owner']]).toEqual(['REPLAY_FAILED', 0]);
    const replayed: number[] = [];
    const options = {
      owners: { 0: owner, 5: { replay: ({ seq: at }: LogRecord) => void replayed.push(at) } },
    };
    const { pool: again } = await openLogged({ disk, options });
    expect([valueAt(again, id), replayed]).toEqual([3, [seq]]);
  });

  it('is not missed once the cut has its records', async () => {
    const { pool, disk } = await openLogged();
    pool.change((op) => op.commit(Uint8Array.of(1)), { owner: 5 });
    await pool.close();
    const { pool: again } = await openLogged({ disk });
    expect(again.list()).toEqual([]);
  });
});

describe('a replay that throws', () => {
  const failures: readonly (readonly [string, (op: Op) => void])[] = [
    ['before its seal', (op) => void op.create()],
    [
      'after its seal',
      (op) => {
        const blob = op.create();
        op.seal(0);
        blob.bytes.fill(0x66);
      },
    ],
  ];

  it.each(failures)(
    '%s ends the opening with its seq, and the store as it was',
    async (_, begin) => {
      const opened = await openLogged();
      const first = create(opened.pool, 1);
      await opened.pool.checkpoint();
      set(opened.pool, first, 2);
      const { seq, ids } = change(opened.pool, { create: [3] });
      set(opened.pool, first, 4);
      opened.pool.durableSync(undefined, 'synced');
      const disk = await crashed(opened);
      const fs = faultyFileSystem(disk);
      const cause = new Error('cannot be done again');
      const replay = (record: LogRecord, op: Op): void => {
        if (record.seq !== seq) return void new PlanOwner().replay(record, op);
        begin(op);
        throw cause;
      };
      const options = { ...LOGGED, fileSystem: fs, owners: { 0: { replay } } };
      const failed = await rejectionOf(BufferPool.open(DIRECTORY, options));
      expect([failed.code, failed.details, failed.error.cause]).toEqual([
        'REPLAY_FAILED',
        { seq, owner: 0 },
        cause,
      ]);
      const count = (operation: string) =>
        fs.calls.filter((call) => call.operation === operation).length;
      expect(count('close')).toBe(count('open'));
      const again = await reopened(disk);
      expect(again.owner.seqs.length).toBe(3);
      expect(contentOf(again.pool)).toEqual([
        [first, 4],
        [ids[0], 3],
      ]);
    },
  );

  it('a value that is no error, or asks for more blobs than its record has, is told so', async () => {
    const opened = await openLogged();
    const { seq } = change(opened.pool, { create: [1] });
    opened.pool.durableSync(undefined, 'synced');
    const disk = await crashed(opened);
    const owners = [
      {
        replay() {
          throw 'a text';
        },
      },
      {
        replay(_: LogRecord, op: Op) {
          op.create();
          op.create();
        },
      },
      {
        async replay() {
          await Promise.resolve();
        },
      },
    ];
    for (const owner of owners) {
      const failed = await rejectionOf(openLogged({ disk, options: { owners: { 0: owner } } }));
      expect([failed.code, failed.details]).toEqual(['REPLAY_FAILED', { seq, owner: 0 }]);
    }
    expect((await reopened(disk)).pool.list()).toEqual([1]);
  });
});

describe('a replay that leaves things out', () => {
  it('is committed by itself, with or without a seal', async () => {
    const opened = await openLogged();
    const id = create(opened.pool, 1);
    await opened.pool.checkpoint();
    const seqs = [2, 3, 4].map((value) => set(opened.pool, id, value));
    opened.pool.durableSync(undefined, 'written');
    const disk = await crashed(opened);
    const replay = ({ seq }: LogRecord, op: Op): void => {
      const blob = op.write(id);
      op.seal();
      blob.bytes.fill(40 + seqs.indexOf(seq));
      if (seq === seqs[1]) op.commit();
    };
    const { pool } = await openLogged({ disk, options: { owners: { 0: { replay } } } });
    expect([valueAt(pool, id), pool.minUnflushedSeq()]).toEqual([42, seqs[0]]);
  });

  it('may do nothing at all, unless the record names blobs', async () => {
    const opened = await openLogged();
    const id = create(opened.pool, 1);
    await opened.pool.checkpoint();
    set(opened.pool, id, 2);
    opened.pool.durableSync(undefined, 'written');
    const owners = { 0: { replay: () => undefined } };
    const again = await openLogged({ disk: await crashed(opened), options: { owners } });
    const { pool } = again;
    expect(valueAt(pool, id)).toBe(1);
    expect(create(pool, 2)).toBeGreaterThan(id);
    pool.durableSync(undefined, 'written');
    const disk = await crashed(again);
    const refused = BufferPool.open(DIRECTORY, { ...LOGGED, owners, fileSystem: disk });
    expect(await rejectionOf(refused)).toMatchObject({ code: 'REPLAY_FAILED' });
  });
});

describe('a replay of more blobs than there are frames', () => {
  it('R1 W2D runs rounds between records, never in one, and loses nothing', async () => {
    const opened = await openLogged({ options: { frames: 64, frameWaitMs: 5000 } });
    const { pool } = opened;
    const ids: number[] = [];
    for (let n = 0; n < 12; n++) ids.push(...change(pool, { create: [n, n, n] }).ids);
    for (const id of ids) set(pool, id, 100 + id);
    pool.durableSync(undefined, 'synced');
    const disk = await crashed(opened);
    const owner = new PlanOwner();
    const { core, memory } = await openParts({ disk, owner, options: { frames: 4 } });
    expect(owner.seqs.length).toBe(12 + ids.length);
    expect(memory.loadU64(H_CHECKPOINT_SEQ)).toBeGreaterThan(0);
    expect([...owner.seqs].sort((a, b) => a - b)).toEqual(owner.seqs);
    const bytes = new Uint8Array(BLOB_BYTES);
    for (const id of ids) {
      const frame = core.residency.pin(id, false);
      bytes.set(memory.frame(frame).bytes);
      core.control.unpin(frame, core.me);
      expect([id, bytes.every((byte) => byte === 100 + id)]).toEqual([id, true]);
    }
    // What the rounds have taken over does not count as backlog any more.
    const backlog = memory.loadU64(H_LOG_TAIL) - memory.loadU64(H_LOG_BASE);
    const above = owner.records.filter(({ seq }) => seq > memory.loadU64(H_CHECKPOINT_SEQ));
    const bytesAbove = above.reduce((sum, { seq, position }) => sum + (seq - position), 0);
    expect(backlog).toBe(bytesAbove);
  });

  it('a crash after such a round goes on where it was', async () => {
    const opened = await openLogged({ options: { frames: 64 } });
    const ids: number[] = [];
    for (let n = 0; n < 8; n++) ids.push(...change(opened.pool, { create: [n, n] }).ids);
    opened.pool.durableSync(undefined, 'synced');
    const disk = await crashed(opened);
    const last = ids.at(-1) as number;
    const stops: Owner = {
      replay(record, op) {
        if (record.created.includes(last)) throw new Error('the machine stops here');
        new PlanOwner().replay(record, op);
      },
    };
    const fs = faultyFileSystem(disk);
    const options = { ...LOGGED, frames: 4, owners: { 0: stops }, fileSystem: fs };
    const failed = await rejectionOf(BufferPool.open(DIRECTORY, options));
    expect(failed.code).toBe('REPLAY_FAILED');
    expect(callsOf(fs, 'close')).toBe(callsOf(fs, 'open'));
    for (const image of [powerLost(disk), disk]) {
      const again = await reopened(image, { frames: 4 });
      expect(again.owner.seqs.length).toBeLessThan(8);
      expect(contentOf(again.pool)).toEqual(ids.map((id, at) => [id, at >> 1]));
      await again.pool.close();
    }
  });

  it('a record with more blobs than the share of the smaller pool is done again', async () => {
    const opened = await openLogged({ options: { frames: 64 } });
    const { ids } = change(opened.pool, { create: [1, 2, 3, 4, 5, 6] });
    change(opened.pool, { create: [7, 8, 9, 10, 11, 12, 13] });
    opened.pool.durableSync(undefined, 'synced');
    const second = abandoned(opened.disk);
    const disk = await crashed(opened);
    const again = await reopened(disk, { frames: 8 });
    expect(contentOf(again.pool).map(([, value]) => value)).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
    ]);
    expect(ids.length).toBe(6);
    // What no frames could hold is refused with the reason.
    const tooFew = await rejectionOf(reopened(second, { frames: 4 }));
    expect([tooFew.code, tooFew.details]).toEqual(['OP_TOO_LARGE', { frames: 5, share: 4 }]);
  });
});

describe('what replay is given', () => {
  it('is the captured cut: the blobs are as they were when the record was made', async () => {
    const opened = await openLogged();
    const [a = 0, b = 0] = change(opened.pool, { create: [1, 2] }).ids;
    await opened.pool.checkpoint();
    // A logical record: the second blob becomes what the first one is.
    const copies = (op: Op): void => {
      const from = op.read(a);
      const to = op.write(b);
      op.seal(1);
      to.bytes.set(from.bytes);
      op.commit(Uint8Array.of(1));
    };
    for (const value of [5, 6, 7]) {
      set(opened.pool, a, value);
      opened.pool.change(copies, { owner: 9 });
    }
    set(opened.pool, a, 8);
    opened.pool.durableSync(undefined, 'written');
    const disk = await crashed(opened);
    const seen: number[] = [];
    const owners = {
      0: new PlanOwner(),
      9: {
        replay(_: LogRecord, op: Op) {
          seen.push(op.read(a).bytes[0] as number);
          copies(op);
        },
      },
    };
    const { pool } = await openLogged({ disk, options: { owners } });
    expect([seen, valueAt(pool, a), valueAt(pool, b)]).toEqual([[5, 6, 7], 8, 7]);
    expect(errorOf(() => perform(pool.begin(), { create: [1, 1, 1, 1, 1, 1, 1, 1, 1] })).code).toBe(
      'OP_RESTART',
    );
  });

  it('opening twice gives the same files but for what opening writes itself', async () => {
    const opened = await openLogged();
    create(opened.pool, 1);
    opened.pool.durableSync(undefined, 'synced');
    const disk = await crashed(opened);
    const blobs = () => Buffer.from(imageOf(disk).get('blobs.dat') ?? []).toString('hex');
    const before = blobs();
    const owners = {};
    await rejectionOf(openLogged({ disk, options: { owners } }));
    expect(blobs()).toBe(before);
  });
});
