/**
 * Naive variants of the product, by the race that each of them has. A test that runs a scenario on
 * one expects the scenario to fail.
 */
import type { Patch } from './scenario.ts';

const FRAMES = 'assembly/frames.ts';
const LATCH = 'assembly/latch.ts';
const MAPPING = 'assembly/mapping.ts';
const PAGE_TABLE = 'assembly/page-table.ts';
const RESIDENCY = 'src/pool/residency.ts';
const POOL = 'src/pool/pool.ts';
const STORE = 'src/store/mapped-store.ts';

function patch(file: string, find: string, replace: string): Patch {
  return { file, find, replace };
}

// --- eviction, pins, marks ---------------------------------------------------------------------

/** Race 2: the check is made some moments before the removal, and not again. */
export const CHECK_BEFORE_REMOVAL: readonly Patch[] = [
  patch(
    FRAMES,
    '|| !mayEvict(frame)) return false;\n',
    '|| !mayEvict(frame)) return false;\n  for (let n = 0; n < 40; n++) atomic.load<u64>(a + A_ID);\n',
  ),
  patch(FRAMES, 'if (mayEvict(frame) && (', 'if (('),
];

/** A pin that does not look again after it was added. */
export const PIN_WITHOUT_LOOK: readonly Patch[] = [
  patch(
    PAGE_TABLE,
    'if ((word & (LATCH_E | LATCH_G)) == 0 && atomic.load<u64>(a + A_ID) == id) {\n    if (counted',
    'if (word != 1) {\n    if (counted',
  ),
];

/** Race 3: latch and pin are given back before the dirty mark is published. */
export const MARK_AFTER_RELEASE: readonly Patch[] = [
  patch(PAGE_TABLE, '  if (seq != 0) markDirty(frame, seq);\n', ''),
  patch(POOL, '    this.#control.markDirty(index, SEQ_UNLOGGED);\n    return', '    return'),
  patch(
    'src/pool/guards.ts',
    'if (this.ownsPin) control.unpinExclusive(this.frame.index, me);',
    'if (this.ownsPin) {\n      control.unpinExclusive(this.frame.index, me);\n' +
      '      control.markDirty(this.frame.index, SEQ_UNLOGGED);\n    }',
  ),
];

export const EVICT_DIRTY: readonly Patch[] = [
  patch(FRAMES, 'atomic.load<u64>(b + B_DIRTY) == 0 &&', 'true &&'),
];

export const EVICT_PINNED: readonly Patch[] = [
  patch(
    FRAMES,
    'atomic.load<u64>(b + B_HOLDS) == 0 &&',
    'atomic.load<u64>(b + B_HOLDS) <= PIN_MASK &&',
  ),
];

// --- loading -----------------------------------------------------------------------------------

/** Race 7: no second look under the lock before a frame is published. */
export const PUBLISH_WITHOUT_LOOK: readonly Patch[] = [
  patch(PAGE_TABLE, 'const there = findExact(bucket, id);', 'const there: u32 = 0;'),
];

/** Race 8: the store is read before LOADING is published. */
export const READ_BEFORE_PUBLISH: readonly Patch[] = [
  patch(
    RESIDENCY,
    'const frame = this.obtainFrame();\n    const control = this.#control;',
    'const frame = this.obtainFrame();\n    this.#store.readFrame(id, this.#memory.frame(frame));\n' +
      '    const control = this.#control;',
  ),
  patch(
    RESIDENCY,
    'throw notFound(id);\n      this.#store.readFrame(id, this.#memory.frame(frame));',
    'throw notFound(id);',
  ),
];

/** Who waited for a load that failed reads for itself. */
export const FAILURE_NOT_SHARED: readonly Patch[] = [
  patch(
    FRAMES,
    'if (atomic.load<u64>(b + B_FAIL_VERSION) != failed) return 0;',
    'if (failed > 0) return 0;',
  ),
];

export const FAILURE_KEEPS_FRAME: readonly Patch[] = [
  patch(
    RESIDENCY,
    'this.#unmap(frame);\n      this.giveBack(frame);\n      throw failure;',
    'this.#unmap(frame);\n      throw failure;',
  ),
];

/** A prefetch claims the frame and leaves the reading to the event loop of its own thread. */
export const PREFETCH_ON_EVENT_LOOP: readonly Patch[] = [
  patch(
    'src/pool/prefetcher.ts',
    'for (const id of ids) checkBlobId(id);',
    `const { control, me, memory, residency, store } = this.#core;
    for (const id of ids) {
      const frame = residency.obtainFrame();
      control.publishLoading(id, frame, me, PARK_MS);
      setImmediate(() => {
        store.readFrame(id, memory.frame(frame));
        control.finishLoad(frame, me, PARK_MS);
        control.unpin(frame, me);
      });
    }
    void control.mapVersion();
    if (ids.length > 0) return new Promise((done) => setTimeout(done, 10));`,
  ),
];

/** Race 6: the frame is dropped first, the blob unmapped later. */
export const DROP_BEFORE_COMMIT: readonly Patch[] = [
  patch(
    POOL,
    'store.commit([], [id]);\n      residency.drop(id);',
    'residency.drop(id);\n      store.commit([], [id]);',
  ),
];

/** A cached image is refreshed without a pin: its frame may be given back meanwhile. */
export const REFRESH_WITHOUT_PIN: readonly Patch[] = [
  patch(
    RESIDENCY,
    'const frame = this.#pinInTable(id, false, false);\n      if (frame === MISS) return MISS;\n' +
      '      try {\n        if (this.acquireExclusive(frame, id) === OK) return frame;\n' +
      '      } finally {\n        this.#control.unpin(frame, this.#me);\n      }',
    `const frame = this.frameOf(id);
      if (frame === MISS) return MISS;
      const version = this.#control.movingVersion(frame, id);
      if (version >= 0) {
        this.#thread.wait(() => this.#control.waitMoved(frame, version, this.#me, PARK_MS));
        continue;
      }
      if (this.acquireExclusive(frame, id) !== OK) continue;
      if (this.#control.blobOf(frame) === id) return frame;
      this.#control.releaseExclusive(frame, this.#me);`,
  ),
];

// --- store slots -------------------------------------------------------------------------------

/** A slot is handed out although somebody is reading it. */
export const SLOT_WHILE_READ: readonly Patch[] = [
  patch(MAPPING, 'if (isRead(slot)) {', 'if (slot > 0xffff_fff0 && isRead(slot)) {'),
];

/** A slot that was passed over because it was read is forgotten. */
export const SLOT_FORGOTTEN: readonly Patch[] = [
  patch(MAPPING, 'skipped < slot ? skipped : slot + 1', 'slot + 1'),
];

/** The slot of a failed write is free again, while that write may still be on its way. */
export const SLOT_RETURNED: readonly Patch[] = [
  patch(
    STORE,
    "throw asWeirpoolError(error, 'not_applied');",
    "this.#thread.control.slotFree(slot);\n      throw asWeirpoolError(error, 'not_applied');",
  ),
];

/** Each thread keeps what it has once looked up. */
export const PRIVATE_MAPPING: readonly Patch[] = [
  patch(
    STORE,
    'lookup(id: BlobId): BlobMapping | undefined {\n',
    'lookup(id: BlobId): BlobMapping | undefined {\n' +
      '    const seen = ((this as any).seen ??= new Map());\n' +
      '    if (seen.has(id)) return seen.get(id);\n',
  ),
  patch(
    STORE,
    'return { id, slot: memory.f64[out] as number, checksum: memory.u64[out + 1] as bigint };',
    'const found = { id, slot: memory.f64[out], checksum: memory.u64[out + 1] };\n' +
      '    seen.set(id, found);\n    return found;',
  ),
];

export const NO_CHECKSUM: readonly Patch[] = [
  patch(STORE, 'if (checksum() === found.checksum) return;', 'return;'),
];

/** Race 16. */
export const SLOT_LEAK_ON_DELETE: readonly Patch[] = [
  patch(STORE, '[...mapped.map(({ id }) => id), ...deleted]', '[...mapped.map(({ id }) => id)]'),
];

export const SLOT_LEAK_ON_WRITE: readonly Patch[] = [
  patch(STORE, '[...mapped.map(({ id }) => id), ...deleted]', '[...deleted]'),
];

/** Race 16: each commit writes the whole manifest. */
export const MANIFEST_REWRITTEN: readonly Patch[] = [
  patch('src/store/manifest-log.ts', '!this.#isFull() || ', ''),
];

export const MANIFEST_ENDLESS: readonly Patch[] = [
  patch('src/store/manifest-log.ts', 'if (!this.#isFull() || ', 'if (!false || '),
];

// --- latches -----------------------------------------------------------------------------------

/** D1: who holds a latch waits all the same. */
export const WAITS_UNDER_LATCH: readonly Patch[] = [
  patch(LATCH, 'return load<u32>(slot + S_LATCHES) == 0 ? parkMs : 0;', 'return parkMs;'),
];

/** A thread waits for its own shared latch. */
export const WAITS_FOR_ITSELF: readonly Patch[] = [
  ...WAITS_UNDER_LATCH,
  patch(
    LATCH,
    'if (load<u32>(holdAt(me, frame) + HOLD_SHARED) != 0) return HELD;\n  const result = tryEx',
    'const result = tryEx',
  ),
];

/** A second shared latch of one thread queues up behind a pending writer. */
export const NESTED_READ_QUEUES: readonly Patch[] = [
  patch(
    LATCH,
    'if (load<u32>(holdAt(me, frame) + HOLD_SHARED) != 0) {\n    // A second',
    'if (load<u32>(holdAt(me, frame) + HOLD_SHARED) > 1000) {\n    // A second',
  ),
];

/** Race 26: readers join the others although a writer waits. */
export const READERS_PASS_WRITER: readonly Patch[] = [
  patch(
    LATCH,
    '  if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) {\n    addShared(frame, me);\n' +
      '    if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) return OK;',
    '  if ((atomic.load<u64>(a + A_WORD) & (LATCH_FLAGS ^ LATCH_P)) == 0) {\n' +
      '    addShared(frame, me);\n' +
      '    if ((atomic.load<u64>(a + A_WORD) & (LATCH_FLAGS ^ LATCH_P)) == 0) return OK;',
  ),
];

/** The same in the fast path of a read. */
export const FAST_READERS_PASS_WRITER: readonly Patch[] = [
  patch(
    PAGE_TABLE,
    '(atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0 &&',
    '(atomic.load<u64>(a + A_WORD) & (LATCH_X | LATCH_E | LATCH_G)) == 0 &&',
  ),
];

/** Race 26: a writer that spins until the latch is free. */
export const WRITER_SPINS: readonly Patch[] = [
  patch(
    LATCH,
    'const wake = registerWaiter(frame, me);\n  result = tryClaim(frame, me);\n' +
      '  if (result == BUSY) {\n    parkOnFrame(frame, me, wake, parkMs);',
    'const wake = registerWaiter(frame, me);\n  result = tryClaim(frame, me);\n' +
      '  if (result == BUSY) {\n    atomic.load<u32>(wake & 0xfffc);',
  ),
];

/** The word is looked at before the shared count is, and not again (half of Dekker's). */
export const SHARED_WITHOUT_LOOK: readonly Patch[] = [
  patch(
    LATCH,
    'if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0) return OK;\n    dropShared(frame, me);',
    'return OK;',
  ),
  patch(
    PAGE_TABLE,
    'if ((atomic.load<u64>(a + A_WORD) & LATCH_FLAGS) == 0 && atomic.load<u64>(a + A_ID) == id) {',
    'if ((atomic.load<u64>(a + A_WORD) & LATCH_E) == 0 && atomic.load<u64>(a + A_ID) == id) {',
  ),
];

export const EXCLUSIVE_BESIDE_READERS: readonly Patch[] = [
  patch(
    LATCH,
    'if ((word & LATCH_FLAGS) != 0 || sharedCount(frame) != 0) return false;',
    'if ((word & LATCH_FLAGS) != 0) return false;',
  ),
  patch(LATCH, 'if (sharedCount(frame) == 0) return true;', 'return true;'),
];

/** Another writer takes the latch away. */
export const EXCLUSIVE_BESIDE_WRITER: readonly Patch[] = [
  patch(
    LATCH,
    'if ((word & LATCH_FLAGS) != 0 || sharedCount(frame) != 0) return false;',
    'if ((word & (LATCH_FLAGS ^ LATCH_X)) != 0 || sharedCount(frame) != 0) return false;',
  ),
];

export const UPGRADE_BESIDE_READERS: readonly Patch[] = [
  patch(
    LATCH,
    'if (sharedCount(frame) != 0) {\n    atomic.store<u64>(a + A_WORD, free);',
    'if (me > 1000) {\n    atomic.store<u64>(a + A_WORD, free);',
  ),
];

/** An upgrade that takes the latch whatever has happened since the look. */
export const UPGRADE_WITHOUT_VERSION: readonly Patch[] = [
  patch(
    LATCH,
    'const free = (<u64>version) << VERSION_SHIFT;',
    'const free = versionOf(atomic.load<u64>(a + A_WORD)) | <u64>(version < 0);',
  ),
];

// --- optimistic reads --------------------------------------------------------------------------

/** I5: the version stays when the frame changes its blob. */
export const VERSION_STAYS_ON_REUSE: readonly Patch[] = [
  patch(
    PAGE_TABLE,
    'nextVersion(word) | (word & ~versionOf(word))',
    'versionOf(word) | (word & ~versionOf(word)) | (nextVersion(word) & 0)',
  ),
  patch(
    FRAMES,
    'nextVersion(atomic.load<u64>(a + A_WORD)) | LATCH_X | LATCH_E',
    'versionOf(atomic.load<u64>(a + A_WORD)) | LATCH_X | LATCH_E',
  ),
  patch(
    FRAMES,
    'atomic.store<u64>(a + A_WORD, nextVersion(atomic.load<u64>(a + A_WORD)));\n  count(',
    'atomic.store<u64>(a + A_WORD, versionOf(atomic.load<u64>(a + A_WORD)));\n  count(',
  ),
];

/** I5: the version stays when an exclusive latch is released. */
export const VERSION_STAYS_ON_RELEASE: readonly Patch[] = [
  patch(
    LATCH,
    'atomic.store<u64>(a + A_WORD, nextVersion(word));',
    'atomic.store<u64>(a + A_WORD, nextVersion(word) - nextVersion(0));',
  ),
];

export const ALWAYS_VALID: readonly Patch[] = [
  patch(
    LATCH,
    'return (word & ~(LATCH_P | OWNER_MASK)) == (<u64>version) << VERSION_SHIFT;',
    'return (word & ~(LATCH_P | OWNER_MASK)) != 1 || version < 0;',
  ),
];

/** Validation compares versions and does not care for a writer who is not done. */
export const VALID_BESIDE_WRITER: readonly Patch[] = [
  patch(LATCH, 'return (word & ~(LATCH_P | OWNER_MASK)) ==', 'return versionOf(word) =='),
];

const CAUGHT = 'if (control.validate(index, version) !== 0) throw error;';

/** An exception over torn bytes reaches the caller. */
export const TORN_EXCEPTION: readonly Patch[] = [
  patch(
    POOL,
    `${CAUGHT}\n      }\n      this.#core.noteRestart();\n    }\n    return this.#readPinned`,
    'throw error;\n      }\n      this.#core.noteRestart();\n    }\n    return this.#readPinned',
  ),
];

export const TORN_EXCEPTION_IN_TRY: readonly Patch[] = [
  patch(
    POOL,
    `${CAUGHT}\n    }\n    this.#core.noteRestart();\n    return RESTART;`,
    'throw error;\n    }\n    this.#core.noteRestart();\n    return RESTART;',
  ),
];

export const TORN_EXCEPTION_ON_SLOW_WAY: readonly Patch[] = [
  patch(POOL, 'if (control.validate(frame.index, version) !== 0) throw error;', 'throw error;'),
];

// --- hits --------------------------------------------------------------------------------------

const HIT = '      count(slot, S_HITS, 1);\n      return <i32>(ref - 1);';

/** Race 27: one counter for all threads. */
export const SHARED_HIT_COUNTER: readonly Patch[] = [
  patch(PAGE_TABLE, HIT, `      atomic.add<u32>(1020, 1);\n${HIT}`),
];

/** Race 27: each hit stores the time of a clock. */
export const RECENCY_ALWAYS_STORED: readonly Patch[] = [
  patch(
    PAGE_TABLE,
    'if (recency < RECENCY_MAX) store<u32>(a + A_RECENCY, recency + 1);',
    'store<u32>(a + A_RECENCY, recency < RECENCY_MAX ? recency + 1 : RECENCY_MAX);',
  ),
];

/** A hit that pins the frame while it looks at it. */
export const HIT_PINS: readonly Patch[] = [
  patch(PAGE_TABLE, HIT, `      addPin(ref - 1, me);\n      dropPin(ref - 1, me);\n${HIT}`),
];

// --- two processes -----------------------------------------------------------------------------

const LOCK = 'src/store/directory-lock.ts';

/** Race 24: nobody looks whether the directory is in use. */
export const NO_DIRECTORY_LOCK: readonly Patch[] = [
  patch(
    LOCK,
    "if (socket === 'taken') throw contender.refusal(contender.anyHeld());\n" +
      "    const closeSocket = socket === 'unsupported' ?",
    "const closeSocket = socket === 'taken' || socket === 'unsupported' ?",
  ),
  patch(LOCK, 'if (counts) return', 'if (counts && withSocket === undefined) return'),
];

/** A lock file that is there means that the directory is in use, whoever wrote it. */
export const DEAD_HOLDER_COUNTS: readonly Patch[] = [patch(LOCK, 'if (counts) return', 'return')];

export const REFUSAL_WITHOUT_PID: readonly Patch[] = [
  patch(LOCK, '{ path: this.#directory, pid, host }', '{ path: this.#directory, pid: 0, host }'),
];
