/**
 * The product, broken in ways that systems of this kind were broken in; each must be caught on a
 * simulated disk.
 */
import type { Broken } from './catching.ts';

const POINTS = { mode: 'points', subject: 'pool' } as const;
const FAULTS = { mode: 'faults', subject: 'pool' } as const;

const ROUND = 'src/checkpoint/round.ts';
const JOURNAL = 'src/wal/journal.ts';
const OP = 'src/txn/op.ts';
const REPLAY = 'src/recovery/replay.ts';
const WRITER = 'src/wal/segment-writer.ts';
const STORE = 'src/store/mapped-store.ts';
const DIRTY = 'assembly/dirty.ts';
const MANIFEST = 'src/store/manifest-log.ts';
const DURABILITY = 'src/wal/durability.ts';

export const BROKEN_ON_SIMULATED_DISKS: readonly Broken[] = [
  {
    title: 'W2D commits a manifest before the slots that it names are synced',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: '    if (this.#mapped.length > 0) store.sync();\n',
        replace: '',
      },
    ],
  },
  {
    title: 'W2D acknowledges as synced what is only written',
    ...POINTS,
    patches: [
      {
        file: JOURNAL,
        find: 'this.#memory.storeU64(H_LOG_DURABLE, this.#writer.sync());',
        replace: 'this.#memory.storeU64(H_LOG_DURABLE, this.#writer.writtenSeq);',
      },
    ],
  },
  {
    title: 'W2D writes blobs before the log is durable up to S',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: '      this.logFirst(capture);\n      this.writeThrough(capture);',
        replace: '      this.writeThrough(capture);',
      },
    ],
  },
  {
    title: '13 trims the log before the manifest is durable',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: '    const deletes = this.commit(capture);\n    this.trim(capture);',
        replace: '    this.trim(capture);\n    const deletes = this.commit(capture);',
      },
    ],
  },
  {
    title: 'I2 trims the log up to what is durable, beyond the cut',
    ...POINTS,
    seed: 1_046_715_501,
    patches: [
      {
        file: ROUND,
        find: 'this.#memory.raiseU64(H_TRIM_SEQ, seq);',
        replace:
          'this.#memory.raiseU64(H_TRIM_SEQ, Math.max(seq, this.#memory.loadU64(H_LOG_DURABLE)));',
      },
    ],
  },
  {
    title: '4 retires a frame although it was changed again',
    ...POINTS,
    patches: [
      {
        file: DIRTY,
        find: '  const seq = load<u64>(captureAt(index), 8);\n  return atomic.cmpxchg',
        replace:
          '  const seq = load<u64>(captureAt(index), 8);\n  clearDirty(captureFrame(index));\n  return atomic.cmpxchg',
      },
    ],
  },
  {
    title: '1 drains the dirty set, so that a captured frame looks clean',
    ...POINTS,
    patches: [
      {
        file: DIRTY,
        find: '    atomic.store<u64>(b + B_FLUSHING, seq);\n    atomic.store<u64>(b + B_CAPTURED, mark);',
        replace: '    atomic.store<u64>(b + B_CAPTURED, mark);',
      },
    ],
  },
  {
    title: '9 changes a captured frame before its image is copied',
    ...POINTS,
    patches: [
      {
        file: OP,
        find: 'if (control.capturedBy(frame.index) === 0) continue;',
        replace: 'if (control.capturedBy(frame.index) >= 0) continue;',
      },
    ],
  },
  {
    title: '11 lets deletes reach the mapping before the round has succeeded',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: '      this.writeThrough(capture);\n',
        replace: `      const store = this.#store;
      const gone = this.#deletedUpTo(capture.seq).filter((id) => store.lookup(id) !== undefined);
      store.exclusively(() =>
        store.commitSynced({ mapped: [], deleted: gone, nextBlobId: store.leaseEnd }),
      );
      this.writeThrough(capture);
`,
      },
    ],
  },
  {
    title: 'I3 commits deletes that came after the capture',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: 'const deleted = this.#deletedUpTo(capture.seq);',
        replace: 'const deleted = this.#deletedUpTo(Number.MAX_SAFE_INTEGER);',
      },
    ],
  },
  {
    title: 'I3 takes S when it commits, not when it captures',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: 'checkpointSeq: capture.seq,',
        replace: 'checkpointSeq: this.#memory.loadU64(H_LOG_TAIL),',
      },
    ],
  },
  {
    title: 'I3 leaves the roots out of the cut',
    ...POINTS,
    patches: [{ file: ROUND, find: 'roots: capture.roots,', replace: 'roots: new Map(),' }],
  },
  {
    title: '25 replays a record twice',
    ...POINTS,
    patches: [
      {
        file: REPLAY,
        find: '      this.#replay(record, transactions);\n',
        replace:
          '      this.#replay(record, transactions);\n      if (this.replayed === 1) this.#replay(record, transactions);\n',
      },
    ],
  },
  {
    title: 'R1 appends to the log again what it replays',
    ...POINTS,
    patches: [
      {
        file: REPLAY,
        find: "import type { LogRecord } from '../wal/format.ts';",
        replace: "import { encodeRecord, type LogRecord } from '../wal/format.ts';",
      },
      {
        file: REPLAY,
        find: '    this.replayed++;\n',
        replace: '    this.replayed++;\n    this.again.push(record);\n',
      },
      {
        file: REPLAY,
        find: '  replayed = 0;\n',
        replace: '  replayed = 0;\n  readonly again: LogRecord[] = [];\n',
      },
      {
        file: REPLAY,
        find: '  finish(): LogWriter {\n    const writer = this.writer();\n',
        replace: `  finish(): LogWriter {
    const writer = this.writer();
    const { sums, storeId, epoch } = this.#parts.writerParts;
    const seed = sums.seed(storeId, epoch);
    for (const record of this.again) {
      const bytes = encodeRecord(sums, seed, record, writer.writtenSeq);
      writer.append([bytes], writer.writtenSeq);
    }
`,
      },
    ],
  },
  {
    title: '20 starts its seqs again where the log ends',
    ...POINTS,
    patches: [
      {
        file: WRITER,
        find: 'first ? 0 : end.writtenBelow + RING_BYTES_MAX',
        replace: 'first ? 0 : end.place.seq',
      },
    ],
  },
  {
    title: 'hands out ids that no manifest has reserved',
    ...POINTS,
    patches: [
      {
        file: STORE,
        find: '      if (Number(id) >= memory.loadU64(H_LEASE_END)) return undefined;\n',
        replace: '',
      },
    ],
  },
  {
    title: 'I6 gives the old slot back before the commit',
    ...POINTS,
    patches: [
      {
        file: ROUND,
        find: 'this.#slots = this.#store.exclusively(() => this.#store.takeSlots(frames));',
        replace: `for (let index = 0; index < frames; index++) {
      const at = this.#store.lookup(this.#control.captureId(index));
      if (at !== undefined) this.#control.slotFree(at.slot);
    }
    this.#slots = this.#store.exclusively(() => this.#store.takeSlots(frames));`,
      },
    ],
  },
  {
    title: 'takes an image that was preserved for a failed round',
    ...FAULTS,
    runs: 1,
    tries: 12,
    seed: 385_794_585,
    patches: [
      {
        file: ROUND,
        find: '  #discardImages(): void {\n',
        replace: '  #discardImages(): void {\n    if (this.#phase >= 0) return;\n',
      },
    ],
  },
  {
    title: 'I1 forgets what a failed round has captured',
    ...FAULTS,
    patches: [
      {
        file: ROUND,
        find: 'for (let index = 0; index < frames; index++) this.#control.restore(index);',
        replace: 'for (let index = 0; index < frames; index++) this.#control.retire(index);',
      },
    ],
  },
  {
    title: 'syncs the log again after a sync of it has failed',
    ...FAULTS,
    seed: 298_921_864,
    patches: [
      {
        file: WRITER,
        find: '    } catch (error) {\n      this.#stopped = true;\n      throw ioError(',
        replace: '    } catch (error) {\n      throw ioError(',
      },
    ],
  },
  {
    title: 'lets a round wait for ever for a log that cannot be written',
    ...FAULTS,
    // A disk that is full.
    run: 1,
    tries: 12,
    seed: 382_474_528,
    patches: [
      {
        file: ROUND,
        find: "      assertLogWritable(memory, since, this.#logWaitMs, 'The round is put off.');\n",
        replace: '',
      },
    ],
  },
  {
    title: '19 leaves in the manifest what it says was not applied',
    ...FAULTS,
    // Writes that fail after their effect.
    run: 8,
    tries: 6,
    seed: 251_057_268,
    patches: [
      {
        file: MANIFEST,
        find: '      fs.truncate(fd, logEnd);\n      fs.syncData(fd);\n',
        replace: '',
      },
    ],
  },
  {
    title: 'cuts a record off the manifest, but not durably',
    ...FAULTS,
    // Writes that fail after their effect.
    run: 8,
    seed: 786_810_378,
    tries: 40,
    patches: [
      {
        file: MANIFEST,
        find: '      fs.truncate(fd, logEnd);\n      fs.syncData(fd);\n',
        replace: '      fs.truncate(fd, logEnd);\n',
      },
    ],
  },
  {
    title: 'trusts a tail of the log whose sync has failed before',
    ...FAULTS,
    seed: 381_823_954,
    patches: [
      {
        file: WRITER,
        find: '        writeFully(fs, { fd, path, position: unsynced.from }, bytes);\n',
        replace: '',
      },
    ],
  },
  {
    title: 'waits until a record is written when it is to be synced',
    ...POINTS,
    subject: 'tree',
    patches: [
      {
        file: DURABILITY,
        find: "const synced = level === 'synced';",
        replace: "const synced = level === 'none';",
      },
    ],
  },
  {
    title: 'W2D a wait that has failed denies a change that was made',
    ...FAULTS,
    subject: 'tree',
    // A disk that is full.
    run: 5,
    tries: 6,
    patches: [
      {
        file: DURABILITY,
        find: "this.#waitMs, then, 'unknown');",
        replace: 'this.#waitMs, then);',
      },
    ],
  },
  {
    title: '19 writes what is left of a group behind the part that was written before it failed',
    ...FAULTS,
    patches: [
      {
        file: WRITER,
        find: '        this.#write(group, viewsFrom(views, done, fitting), fitting);',
        replace:
          '        this.#offset += groupBytes(fitting);\n        this.#write(group, viewsFrom(views, done, fitting), fitting);',
      },
    ],
  },
];
