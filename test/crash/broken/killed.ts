/**
 * The product, broken in ways that a death of its process or of a thread shows, or a long life.
 *
 * What no kill can show is an acknowledgement as `synced` of what was only written: the operating
 * system outlives the process, and has everything. That takes a loss of power, simulated (`points`)
 * or real (`power`).
 */
import type { Patch } from '../../support/variant.ts';
import type { Broken } from './catching.ts';

/** Each has several lives, so that a build that loses something now and then is caught as well. */
const RUNS = 12;
const JOURNAL = 'src/wal/journal.ts';

/** A journal that says that records are written 20 ms before they are. */
export const ACKNOWLEDGE_EARLY: readonly Patch[] = [
  {
    file: JOURNAL,
    find: '      try {\n        this.#writer.append(',
    replace:
      '      memory.storeU64(H_LOG_WRITTEN, to);\n      memory.bump(H_LOG_WAKE);\n' +
      '      control.park(H_LOG_WAKE, memory.load(H_LOG_WAKE), 20);\n' +
      '      try {\n        this.#writer.append(',
  },
  {
    file: JOURNAL,
    find: '    let wrote = false;\n',
    replace:
      '    let wrote = false;\n    const memory = this.#memory;\n' +
      '    const control = this.#control;\n',
  },
];

/** A descriptor for each opening, a buffer for each change, and segments that nobody removes. */
const LEAKS: readonly Patch[] = [
  {
    file: 'src/store/file-backend.ts',
    find: '      await store.data?.close();\n',
    replace: '      await Promise.resolve();\n',
  },
  {
    file: 'src/txn/transactions.ts',
    find: '    this.#services.settle();\n    if (durability',
    replace:
      '    ((globalThis as unknown as { kept?: unknown[] }).kept ??= []).push(Buffer.alloc(16384, 1));\n' +
      '    this.#services.settle();\n    if (durability',
  },
  {
    file: 'src/wal/trim.ts',
    find: "  unlessGone('unlink', path, () => fs.unlink(path));\n",
    // Under a name that nobody knows, and eight times as large.
    replace:
      "  unlessGone('unlink', path, () => {\n" +
      "    fs.rename(path, path + '.kept');\n" +
      "    const fd = fs.open(path + '.kept', 2, 0);\n" +
      '    fs.truncate(fd, 256 * 1024);\n' +
      '    fs.close(fd);\n' +
      '  });\n',
  },
];

export const BROKEN_WHEN_KILLED: readonly Broken[] = [
  {
    title: 'W2D acknowledges as written what is not written yet',
    mode: 'kill',
    runs: RUNS,
    patches: ACKNOWLEDGE_EARLY,
  },
  {
    title: 'I2 trims the log before the commit of the round (race 13)',
    mode: 'kill',
    runs: RUNS,
    patches: [
      {
        file: 'src/checkpoint/round.ts',
        find: '      await this.writeThroughAsync(capture);\n',
        replace: '      this.trim(capture);\n      await this.writeThroughAsync(capture);\n',
      },
    ],
  },
  {
    title: 'I3 changes captured frames without an image of them (race 9)',
    mode: 'kill',
    runs: RUNS,
    patches: [
      {
        file: 'src/txn/op.ts',
        find: 'if (this.host.preserve(frame.index)) continue;',
        replace: "if (mode === 'write' || this.host.preserve(frame.index)) continue;",
      },
    ],
  },
  {
    title: 'G1 never gives back what a dead thread had',
    mode: 'terminate',
    runs: RUNS,
    patches: [
      {
        file: 'src/memory/reaper.ts',
        find: '    if (control.beginReap(slot, seen, threadId, tid, startTime) === BUSY) return;\n',
        replace:
          '    if (slot !== this.#me) return;\n' +
          '    if (control.beginReap(slot, seen, threadId, tid, startTime) === BUSY) return;\n',
      },
    ],
  },
  {
    title: 'keeps descriptors, memory and files for ever',
    mode: 'soak',
    runs: 1,
    patches: LEAKS,
  },
];
