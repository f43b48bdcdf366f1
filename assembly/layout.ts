/**
 * Layout of the control memory: the only home of offsets, sizes, bit fields, states and codes.
 *
 * Owns:        the address plan. Every region starts at a constant address, so no kernel has to
 *              load a base; what a small pool does not use is never touched and costs nothing.
 * Threads:     read by all of them; the numbers never change while a pool lives.
 * Source:      exported by the module; the build writes the TypeScript copy out of the compiled
 *              module, and every thread compares both when it attaches.
 *
 *   0           header, one cache line for each group of fields
 *   4 KiB       locks, one cache line each: shards, replacement, commit
 *   64 KiB      thread slots, 512 bytes each
 *   128 KiB     descriptors A (64 bytes a frame): what readers only read
 *   + 4 MiB     descriptors B (64 bytes a frame): what is written with read-modify-write
 *   + 4 MiB     page table: bucket heads, u32
 *   + 512 KiB   prefetch ring
 *   + 64 KiB    ghost table: ids that were evicted lately
 *   + 512 KiB   pending deletes, roots, staging entries, the captured frames, snapshots
 *   + 2.6 MiB   hold table: for each thread slot and frame the pins and shared latches it has
 *   + 60 MiB    slot bitmap, mapping, spans of slots, ring of the log; sized when the pool is opened
 */

/** Raised with every change of an offset, a bit or the meaning of a code. */
export const ABI_VERSION: u32 = 4;
export const MAGIC: u32 = 0x57_45_49_52; // "WEIR"

export const FRAMES_MAX: u32 = 65536;
export const SLOTS_MAX: u32 = 120;
export const SHARDS_MAX: u32 = 64;
export const LINE: u32 = 64;

// --- header ---------------------------------------------------------------------------------

export const H_MAGIC: u32 = 0;
export const H_ABI: u32 = 4;
export const H_FRAMES: u32 = 8;
export const H_BLOB_BYTES: u32 = 12;
/** 64 - log2(bucket count): the shift that turns a hashed id into its bucket. */
export const H_BUCKET_SHIFT: u32 = 16;
/** Shard count - 1. */
export const H_SHARD_MASK: u32 = 20;
/** Mapping capacity - 1; the capacity is a power of two. */
export const H_MAP_MASK: u32 = 24;
export const H_MAP_BASE: u32 = 28;
/** Store slots that the bitmap can name. */
export const H_STORE_SLOTS: u32 = 32;
/** Buckets of the ghost table: a quarter of the frames, at least 1. */
export const H_GHOST_BUCKETS: u32 = 36;
/** Frames that the small queue may fill before victims are taken from it. */
export const H_SMALL_TARGET: u32 = 40;

/** Thread slot + 1 of the opener: with it die the store's lock and the services. */
export const H_OPENER: u32 = 44;
/** Where the spans of the store slots begin, one SPAN_ENTRY for each slot. */
export const H_SPAN_BASE: u32 = 48;

/** One of STATUS_*; anything but STATUS_OPEN stops every operation. Own line: read on each hit. */
export const H_STATUS: u32 = 64;
/** Threads that are parked until some frame can be evicted; read on each last unpin. */
export const H_FRAME_WAITERS: u32 = 68;

/** Bumped and notified when a frame may have become evictable. */
export const H_FRAME_WAKE: u32 = 128;
/** Bumped and notified when the opener has something to look at: poison, a loader to start. */
export const H_DOORBELL: u32 = 132;
/** u64: the next id that `allocate` hands out. */
export const H_NEXT_ID: u32 = 192;
/** u64: first id that is not covered by the lease in the manifest. */
export const H_LEASE_END: u32 = 200;

// Replacement, guarded by the replacement lock. Frame references are index + 1, 0 is none.
export const H_FREE_HEAD: u32 = 256;
export const H_FREE_COUNT: u32 = 260;
/** Two lists, QUEUE_SMALL and QUEUE_MAIN, each with head, tail and count. */
export const H_QUEUES: u32 = 272;
export const QUEUE_BYTES: u32 = 16;
export const Q_HEAD: u32 = 0;
export const Q_TAIL: u32 = 4;
export const Q_COUNT: u32 = 8;
export const QUEUE_SMALL: u32 = 1;
export const QUEUE_MAIN: u32 = 2;

// Mapping and store slots, written under the commit lock.
/** Seqlock of the mapping: odd while a commit is being published. */
export const H_MAP_VERSION: u32 = 320;
export const H_MAP_COUNT: u32 = 324;
export const H_SLOT_HINT: u32 = 332;
export const H_SLOTS_USED: u32 = 336;
/** Slots that no mapping names any more and that are kept for snapshots; used ones among them. */
export const H_SLOTS_KEPT: u32 = 340;
/** Not 0 when a snapshot has ended since kept slots were looked at. */
export const H_SNAPSHOT_ENDED: u32 = 344;
/** Entries of the table of snapshots that may be in use: the highest one + 1. */
export const H_SNAPSHOTS_HIGH: u32 = 348;
/** u64: number of the last committed manifest record. */
export const H_COMMIT_NUMBER: u32 = 352;

// Prefetch ring, producers under the prefetch lock, one consumer.
export const H_PREFETCH_HEAD: u32 = 384;
export const H_PREFETCH_TAIL: u32 = 388;
export const H_PREFETCH_WAKE: u32 = 392;
/** Thread slot + 1 of the loader thread, 0 while none runs. */
export const H_LOADER: u32 = 396;

// Cause of the poison: code, then UTF-8 text, written once by the thread that set the status.
export const H_POISON_CODE: u32 = 448;
export const H_POISON_BYTES: u32 = 452;
export const H_POISON_TEXT: u32 = 512;
export const POISON_TEXT_MAX: u32 = 512;

// The log: what is set once.
/** Address of the ring, 0 for a pool without a log. */
export const H_RING: u32 = 1024;
/** Bytes of the ring - 1; a power of two. */
export const H_RING_MASK: u32 = 1028;
/** Frame index of the first staging frame, and how many there are. */
export const H_STAGING_FIRST: u32 = 1032;
export const H_STAGING_COUNT: u32 = 1036;
/** f64: what ties the sums of records to store and opening. */
export const H_RECORD_SEED: u32 = 1040;
/** f64: log bytes above the checkpoint seq at which writers wait for a round. */
export const H_LOG_BOUND: u32 = 1048;
/** f64: log bytes above the checkpoint seq at which a round is asked for. */
export const H_LOG_TRIGGER: u32 = 1056;
/** Dirty frames at which a round is asked for. */
export const H_DIRTY_TRIGGER: u32 = 1064;

/** u64: where the next record begins. */
export const H_LOG_TAIL: u32 = 1088;
/** u64: the tail and all credit that was given: at most the ring's size above H_LOG_CONSUMED. */
export const H_LOG_TAKEN: u32 = 1152;
/** u64: everything below was written, and its place in the ring is zero again. */
export const H_LOG_CONSUMED: u32 = 1216;
/** u64 seqs: handed to the operating system; survives power loss; contained in the store. */
export const H_LOG_WRITTEN: u32 = 1224;
export const H_LOG_DURABLE: u32 = 1232;
export const H_CHECKPOINT_SEQ: u32 = 1240;
/** u64: the backlog of the log counts from here, see `backlog`. */
export const H_LOG_BASE: u32 = 1248;
/** u64: bytes of all segments, with the spare. */
export const H_LOG_DISK_BYTES: u32 = 1256;

/** Bumped and notified when credit was given back. */
export const H_CREDIT_WAKE: u32 = 1280;

/** Bumped and notified when the journal worker has something to do. */
export const H_JOURNAL_WAKE: u32 = 1344;
/** Not 0 while the journal worker is parked or about to park. */
export const H_JOURNAL_PARKED: u32 = 1348;
/** Thread slots + 1 of the journal worker and of the checkpointer: the pool does not outlive them. */
export const H_JOURNAL: u32 = 1352;
export const H_CHECKPOINTER: u32 = 1356;

/** u64 seqs up to which somebody waits, and up to which the log may be trimmed. */
export const H_WANT_WRITTEN: u32 = 1408;
export const H_WANT_DURABLE: u32 = 1416;
export const H_TRIM_SEQ: u32 = 1424;

/** Bumped and notified when the written or the durable seq has moved, or writing fails. */
export const H_LOG_WAKE: u32 = 1472;
/** Error code + 1 while the log cannot be written (a full disk); 0 when it can. */
export const H_LOG_FAILING: u32 = 1480;
/** Not 0 while the log's files have room for what lies in the ring and no more: no credit then. */
export const H_LOG_TIGHT: u32 = 1484;

/** Not 0 while the gate is closed or closing. */
export const H_GATE: u32 = 1536;
/** Bumped and notified when a thread leaves a gate that is closing. */
export const H_GATE_WAKE: u32 = 1540;

/** Frames whose dirty seq is not 0. */
export const H_DIRTY_COUNT: u32 = 1600;
/** Blobs that were created and that the mapping does not name yet. */
export const H_CREATED: u32 = 1604;

/** u64: number of the round that is running or ran last. */
export const H_ROUND: u32 = 1664;
/** Tickets: the last one that was drawn, done with (whatever came of it), done with success. */
export const H_ROUND_WANTED: u32 = 1672;
export const H_ROUND_DONE: u32 = 1676;
export const H_ROUND_OK: u32 = 1680;
/** Bumped and notified when the checkpointer has something to do; when a round has ended. */
export const H_ROUND_WAKE: u32 = 1684;
export const H_ROUND_ENDED: u32 = 1688;
/** Bumped and notified when a staging frame is free. */
export const H_STAGING_WAKE: u32 = 1692;
/** 0 between rounds, else the phase, 1 to 8. */
export const H_ROUND_PHASE: u32 = 1700;
/** Tells journal worker and checkpointer to end: SERVICES_*. */
export const H_SERVICES: u32 = 1704;
export const SERVICES_RUN: u32 = 0;
export const SERVICES_STOP: u32 = 1;

/** u64 counters of rounds, then f64 figures of the last one. */
export const H_ROUNDS_ATTEMPTED: u32 = 1728;
export const H_ROUNDS_SUCCEEDED: u32 = 1736;
export const H_ROUNDS_FAILED: u32 = 1744;
export const H_ROUNDS_BYTES: u32 = 1752;
/** Frames that were captured by the last round that succeeded, and its deletes. */
export const H_ROUND_FRAMES: u32 = 1760;
export const H_ROUND_DELETES: u32 = 1764;
/** f64 ms of the phases 1 to 8 of the last round. */
export const H_ROUND_MS: u32 = 1768;
export const ROUND_PHASES: u32 = 8;

/** Why the last round failed, and why the log cannot be written: code + 1, bytes, UTF-8 text. */
export const H_ROUND_ERROR: u32 = 1856;
export const H_LOG_ERROR: u32 = 2176;
export const ERROR_CODE_MARK: u32 = 0;
export const ERROR_BYTES: u32 = 4;
export const ERROR_TEXT: u32 = 8;
export const ERROR_TEXT_MAX: u32 = 304;

/** Pending deletes in the table; roots in theirs. */
export const H_DELETES: u32 = 2496;
export const H_ROOTS: u32 = 2500;
/** u64 ms: `Date.now()` when the pool was opened; ages of dirty frames count from it. */
export const H_OPENED_AT: u32 = 2504;

export const STATUS_OPEN: u32 = 0;
export const STATUS_OPENING: u32 = 1;
export const STATUS_CLOSING: u32 = 2;
export const STATUS_CLOSED: u32 = 3;
export const STATUS_POISONED: u32 = 4;

// --- locks ----------------------------------------------------------------------------------

/** Lock word: holder's slot + 1 in the low half, LOCK_WAITED when somebody parks. */
export const LOCKS: u32 = 4096;
export const LOCK_WAITED: u32 = 0x8000_0000;
export const LOCK_REPLACEMENT: u32 = LOCKS + SHARDS_MAX * LINE;
export const LOCK_COMMIT: u32 = LOCK_REPLACEMENT + LINE;
export const LOCK_PREFETCH: u32 = LOCK_COMMIT + LINE;
/** Pending deletes and new roots. */
export const LOCK_PENDING: u32 = LOCK_PREFETCH + LINE;
export const LOCKS_END: u32 = LOCK_PENDING + LINE;

// --- thread slots ---------------------------------------------------------------------------

export const SLOTS: u32 = 65536;
export const SLOT_BYTES: u32 = 512;
/**
 * generation << 8 | SLOT_*. The generation moves each time the slot is given up, so that nobody
 * reaps a new thread for an old one's death.
 */
export const S_STATE: u32 = 0;
/** Linux task id and start time (clock ticks since boot); 0 where the platform has none. */
export const S_TID: u32 = 8;
/** `threadId` of node:worker_threads, for the exit event. */
export const S_NODE_THREAD: u32 = 12;
export const S_START_TIME: u32 = 16;
/**
 * Who is giving back what this thread held: its S_NODE_THREAD + 1 (0 for nobody), S_TID and
 * S_START_TIME. If that one dies too, another takes over and repeats the steps.
 */
export const S_REAPER: u32 = 24;
export const S_REAPER_TID: u32 = 28;
export const S_REAPER_START: u32 = 32;

/** Frame + 1 whose hold or waiter count is being changed; not 0 after death: cannot be decided. */
export const S_INTENT: u32 = 64;
/** Frame + 1 on which this thread is registered as a waiter. */
export const S_WAITING_ON: u32 = 68;
/** Latches (shared and exclusive) that this thread holds now. */
export const S_LATCHES: u32 = 72;
/** Not 0 while this thread is registered as waiting for any frame. */
export const S_WAITING_FRAME: u32 = 76;
/** Store slot + 1 that this thread is reading: such a slot is not handed out for writing. */
export const S_READING: u32 = 80;
/** f64 results of kernels that return more than one number. */
export const S_OUT: u32 = 96;

/** u64 counters, written only by the owner of the slot. */
export const S_HITS: u32 = 128;
export const S_MISSES: u32 = 136;
export const S_RESTARTS: u32 = 144;
export const S_FALLBACKS: u32 = 152;
export const S_EVICTIONS: u32 = 160;
export const S_LOADS: u32 = 168;
export const S_LOAD_FAILURES: u32 = 176;
export const S_PARKS: u32 = 184;

/** u32: prefetched ids of this thread that the loader has dealt with. */
export const S_PREFETCHED: u32 = 192;

/** Line of its own: not 0 while this thread is inside the commit gate. */
export const S_GATE: u32 = 256;
/** Bytes of credit in the ring that this thread has; given back when it dies. */
export const S_CREDIT: u32 = 260;
/** u64: seq of this thread's last record. */
export const S_LAST_SEQ: u32 = 272;
/** u64: mini-transactions that were committed; that had to start again. */
export const S_COMMITS: u32 = 280;
export const S_OP_RESTARTS: u32 = 288;
/** Writes to store slots that this thread has under way beside rounds: a close waits for them. */
export const S_WRITING: u32 = 296;
/** u64: where the record lies that this thread has reserved. */
export const S_RECORD: u32 = 304;

export const SLOT_FREE: u32 = 0;
/** Between two owners, for a few instructions that nothing interrupts. */
export const SLOT_CLAIMED: u32 = 1;
export const SLOT_ATTACHED: u32 = 2;
export const SLOT_REAPING: u32 = 3;
export const SLOT_STATE_MASK: u32 = 0xff;
export const SLOT_GENERATION: u32 = 0x100;

// --- frame descriptors ----------------------------------------------------------------------

export const DESC_A: u32 = 131072;
export const DESC_SHIFT: u32 = 6;
/**
 * u64 latch word:  version << 12 | owner slot + 1 << 4 | flags.
 *
 * LATCH_X  the owner may write the bytes
 * LATCH_P  the owner waits for the shared holders to leave; nobody may join them
 * LATCH_E  the frame is changing its blob (free, loading, evicting): it cannot be pinned
 * LATCH_G  the blob was deleted while it was pinned: GONE for whoever still has a pin
 */
export const A_WORD: u32 = 0;
export const A_ID: u32 = 8;
/** Next frame + 1 in the bucket's chain. */
export const A_NEXT: u32 = 16;
/** One of FRAME_*: says what a set LATCH_E or LATCH_X is about. */
export const A_STATE: u32 = 20;
/** Hits since the replacement last looked, at most RECENCY_MAX. */
export const A_RECENCY: u32 = 24;
/** The queue that the frame is in, 0 for none. */
export const A_QUEUE: u32 = 28;
export const RECENCY_MAX: u32 = 2;

export const LATCH_X: u64 = 1;
export const LATCH_P: u64 = 2;
export const LATCH_E: u64 = 4;
export const LATCH_G: u64 = 8;
export const LATCH_FLAGS: u64 = 15;
export const OWNER_SHIFT: u32 = 4;
export const OWNER_MASK: u64 = 0xff0;
export const VERSION_SHIFT: u32 = 12;

export const FRAME_FREE: u32 = 0;
export const FRAME_LOADING: u32 = 1;
export const FRAME_VALID: u32 = 2;
export const FRAME_EVICTING: u32 = 3;

export const DESC_B: u32 = DESC_A + FRAMES_MAX * LINE;
/** u64: shared latches << 32 | pins, so that one addition takes both. */
export const B_HOLDS: u32 = 0;
export const B_WAITERS: u32 = 8;
/** Bumped and notified when the latch word or the last hold changed. */
export const B_WAKE: u32 = 12;
/** u64 dirty seq and flushing seq, 0 is none. CLEAN is derived: both are 0. */
export const B_DIRTY: u32 = 16;
export const B_FLUSHING: u32 = 24;
/** u64: number of the round that captured the frame << 2 | CAPTURE_*; 0 is none. */
export const B_CAPTURED: u32 = 32;
/** Neighbours in the frame's queue, frame + 1; the free list uses B_NEXT alone. */
export const B_NEXT: u32 = 40;
export const B_PREV: u32 = 44;
/** u64 version of the last load that failed, with its reason, for those who waited for it. */
export const B_FAIL_VERSION: u32 = 48;
export const B_FAIL_CODE: u32 = 56;
/** When the frame became dirty, ms since H_OPENED_AT. */
export const B_DIRTY_AT: u32 = 60;

/** The bytes in the frame are those of the capture; somebody is copying them to staging. */
export const CAPTURE_HELD: u64 = 1;
export const CAPTURE_COPYING: u64 = 2;
export const CAPTURE_MASK: u64 = 3;
export const CAPTURE_SHIFT: u32 = 2;

export const PIN_ONE: u64 = 1;
export const PIN_MASK: u64 = 0xffff_ffff;
export const SHARED_ONE: u64 = 0x1_0000_0000;
export const SHARED_SHIFT: u32 = 32;

// --- page table, prefetch ring, holds, slot bitmap -------------------------------------------

export const BUCKETS: u32 = DESC_B + FRAMES_MAX * LINE;
export const BUCKETS_MAX: u32 = FRAMES_MAX * 2;
/** Longest chain that a lock-free look-up follows; beyond it the shard's lock decides. */
export const CHAIN_MAX: u32 = 64;

export const PREFETCH_RING: u32 = BUCKETS + BUCKETS_MAX * 4;
/** Entry: f64 id, u32 thread slot, u32 state word of that slot. */
export const PREFETCH_ENTRY: u32 = 16;
export const PREFETCH_ENTRIES: u32 = 4096;

/** Ids that were evicted lately: buckets of GHOST_WAYS u64, newest first. */
export const GHOSTS: u32 = PREFETCH_RING + PREFETCH_ENTRIES * PREFETCH_ENTRY;
export const GHOST_WAYS: u32 = 4;

/** Pending deletes: open addressing, u64 id (0 is empty) and u64 seq of the record. */
export const DELETES: u32 = GHOSTS + FRAMES_MAX * 8;
export const DELETE_ENTRY: u32 = 16;
export const DELETE_ENTRIES: u32 = 65536;
/** Deletes that may be pending at once; further ones wait for a round. */
export const DELETES_MAX: u32 = 32768;

/** Roots: open addressing, u64 owner + 1 (0 is empty), u64 root, u64 seq of the last change. */
export const ROOTS: u32 = DELETES + DELETE_ENTRIES * DELETE_ENTRY;
export const ROOT_ENTRY: u32 = 24;
export const ROOT_ENTRIES: u32 = 2048;
export const ROOTS_MAX: u32 = 1024;

/** Staging frames: u32 state, u32 frame, u64 round. */
export const STAGING: u32 = ROOTS + ROOT_ENTRIES * ROOT_ENTRY;
export const STAGING_ENTRY: u32 = 16;
export const STAGING_MAX: u32 = 64;
export const STAGING_FREE: u32 = 0;
export const STAGING_TAKEN: u32 = 1;
export const STAGING_READY: u32 = 2;
export const STAGING_WRITING: u32 = 3;

/** What a round has captured: u64 id, u64 seq, u32 frame, u32 B_DIRTY_AT. */
export const CAPTURES: u32 = STAGING + STAGING_MAX * STAGING_ENTRY;
export const CAPTURE_ENTRY: u32 = 24;

/**
 * Open snapshots: u32 thread slot + 1 (0 is empty), u32 version of the mapping, u64 number of the
 * commit, u64 checkpoint seq.
 */
export const SNAPSHOTS: u32 = CAPTURES + FRAMES_MAX * CAPTURE_ENTRY;
export const SNAPSHOT_ENTRY: u32 = 24;
export const SNAPSHOT_ENTRIES: u32 = 1024;
export const SNAPSHOT_OWNER: u32 = 0;
export const SNAPSHOT_VERSION: u32 = 4;
export const SNAPSHOT_COMMIT: u32 = 8;
export const SNAPSHOT_SEQ: u32 = 16;

export const HOLDS: u32 = SNAPSHOTS + SNAPSHOT_ENTRIES * SNAPSHOT_ENTRY;
export const HOLD_SHIFT: u32 = 3;
export const HOLD_PINS: u32 = 0;
export const HOLD_SHARED: u32 = 4;
export const HOLDS_STRIDE: u32 = FRAMES_MAX << HOLD_SHIFT;

export const SLOT_BITS: u32 = HOLDS + SLOTS_MAX * HOLDS_STRIDE;

// --- mapping --------------------------------------------------------------------------------

/** Entry: u64 id (0 is empty), u64 store slot, u64 checksum. */
export const MAP_ENTRY: u32 = 24;
export const M_ID: u32 = 0;
export const M_SLOT: u32 = 8;
export const M_CHECKSUM: u32 = 16;

/**
 * Span of a store slot: u64 number of the commit since which the mapping names it (0: since the
 * opening), u64 number of the commit that left it while it is kept for a snapshot (else 0).
 */
export const SPAN_ENTRY: u32 = 16;
export const SPAN_FROM: u32 = 0;
export const SPAN_UNTIL: u32 = 8;

// --- results --------------------------------------------------------------------------------

export const OK: i32 = 0;
/** Not in the page table (or not seen there without its lock). */
export const MISS: i32 = -1;
/** Found, but latched, loading or evicting: take the slow path. */
export const BUSY: i32 = -2;
/** The pool is not open; H_STATUS says why. */
export const STOPPED: i32 = -3;
/** This thread holds the frame in a mode that conflicts. */
export const HELD: i32 = -4;
/** The blob was deleted. */
export const GONE: i32 = -5;
/** Nothing happened within the time given; look at poison and at the owner, then call again. */
export const SLICE: i32 = -6;
/** No free frame and none that may be evicted. */
export const NONE: i32 = -7;
export const FAILED: i32 = -8;
export const FULL: i32 = -9;
/** This thread does not hold what it wants to give back. */
export const NOT_HELD: i32 = -10;
/** A dead thread left something that nobody can give back. */
export const UNDECIDED: i32 = -11;

// --- records in the ring, see docs/format.md --------------------------------------------------

export const R_LENGTH: u32 = 0;
export const R_SUM: u32 = 8;
export const R_OWNER: u32 = 16;
export const R_KIND: u32 = 24;
export const R_PAYLOAD: u32 = 28;
export const R_CREATED: u32 = 32;
export const R_DELETED: u32 = 36;
export const R_HEADER_BYTES: u32 = 40;

// --- nodes of a tree, see node.ts ----------------------------------------------------------------

export const NODE_MAGIC: u32 = 0x4e_57_54_31; // "1TWN"
export const N_MAGIC: u32 = 0;
/** u8: 0 for a leaf, the height above the leaves for an inner node. */
export const N_LEVEL: u32 = 4;
/** u8: hints that are in use, all of them or none. */
export const N_HINT_COUNT: u32 = 5;
/** u16: insertions in a row that each came right behind the one before. */
export const N_RUN: u32 = 6;
/** u32: entries; offset of the lowest entry; bytes of entries that nobody points to. */
export const N_COUNT: u32 = 8;
export const N_HEAP: u32 = 12;
export const N_GARBAGE: u32 = 16;
/** Bounds of the keys that belong here: u32 offset (0: none), u16 length. */
export const N_LOW: u32 = 20;
export const N_HIGH: u32 = 24;
export const N_LOW_BYTES: u32 = 28;
export const N_HIGH_BYTES: u32 = 30;
/** u32: where the last insertion went. */
export const N_LAST: u32 = 32;
/** u16: positions that heads are made of, then the positions. */
export const N_POSITION_COUNT: u32 = 36;
export const N_POSITIONS: u32 = 40;
export const POSITIONS_MAX: u32 = 8;
/** u64: root of the tree that the node belongs to. */
export const N_TREE: u32 = 56;
export const N_TEMPLATE: u32 = 64;
/** 0xff where all keys have the template's byte. */
export const N_MASK: u32 = 192;
export const TEMPLATE_BYTES: u32 = 128;
/** Hint, shaped like a slot: u64 head, u32 slot before which no head is above, behind none below. */
export const N_HINTS: u32 = 320;
export const HINTS: u32 = 32;
/** Slot: u64 head, u32 offset of the entry. */
export const N_SLOTS: u32 = 704;
export const N_SLOT_BYTES: u32 = 12;
/** Entry: u16 key length, u32 value word, key, value. */
export const E_KEY_BYTES: u32 = 0;
export const E_VALUE: u32 = 2;
export const E_KEY: u32 = 6;
/** The value lies in blobs of its own; what stands here says which. */
export const VALUE_OVERFLOW_MASK: u32 = 0x8000_0000;
export const VALUE_LENGTH_MASK: u32 = 0x7fff_ffff;
/** Bytes of what stands there: u64 id of the first blob, u32 length of the value. */
export const REFERENCE_BYTES: u32 = 12;
/** Longest key; an eighth of the node if that is less. */
export const KEY_BYTES_MAX: u32 = 4096;

/** Entry of a log record of trees, see src/tree/record.ts: f64 tree, u8, u16, u32, key, value. */
export const RE_OPERATION: u32 = 8;
export const RE_KEY_BYTES: u32 = 10;
export const RE_VALUE_BYTES: u32 = 12;
export const RE_KEY: u32 = 16;
export const OPERATION_PUT: u32 = 0;
export const OPERATION_DELETE: u32 = 1;
/** A run has to do with values in blobs of their own. */
export const RUN_GENERAL: i32 = 1;

/** The bytes are no node: crafted, or torn under an optimistic reader. */
export const NODE_CORRUPT: i32 = -2;
/** No room in one piece; rebuilding the node may make some. */
export const NODE_FULL: i32 = -1;

/** Spins before a thread parks: about 2 µs, longer than any short critical section. */
export const SPIN_MAX: u32 = 200;

// --- what the plan relies on, checked by the compiler -----------------------------------------

if (N_HINTS + HINTS * N_SLOT_BYTES > N_SLOTS) ERROR('the hints reach into the slots');
if (LOCKS_END > SLOTS) ERROR('the locks reach into the thread slots');
if (SLOTS + SLOTS_MAX * SLOT_BYTES > DESC_A) ERROR('the thread slots reach into the descriptors');
if (H_ROUND_MS + ROUND_PHASES * 8 > H_ROUND_ERROR) ERROR('the phases reach into the errors');
if (H_ROUND_ERROR + ERROR_TEXT + ERROR_TEXT_MAX > H_LOG_ERROR) ERROR('the errors overlap');
if (H_LOG_ERROR + ERROR_TEXT + ERROR_TEXT_MAX > H_DELETES) ERROR('the errors reach further');
if (H_OPENED_AT + 8 > LOCKS) ERROR('the header reaches into the locks');
if (H_POISON_TEXT + POISON_TEXT_MAX > H_RING) ERROR('the poison reaches into the log');
if (SLOTS_MAX + 1 > <u32>(OWNER_MASK >> OWNER_SHIFT)) ERROR('the owner field is too narrow');
if (H_QUEUES + QUEUE_MAIN * QUEUE_BYTES > H_MAP_VERSION) ERROR('the queues reach into the mapping');
if (S_RECORD + 8 > SLOT_BYTES || S_PREFETCHED + 4 > S_GATE) ERROR('a thread slot is too small');
if (B_DIRTY_AT + 4 > LINE || A_QUEUE + 4 > LINE) ERROR('a descriptor line is too small');
if ((SLOT_BITS & 7) != 0 || (HOLDS & 7) != 0 || (GHOSTS & 7) != 0) ERROR('a region is not aligned');
