/**
 * A custom store whose reads and commits wait at gates: scenarios hold a thread there for as long
 * as a race needs. The bytes lie in shared memory; nothing outlives the process.
 *
 * Bundled by the tests into a file of its own (see gated-store-module.ts), because every thread
 * imports it; it must not import anything of the product but types.
 */
import type { BackendContext, BackendHandle, StoreBackend } from '../../src/store/contract.ts';

/** Environment: path of this module, bundled. */
export const GATED_STORE_ENV = 'WEIRPOOL_TEST_GATED_STORE';

export interface GatedStoreOptions {
  readonly module: string;
  readonly data: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

/** Words of `words`. */
export const GATE = {
  /** Calls so far. */
  reads: 0,
  writes: 1,
  commits: 2,
  /** 1: reads wait here, until it is 0 or their patience is over. */
  readGate: 3,
  /** Where reads wait: 0 before a byte is copied, 1 after the first half, 2 after all. */
  readPlace: 4,
  /** Reads that have come to the gate. */
  readsAtGate: 5,
  /** 1: reads fail once they are through the gate. */
  readsFail: 6,
  /** 1: commits wait before they do anything. */
  commitGate: 7,
  commitsAtGate: 8,
  /** Writes that are still to fail. */
  writesFail: 9,
  /** Slot of the last write, and the highest one so far. */
  lastSlot: 10,
  maxSlot: 11,
  /** How long a gate holds a thread at most, in ms. */
  patienceMs: 12,
  /**
   * 1: writes of rounds wait before they do anything, 2: the first that comes does. Those that wait
   * fail if `writesFail` says so when the gate opens.
   */
  writeGate: 13,
  writesAtGate: 14,
} as const;

export const GATE_WORDS = 16;

/** Waits while the gate is closed, for a bounded time. */
function pass(words: Int32Array, gate: number, arrivals: number): void {
  if (Atomics.load(words, gate) === 0) return;
  Atomics.add(words, arrivals, 1);
  Atomics.notify(words, arrivals);
  const end = performance.now() + Atomics.load(words, GATE.patienceMs);
  for (let left = end - performance.now(); left > 0; left = end - performance.now()) {
    if (Atomics.wait(words, gate, 1, left) === 'not-equal') return;
  }
}

/** The same for a write of a round, which leaves its thread to other writes meanwhile. */
async function passWrite(words: Int32Array): Promise<void> {
  const gate = Atomics.load(words, GATE.writeGate);
  if (gate === 0) return;
  const before = Atomics.add(words, GATE.writesAtGate, 1);
  Atomics.notify(words, GATE.writesAtGate);
  if (gate === 2 && before > 0) return;
  const end = performance.now() + Atomics.load(words, GATE.patienceMs);
  while (Atomics.load(words, GATE.writeGate) !== 0 && performance.now() < end) {
    await new Promise((done) => setTimeout(done, 1));
  }
}

export function createBackend({ blobBytes }: BackendContext, given: unknown): StoreBackend {
  const options = given as GatedStoreOptions;
  const data = new Uint8Array(options.data);
  const words = new Int32Array(options.words);
  const slotAt = (slot: number): Uint8Array => {
    const bytes = data.subarray(slot * blobBytes, (slot + 1) * blobBytes);
    if (bytes.length !== blobBytes) throw new Error(`slot ${slot} is beyond the gated store`);
    return bytes;
  };
  const writeSlot = (slot: number, source: Uint8Array): void => {
    Atomics.add(words, GATE.writes, 1);
    Atomics.store(words, GATE.lastSlot, slot);
    if (slot > Atomics.load(words, GATE.maxSlot)) Atomics.store(words, GATE.maxSlot, slot);
    if (Atomics.load(words, GATE.writesFail) > 0) {
      Atomics.sub(words, GATE.writesFail, 1);
      throw new Error('write failed as planned');
    }
    slotAt(slot).set(source);
  };
  return {
    async open() {
      const nothing = { blobs: [], nextBlobId: 1, commitNumber: 0, checkpointSeq: 0 };
      return { ...nothing, storeId: 1n, epoch: 1, roots: new Map() };
    },
    handle: (): BackendHandle => ({ kind: 'module', module: options.module, options }),
    readSlot(slot, target) {
      Atomics.add(words, GATE.reads, 1);
      const half = blobBytes / 2;
      const at = slotAt(slot);
      const place = Atomics.load(words, GATE.readPlace);
      if (place === 0) pass(words, GATE.readGate, GATE.readsAtGate);
      if (Atomics.load(words, GATE.readsFail) !== 0) throw new Error('read failed as planned');
      target.set(at.subarray(0, half));
      if (place === 1) pass(words, GATE.readGate, GATE.readsAtGate);
      target.set(at.subarray(half), half);
      if (place === 2) pass(words, GATE.readGate, GATE.readsAtGate);
    },
    writeSlot,
    async writeSlots(writes) {
      await passWrite(words);
      return writes.map(({ slot, source }) => {
        try {
          writeSlot(slot, source);
          return { slot, error: undefined };
        } catch (error) {
          return { slot, error: error as Error };
        }
      });
    },
    sync() {
      // Nothing here outlives the process.
    },
    commit() {
      Atomics.add(words, GATE.commits, 1);
      pass(words, GATE.commitGate, GATE.commitsAtGate);
    },
    usage: () => ({ dataBytes: data.length, manifestBytes: 0 }),
    async close() {
      // Nothing was opened.
    },
  };
}
