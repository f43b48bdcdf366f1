/**
 * Naive variants of what a log adds to the product: mini-transactions, rounds, group commit. As in
 * race-variants.ts, by the race that each of them has.
 */
import { WAITS_FOR_ITSELF } from './race-variants.ts';
import type { Patch } from './scenario.ts';

const DIRTY = 'assembly/dirty.ts';
const GATE = 'assembly/gate.ts';
const CHECKPOINTER = 'src/service/checkpointer.ts';
const JOURNAL = 'src/wal/journal.ts';
const OP = 'src/txn/op.ts';
const ROUND = 'src/checkpoint/round.ts';
const TRANSACTIONS = 'src/txn/transactions.ts';

function patch(file: string, find: string, replace: string): Patch {
  return { file, find, replace };
}

// --- rounds --------------------------------------------------------------------------------------

/** Race 1: the dirty set is drained, and what is being written looks clean. */
export const CAPTURED_LOOKS_CLEAN: readonly Patch[] = [
  patch(DIRTY, '    atomic.store<u64>(b + B_FLUSHING, seq);\n', ''),
];

/** Race 9: what was captured may be changed before it is copied. */
export const CHANGES_BEFORE_COPY: readonly Patch[] = [
  patch(OP, 'if (this.host.preserve(frame.index)) continue;', 'if (frame.index >= 0) continue;'),
];

/** Race 9: the capture does not wait for those who are in the middle of a change. */
export const CAPTURE_AMONG_CHANGES: readonly Patch[] = [
  patch(
    ROUND,
    '    this.#closeGate();\n    try {\n      const round',
    '    this.#control.gateClose();\n    try {\n      const round',
  ),
];

/** W2D: images are written whether their records are safe or not. */
export const IMAGES_BEFORE_LOG: readonly Patch[] = [
  patch(
    ROUND,
    '      this.logFirst(capture);\n      await this.writeThroughAsync',
    '      await this.writeThroughAsync',
  ),
];

/** Race 12: a round begins while another one is on its way. */
export const ROUNDS_OVERLAP: readonly Patch[] = [
  patch(
    CHECKPOINTER,
    'await checkpointer.run();',
    'void checkpointer.run();\n      await new Promise((done) => setTimeout(done, 5));',
  ),
];

/** Race 13: the log goes while the images are written. */
export const TRIM_BEFORE_WRITE: readonly Patch[] = [
  patch(
    ROUND,
    '      await this.writeThroughAsync(capture);\n',
    '      this.trim(capture);\n      await this.writeThroughAsync(capture);\n',
  ),
];

/** Race 13: the log goes between the writes and their commit. */
export const TRIM_BEFORE_COMMIT: readonly Patch[] = [
  patch(
    ROUND,
    '    const deletes = this.commit(capture);\n    this.trim(capture);\n',
    '    this.trim(capture);\n    const deletes = this.commit(capture);\n',
  ),
];

/** The image that was preserved for a round that has failed is the next one's. */
export const IMAGES_OF_FAILED_ROUND: readonly Patch[] = [
  patch(
    ROUND,
    '    let staging = this.#control.stagingNext(0);\n    while (staging !== NONE) {',
    '    let staging: number = NONE;\n    while (staging !== NONE) {',
  ),
  patch(
    ROUND,
    'if (preserved !== NONE) return preserved;',
    `if (preserved !== NONE) {
      const frame = this.#control.stagingFrame(preserved);
      this.#uncopied = this.#uncopied.filter((at) => this.#control.captureFrame(at) !== frame);
      return preserved;
    }`,
  ),
];

// --- mini-transactions -----------------------------------------------------------------------------

/** Of the frames that an op lacks only the first is waited for. */
export const WAITS_FOR_ONE_FRAME: readonly Patch[] = [
  patch(
    'src/pool/residency.ts',
    'this.#spares.push(frame === NONE ? this.#waitForFrame() : frame);',
    'if (frame === NONE && this.#spares.length > 0) return;\n        ' +
      'this.#spares.push(frame === NONE ? this.#waitForFrame() : frame);',
  ),
];

/** What an op lacks, frame, credit or room in the log, is waited for inside the gate. */
export const WAITS_INSIDE_GATE: readonly Patch[] = [
  patch(
    TRANSACTIONS,
    'if (this.#want !== undefined) this.#awaitWanted(record !== undefined);',
    `if (this.#want?.kind === 'ids') this.#awaitWanted(record !== undefined);
    if (this.#want !== undefined) {
      this.control.gateEnter(this.me);
      this.#awaitWanted(record !== undefined);
      this.control.gateLeave(this.me);
    }`,
  ),
];

export const WAITS_FOR_BACKLOG_INSIDE_GATE: readonly Patch[] = [
  patch(
    TRANSACTIONS,
    '    this.#rounds.waitSync(() => this.control.opBegin(this.me) === OK);',
    `    this.control.gateEnter(this.me);
    this.#rounds.waitSync(() => this.control.opBegin(this.me) === OK);
    this.control.gateLeave(this.me);`,
  ),
];

/** The same for a staging frame, with what was acquired. */
export const WAITS_FOR_STAGING_INSIDE_GATE: readonly Patch[] = [
  patch(
    OP,
    'if (this.host.preserve(frame.index)) continue;\n',
    'while (!this.host.preserve(frame.index)) control.park(0, 0, 5);\n' +
      '      if (frame.index >= 0) continue;\n',
  ),
];

/** What an op has changed is there for others before its record has its place in the log. */
export const RELEASE_BEFORE_APPEND: readonly Patch[] = [
  patch(
    OP,
    'const mark = this.append(record, deleted);',
    `for (const { mode, frame } of this.blobs) {
      if (mode === 'write') this.host.control.releaseExclusive(frame.index, this.host.me);
    }
    const mark = this.append(record, deleted);`,
  ),
  patch(
    OP,
    'if (this.host.control.commitFrame(frame.index, this.host.me, seq) !== 0) {',
    `const wasClean = this.host.control.markDirty(frame.index, seq);
        this.host.control.unpin(frame.index, this.host.me);
        if (wasClean !== 0) {`,
  ),
];

/** A second op of one thread begins inside the first. */
export const NESTED_OPS: readonly Patch[] = [
  patch(TRANSACTIONS, '    this.assertNone();\n    const result', '    const result'),
];

/** An op begins although its thread holds a latch, and waits for itself. */
export const BEGINS_UNDER_LATCH: readonly Patch[] = [
  ...WAITS_FOR_ITSELF,
  patch(GATE, '  if (load<u32>(slotAt(me) + S_LATCHES) != 0) return HELD;\n', ''),
];

// --- group commit ----------------------------------------------------------------------------------

/** Race 22: what was reserved counts, whether it is published or not. */
export const ACKNOWLEDGES_BY_TAIL: readonly Patch[] = [
  patch(
    JOURNAL,
    'const to = this.#control.ringPublished(from, GROUP_BYTES_MAX);',
    'const to = this.#memory.loadU64(H_LOG_TAIL);',
  ),
];
